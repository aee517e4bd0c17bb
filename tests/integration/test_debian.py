"""A real Debian through every type of hook, and what comes out of the tarball at the end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.demo.servers import http_server
from tests import debian

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.usefixtures("can_isolate", "host_unchanged"),
]

SPECS = Path(__file__).parents[1] / "data/debian"

ADDED = {
    "stage",
    *(f"stage/{name}" for name in ("before-source", "packages", "one", "two", "three", "fifo")),
    *(f"stage/{name}" for name in ("null", "machine", "number", "architecture")),
}
REMOVED = {"etc/resolv.conf", "srv/everything/file"}
CHANGED = {".", "etc", "srv/everything", "srv/everything/owned", "var/cache"}


@pytest.fixture(scope="module")
def debians(pytestconfig: pytest.Config) -> Path:
    return pytestconfig.cache.mkdir("debian")


@pytest.fixture
def folder(tmp_path: Path, debians: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A submitter's folder with specfile and hooks, and the seeds served over HTTP."""
    debian.tarball(debians, "amd64")
    shutil.copytree(SPECS, tmp_path, dirs_exist_ok=True)
    with http_server(debians) as url:
        monkeypatch.setenv("SEEDS_URL", url)
        yield tmp_path


def stagefarm(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", *words],
        cwd=folder,
        env=os.environ | {"STAGEFARM_STATE_DIR": str(folder / "state")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def run(folder: Path, job: str, *command: str) -> Path:
    """Build `job` here; gives its tarball."""
    url = f"url={os.environ['SEEDS_URL']}"
    words = [*(command or ("run",)), "--specfile", "stages.yaml", "--job", job, "-o", url, "--json"]
    (artifact,) = json.loads(stagefarm(folder, *words))["artifacts"]
    return Path(artifact["path"])


def test_what_was_there_and_what_hooks_made_is_in_the_tarball(folder: Path, debians: Path) -> None:
    before = debian.unpacked(debian.tarball(debians, "amd64"), folder / "before")
    tarball = run(folder, "stage-zst")
    after = debian.unpacked(tarball, folder / "after")
    assert after.keys() - before.keys() == ADDED
    assert before.keys() - after.keys() - {"etc/resolv.conf"} == REMOVED - {"etc/resolv.conf"}
    assert {path for path in before.keys() & after.keys() if before[path] != after[path]} == CHANGED
    mode, uid, gid, _, _, first, _, content, *_ = after["stage/two"]
    assert (mode, uid, gid, first, content) == ("-rws--x--x", 1000, 1003, "stage/one", b"data\n")
    assert after["stage/null"][0] == "crw-r--r--"
    assert after["stage/number"][7] == b"3\n"
    assert b"coreutils" in after["stage/packages"][7]  # type: ignore[operator]
    assert (folder / "work/cache/made-by-x86_64").read_text() == "cached\n"
    assert not (folder / "work/rootfs").exists()
    assert not (folder / "work/.stagefarm").exists()
    assert sorted(path.name for path in folder.glob("out/*.tar*")) == ["stage-amd64.tar.zst"]


def test_xz_through_the_name_of_mark_devkit_gives_the_same_tree(folder: Path) -> None:
    zst = debian.unpacked(run(folder, "stage-zst"), folder / "zst")
    xz = debian.unpacked(run(folder, "stage-xz", "metro", "run", "--cleanup=true"), folder / "xz")
    assert zst == xz


def test_another_architecture_runs_through_qemu(folder: Path, debians: Path) -> None:
    debian.handler_for("arm64")
    debian.tarball(debians, "arm64")
    after = debian.unpacked(run(folder, "stage-arm64"), folder / "after")
    assert after["stage/machine"][7] == b"aarch64\n"
    assert after["stage/architecture"][7] == b"arm64\n"
