"""Bad input: one clear error on standard error, an exit code, no traceback, nothing half done."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.redis_server import free_port

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("can_isolate", "host_unchanged")]

JOB = """
jobs:
- name: stage
  workspacedir: work
  hooks_basedir: .
  hooks_files: {hooks}
  options: {{arch: x86-64bit, subarch: generic_64, text: some}}
  source: {source}
  output: {{type: file, name: "{output}", dir: out}}
"""

RUN = ("run", "--specfile", "stages.yaml", "--job", "stage")


class Seeds(BaseHTTPRequestHandler):
    """Gives the seed, cuts it short, or gives something else."""

    def __init__(self, seed: bytes, *arguments: object) -> None:
        self.seed = seed
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        if name == "missing.tar":
            self.send_error(404)
            return
        body = {"short.tar": self.seed[:-5000], "page.tar": b"<html>hello</html>" * 99}
        data = body.get(name, self.seed)
        self.send_response(200)
        claimed = len(self.seed) if name == "cut.tar" else len(data)
        self.send_header("Content-Length", str(claimed))
        self.end_headers()
        self.wfile.write(data[:1000] if name == "cut.tar" else data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def seeds(seed: Path) -> Iterator[str]:
    handler = partial(Seeds, seed.read_bytes())
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def specfile(folder: Path, source: str, *, hooks: str = "[]", output: str = "s.tar.zst") -> None:
    (folder / "stages.yaml").write_text(JOB.format(source=source, hooks=hooks, output=output))


def http(uri: str, **more: str) -> str:
    extra = "".join(f", {key}: {value}" for key, value in more.items())
    return f"{{type: http, uri: {uri}, target: work/sourcer/seed.tar{extra}}}"


def complaint(folder: Path, code: int, *words: str, before: tuple[str, ...] = ()) -> str:
    """The one error of a command that must end with `code` and leave nothing behind."""
    environ = {
        "STAGEFARM_STATE_DIR": str(folder / "state"),
        "STAGEFARM_DOWNLOAD_TRIES": "2",
        "STAGEFARM_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0",
    }
    done = subprocess.run(
        [*before, sys.executable, "-m", "orchestrator", *words],
        cwd=folder,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert len(re.findall("^error:", done.stderr, re.MULTILINE)) == 1, done.stderr
    assert not [*folder.glob("out/*"), *folder.glob("work/rootfs/*")]
    return done.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing.tar", "404"),
        ("cut.tar", "peer closed connection"),
        ("short.tar", "ends too early"),
        ("page.tar", "not a tarball"),
    ],
)
def test_a_source_that_is_not_as_it_should_be(
    tmp_path: Path, seeds: str, name: str, said: str
) -> None:
    specfile(tmp_path, http(f"{seeds}/{name}"))
    assert said in complaint(tmp_path, 1, *RUN)


def test_a_wrong_checksum(tmp_path: Path, seeds: str) -> None:
    specfile(tmp_path, http(f"{seeds}/seed.tar", sha256="0" * 64))
    said = complaint(tmp_path, 1, *RUN)
    assert "sha256" in said.lower()
    assert "0" * 64 in said


def test_a_corrupt_archive(tmp_path: Path, seed: Path) -> None:
    data = bytearray(subprocess.run(["zstd", "-c", seed], capture_output=True, check=True).stdout)
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "seed.tar.zst").write_bytes(data)
    specfile(tmp_path, "{type: file, path: seed.tar.zst}")
    assert "seed.tar.zst" in complaint(tmp_path, 1, *RUN)


def test_a_seed_that_is_not_there(tmp_path: Path) -> None:
    specfile(tmp_path, "{type: file, path: seed.tar.zst}")
    assert f"{tmp_path}/seed.tar.zst" in complaint(tmp_path, 1, *RUN)


def test_a_full_disk(tmp_path: Path, seed: Path) -> None:
    specfile(tmp_path, f"{{type: file, path: {seed}}}")
    script = 'mkdir work && mount -t tmpfs -o size=4m small work && exec "$@"'
    namespace = ("unshare", "--mount", "sh", "-c", script, "sh")
    words = ("env", "STAGEFARM_ROOTFS=plain")
    said = complaint(tmp_path, 1, *RUN, before=(*namespace, *words))
    assert "no space left" in said
    assert "hint: free some space" in said


def test_an_ending_that_says_no_format(tmp_path: Path, seed: Path) -> None:
    specfile(tmp_path, f"{{type: file, path: {seed}}}", output="stage.zip")
    assert ".zst" in complaint(tmp_path, 2, *RUN)


def test_a_redis_that_is_not_there(tmp_path: Path, seed: Path) -> None:
    specfile(tmp_path, f"{{type: file, path: {seed}}}")
    for words in (("submit", *RUN[1:]), ("status",), ("worker", "--queue", "a.b")):
        said = complaint(tmp_path, 4, *words)
        assert "Redis" in said
        assert "hint:" in said


@pytest.mark.parametrize(
    ("spec", "words", "said"),
    [
        ("", ("run", "--specfile", "no.yaml", "--job", "stage"), "no.yaml"),
        ("jobs: []", RUN, "stage"),
        ("jobs: [{name: stages}]", RUN, "did you mean `stages`"),
        ("jobs: [{name: stage, sources: {}}]", RUN, "stages.yaml:1:22"),
        ("jobs: [{name: stage, hooks_files: {a: b}}]", RUN, "hooks_files"),
        ("jobs: [{name: stage, source: {type: ftp}}]", RUN, "ftp"),
        ("jobs: [{name: stage, hooks_files: [gone.yml]}]", RUN, "gone.yml"),
        ("jobs:\n- name: stage\n  output: {name: '{{ .Values.x.y }}'}", RUN, "stages.yaml:3:"),
        ("jobs: [", RUN, "not valid YAML"),
        ("jobs: []", ("submit", "--batch", "stages.yaml"), "stages.yaml"),
        ("jobs: []", ("run", "--specfile", "stages.yaml", "--job", "x", "-o", "y"), "key=value"),
    ],
)
def test_a_specfile_that_is_wrong(
    tmp_path: Path, spec: str, words: tuple[str, ...], said: str
) -> None:
    (tmp_path / "stages.yaml").write_text(spec)
    assert said in complaint(tmp_path, 2, *words)
