"""The sources that need no network, and what is checked of every tarball."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tasks.archive.tarball import pack
from tasks.errors import HostUnfit, SourceFailed
from tasks.model import Source, SourceType
from tasks.reporting import Report, Silent
from tasks.rootfs.storage import Storage
from tasks.settings import Settings
from tasks.sources import verify
from tasks.sources.destination import Destination
from tasks.sources.dispatch import fill
from tests import trees

ANISE = """#!/bin/sh
case "$*" in
*search*) echo '{stones}'; exit 0;;
*) echo "$PWD: $*" >> {record};;
esac
case "$*" in *{failing}*) {words}; exit 7;; esac
"""


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program called anise first on PATH, and where it writes its calls."""
    (tmp_path / "anise.yaml").write_text("repositories: []\n")
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    monkeypatch.setenv("PATH", f"{bin_dir}:/usr/bin:/bin")
    return tmp_path / "record"


def place(tmp_path: Path, report: Report | None = None) -> Destination:
    storage = Storage.of(Settings(state_dir=str(tmp_path / "state")))
    return Destination(folder=tmp_path, storage=storage, report=report or Silent(), home=tmp_path)


def stone(name: str, category: str = "system", version: str = "1.0") -> dict[str, str]:
    return {"name": name, "category": category, "version": version, "repository": "system"}


ALL = (stone("mottainai-stable", "repository"), stone("a"), stone("b"))


def install_anise(
    record: Path,
    failing: str = "nothing",
    stones: Sequence[object] = ALL,
    words: str = "echo broken >&2",
) -> None:
    program = record.parent / "bin" / "anise"
    answer = json.dumps({"stones": stones or None})
    program.write_text(ANISE.format(record=record, failing=failing, stones=answer, words=words))
    program.chmod(0o755)


def anise_source(*packages: str) -> Source:
    return Source(
        type=SourceType.ANISE,
        anise_config="./anise.yaml",
        anise_repos=("repository/mottainai-stable",),
        anise_packages=packages or ("system/a", "system/b"),
    )


def test_anise_is_called_as_mark_devkit_calls_it(tmp_path: Path, record: Path) -> None:
    install_anise(record)
    fill(anise_source(), tmp_path / "rootfs", place(tmp_path))
    base = f"{tmp_path}: --system-target {tmp_path}/rootfs --config ./anise.yaml"
    assert record.read_text().splitlines() == [
        f"{base} repo update",
        f"{base} install -y --skip-config-protect repository/mottainai-stable",
        f"{base} install --sync-repos -y --skip-config-protect system/a system/b",
        f"{base} cleanup",
    ]
    assert not list(tmp_path.glob("anise.*/"))


def test_the_error_says_what_anise_said_of_errors(tmp_path: Path, record: Path) -> None:
    words = """
    echo Error on download artifact system/b: refused
    for n in 1 2 3 4 5 6 7; do echo package $n downloaded; done
    printf '\\033[31mError: Error on download phase.\\033[0m\\n'"""
    install_anise(record, failing="--sync-repos", words=words)
    with pytest.raises(SourceFailed) as caught:
        fill(anise_source(), tmp_path / "rootfs", place(tmp_path))
    assert str(caught.value) == (
        "`anise install --sync-repos -y --skip-config-protect system/a system/b` exited with 7: "
        "Error on download artifact system/b: refused / Error: Error on download phase."
    )
    assert len(record.read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("asked", "version", "there"),
    [
        ("system/app", "2.0", True),
        ("app", "2.0", True),
        ("system/app@2.0", "2.0", True),
        ("system/app@2.0", "2.0+3", True),
        ("system/app@2.0", "2.0.1", False),
        ("system/app@>=1", "2.0", True),
        (">=system/app-1.0", "2.0", True),
        ("=system/app-1.0", "2.0", False),
        ("=system/app-2*", "2.0", True),
        ("system/app-2.0", "2.0", True),
        ("system/app:0::main[use,-flag]", "2.0", True),
        ("virtual/thing", "2.0", True),
        ("thing", "2.0", True),
        ("system/ap", "2.0", False),
        ("system/app-extra", "2.0", False),
        ("other/app", "2.0", False),
        ("", "2.0", False),
    ],
)
def test_a_package_is_there_if_it_is_what_was_asked_for(
    tmp_path: Path, record: Path, asked: str, version: str, there: bool
) -> None:
    app = stone("app", version=version) | {"provides": [stone("thing", "virtual")]}
    install_anise(record, stones=[ALL[0], app])
    if there:
        fill(anise_source(asked), tmp_path / "rootfs", place(tmp_path))
        return
    with pytest.raises(SourceFailed) as caught:
        fill(anise_source(asked), tmp_path / "rootfs", place(tmp_path))
    assert str(caught.value) == f"anise did not install {asked}"


def test_all_that_is_missing_is_named(tmp_path: Path, record: Path) -> None:
    install_anise(record, stones=ALL[:1])
    with pytest.raises(SourceFailed, match="did not install system/a, system/b"):
        fill(anise_source(), tmp_path / "rootfs", place(tmp_path))
    install_anise(record, stones=[])
    with pytest.raises(SourceFailed, match="did not install repository/mottainai-stable"):
        fill(anise_source(), tmp_path / "rootfs", place(tmp_path))


def test_a_missing_anise_makes_the_host_unfit(tmp_path: Path, record: Path) -> None:
    with pytest.raises(HostUnfit, match="anise"):
        fill(anise_source(), tmp_path / "rootfs", place(tmp_path))


def test_a_local_tarball_is_unpacked_where_it_lies(tmp_path: Path) -> None:
    trees.plain(tmp_path / "tree")
    made = pack(tmp_path / "tree", tmp_path / "a.tar.zst", report=Silent())
    source = Source(type=SourceType.FILE, path=made.path, sha256=made.sha256)
    fill(source, tmp_path / "rootfs", place(tmp_path))
    assert trees.listing(tmp_path / "rootfs") == trees.listing(tmp_path / "tree")


def test_a_missing_local_tarball(tmp_path: Path) -> None:
    with pytest.raises(SourceFailed, match="/none.tar: no such tarball"):
        fill(
            Source(type=SourceType.FILE, path="/none.tar"),
            tmp_path,
            place(tmp_path),
        )


def test_a_local_tarball_with_a_wrong_checksum(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"x")
    source = Source(type=SourceType.FILE, path=str(tmp_path / "a.tar"), sha512="0" * 128)
    with pytest.raises(SourceFailed, match="its sha512 is"):
        fill(source, tmp_path / "rootfs", place(tmp_path))


A, B = hashlib.sha256(b"a").hexdigest(), hashlib.sha512(b"b").hexdigest()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"{A}  a.tar\n", {"sha256": A}),
        (f"{A} *a.tar\n{'0' * 64} *b.tar\n", {"sha256": A}),
        (f"{A}\n", {"sha256": A}),
        (f"{B}\n", {"sha512": B}),
        (f"SHA256 (a.tar) = {A}\nSHA512 (a.tar) = {B.upper()}\n", {"sha256": A, "sha512": B}),
        (f"# BLAKE2B HASH\n{'1' * 128}  a.tar\n# SHA512 HASH\n{B}  a.tar\n", {"sha512": B}),
        (f"{A}  b.tar\n", {}),
        (f"SHA256 (not-a.tar) = {'0' * 64}\nSHA256 (./a.tar) = {A}\n", {"sha256": A}),
        ("d41d8cd98f00b204e9800998ecf8427e  a.tar\n", {}),
        ("<html>\n", {}),
    ],
)
def test_checksum_files_of_every_kind(text: str, found: dict[str, str]) -> None:
    assert verify.parse_checksums(text, "a.tar") == found
