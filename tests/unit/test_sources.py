"""The sources that need no network, and what is checked of every tarball."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tasks.archive.tarball import pack
from tasks.errors import HostUnfit, SourceFailed
from tasks.model import Source, SourceType
from tasks.reporting import Silent
from tasks.rootfs.storage import Storage
from tasks.settings import Settings
from tasks.sources import verify
from tasks.sources.destination import Destination
from tasks.sources.dispatch import fill
from tests import trees

ANISE = """#!/bin/sh
echo "$PWD: $*" >> {record}
case "$*" in *{failing}*) echo broken >&2; exit 7;; esac
"""


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for anise first on PATH, and where it writes its calls."""
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    monkeypatch.setenv("PATH", f"{bin_dir}:/usr/bin:/bin")
    return tmp_path / "record"


def place(tmp_path: Path) -> Destination:
    storage = Storage.of(Settings(state_dir=str(tmp_path / "state")))
    return Destination(folder=tmp_path, storage=storage, report=Silent())


def install_anise(record: Path, failing: str = "nothing") -> None:
    program = record.parent / "bin" / "anise"
    program.write_text(ANISE.format(record=record, failing=failing))
    program.chmod(0o755)


def anise_source() -> Source:
    return Source(
        type=SourceType.ANISE,
        anise_config="./anise.yaml",
        anise_repos=("repository/mottainai-stable",),
        anise_packages=("system/a", "system/b"),
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


def test_a_failing_anise_is_one_clear_error(tmp_path: Path, record: Path) -> None:
    install_anise(record, failing="--sync-repos")
    with pytest.raises(SourceFailed, match="--sync-repos .* ended with exit code 7"):
        fill(anise_source(), tmp_path / "rootfs", place(tmp_path))
    assert len(record.read_text().splitlines()) == 3


@pytest.mark.usefixtures("record")
def test_a_missing_anise_makes_the_host_unfit(tmp_path: Path) -> None:
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
