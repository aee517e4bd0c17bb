"""The files beside a tarball, and the packages that are found in a root filesystem."""

from __future__ import annotations

import gzip
import json
import sqlite3
import struct
import subprocess
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import pytest
import zstandard

from tasks.archive import gnutar
from tasks.archive.tarball import pack
from tasks.artifacts import manifest
from tasks.artifacts.packages import Package, installed
from tasks.errors import PackFailed
from tasks.model import RenameRule, Tarformers
from tasks.reporting import Silent
from tasks.results import Artifact
from tests import trees


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    trees.plain(tmp_path / "rootfs")
    return tmp_path / "rootfs"


def write(file: Path, text: str = "") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_the_whole_set_is_beside_the_tarball(rootfs: Path, tmp_path: Path) -> None:
    made, sidecars = manifest.pack(rootfs, tmp_path / "out" / "s.tar.zst", report=Silent())
    names = [
        "s.tar.zst.CONTENTS.gz",
        "s.tar.zst.sha256",
        "s.tar.zst.DIGESTS",
        "s.tar.zst.packages.json",
        "s.tar.zst.cdx.json",
        "s.tar.zst.spdx.json",
    ]
    assert [artifact.name for artifact in sidecars] == names
    for command in (["sha256sum", "s.tar.zst.sha256"], ["b2sum", "--ignore-missing", "sums"]):
        out = tmp_path / "out"
        (out / "sums").write_text((out / "s.tar.zst.DIGESTS").read_text().split("# SHA512")[0])
        checked = subprocess.run(
            [command[0], "--check", "--strict", *command[1:]],
            cwd=out,
            capture_output=True,
            check=False,
        )
        assert checked.stdout == b"s.tar.zst: OK\n"
    assert contents(sidecars) == listed_by_tar(made.path)


def test_the_contents_are_what_rules_made_of_them(rootfs: Path, tmp_path: Path) -> None:
    rules = Tarformers(
        rename_paths=(RenameRule(source="/folder", dest="/other"),), remap_uids={"0": "7"}
    )
    made, sidecars = manifest.pack(
        rootfs, tmp_path / "s.tar.gz", report=Silent(), source_date_epoch=1000, tarformers=rules
    )
    assert contents(sidecars) == listed_by_tar(made.path)
    assert any("1970-01-01" in line and "other/" in line for line in contents(sidecars))


def contents(sidecars: tuple[Artifact, ...]) -> list[str]:
    return gzip.decompress(Path(sidecars[0].path).read_bytes()).decode().splitlines()


def listed_by_tar(tarball: str) -> list[str]:
    return subprocess.run(
        ["tar", "-tvvf", tarball, "--full-time", "--numeric-owner"],
        capture_output=True,
        text=True,
        check=True,
        env={"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"},
    ).stdout.splitlines()


def test_the_set_is_the_same_for_the_same_tree(rootfs: Path, tmp_path: Path) -> None:
    sets = [manifest.pack(rootfs, tmp_path / n / "s.tar.gz", report=Silent()) for n in "ab"]
    first, second = ([made.sha256, *(one.sha256 for one in sidecars)] for made, sidecars in sets)
    assert first == second


def test_a_record_and_a_log_can_be_added(rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("line\n" * 1000)
    log = manifest.compressed_log(tmp_path / "log")
    assert zstandard.decompress(log).decode() == "line\n" * 1000
    build = manifest.write_build(tmp_path / "s.tar", {"host": "h"})
    assert build.name == "s.tar.build.json"
    assert json.loads(Path(build.path).read_text()) == {"host": "h"}


def test_portage(tmp_path: Path) -> None:
    for name, slot in (
        ("app-misc/foo-bar-1.2.3_p4-r1", "0/5"),
        ("sys-libs/zlib-1.3", "0"),
        ("virtual/x-", ""),
    ):
        write(tmp_path / "var/db/pkg" / name / "SLOT", f"{slot}\n")
    assert installed(tmp_path) == [
        Package(manager="portage", name="app-misc/foo-bar", version="1.2.3_p4-r1", slot="0/5"),
        Package(manager="portage", name="sys-libs/zlib", version="1.3", slot="0"),
    ]


def test_dpkg(tmp_path: Path) -> None:
    write(
        tmp_path / "var/lib/dpkg/status",
        "Package: bash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.2-1\n"
        "Description: shell\n Version: no\n\n"
        "Package: gone\nStatus: deinstall ok not-installed\nVersion: 1\n\n"
        "Package: removed\nStatus: deinstall ok config-files\nVersion: 1\n\n",
    )
    write(tmp_path / "var/lib/dpkg/status.d/libc6", "Package: libc6\nVersion: 2.36\n")
    assert installed(tmp_path) == [
        Package(manager="dpkg", name="bash", version="5.2-1", arch="amd64"),
        Package(manager="dpkg", name="libc6", version="2.36"),
    ]


def test_apk(tmp_path: Path) -> None:
    write(tmp_path / "lib/apk/db/installed", "C:Q1\nP:musl\nV:1.2.5-r0\nA:x86_64\nF:lib\n\n")
    assert installed(tmp_path) == [
        Package(manager="apk", name="musl", version="1.2.5-r0", arch="x86_64")
    ]


def rpm_header(tags: dict[int, str | int]) -> bytes:
    index, values = b"", b""
    for tag, value in tags.items():
        index += struct.pack(">IIII", tag, 4 if isinstance(value, int) else 6, len(values), 1)
        values += struct.pack(">I", value) if isinstance(value, int) else value.encode() + b"\0"
    return struct.pack(">II", len(tags), len(values)) + index + values


def test_rpm(tmp_path: Path) -> None:
    file = tmp_path / "usr/lib/sysimage/rpm/rpmdb.sqlite"
    write(file)
    with closing(sqlite3.connect(file)) as database:
        database.execute("create table Packages (hnum integer primary key, blob blob)")
        header = rpm_header(
            {1000: "bash", 1001: "5.2", 1002: "1.fc40", 1022: "x86_64", 1003: 2, 1014: "MIT"}
        )
        for blob in (header, b"damaged", header[:20], "text", 5, 1.5, None):
            database.execute("insert into Packages (blob) values (?)", (blob,))
        database.commit()
    assert installed(tmp_path) == [
        Package(
            manager="rpm",
            name="bash",
            version="5.2-1.fc40",
            arch="x86_64",
            epoch="2",
            licence="MIT",
        )
    ]


def test_a_database_that_is_a_link_out_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "host/status", "Package: host\nVersion: 1\n")
    (tmp_path / "rootfs/var/lib/dpkg").mkdir(parents=True)
    (tmp_path / "rootfs/var/lib/dpkg/status").symlink_to(tmp_path / "host/status")
    assert installed(tmp_path / "rootfs") == []


def test_a_folder_of_a_database_that_is_a_link_out_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "host/secret-1.2/SLOT", "0")
    (tmp_path / "rootfs/var/db/pkg").mkdir(parents=True)
    (tmp_path / "rootfs/var/db/pkg/cat").symlink_to(tmp_path / "host")
    assert installed(tmp_path / "rootfs") == []


def test_a_database_that_is_a_link_inside_is_followed(tmp_path: Path) -> None:
    write(tmp_path / "usr/lib/db/pkg/cat/name-1.2/SLOT", "0")
    (tmp_path / "var").mkdir()
    (tmp_path / "var/db").symlink_to("/usr/lib/db")
    assert [package.name for package in installed(tmp_path)] == ["cat/name"]


def test_one_database_that_cannot_be_read_leaves_the_others(tmp_path: Path) -> None:
    write(tmp_path / "var/lib/dpkg/status", "Package: bash\nVersion: 5.2-1\n")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/apk").symlink_to("apk")
    notes: list[str] = []
    assert [package.name for package in installed(tmp_path, notes.append)] == ["bash"]
    assert notes == ["too many links in lib/apk/db/installed of the root filesystem"]


def test_a_database_without_end_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "usr/lib/sysimage/rpm/rpmdb.sqlite"
    write(file)
    with closing(sqlite3.connect(file)) as database:
        endless = "with recursive n(blob) as (select x'00' union all select blob from n)"
        database.execute(f"create view Packages as {endless} select blob from n")
        database.commit()
    assert installed(tmp_path) == []


def test_a_listing_that_finds_no_room_is_one_clear_error(rootfs: Path, tmp_path: Path) -> None:
    made = pack(rootfs, tmp_path / "s.tar", report=Silent())
    with Path("/dev/full").open("wb") as full, pytest.raises(PackFailed, match="no space left"):
        show(full, [Path(made.path).read_bytes()])


def test_nothing_more_is_packed_when_the_listing_was_killed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Killed(subprocess.Popen[bytes]):
        def __init__(self, *args: object, **more: object) -> None:
            super().__init__(*args, **more)  # type: ignore[call-overload]
            self.kill()

    monkeypatch.setattr(subprocess, "Popen", Killed)
    pieces = iter([bytes(1 << 20)] * 100)
    with (tmp_path / "listing").open("wb") as file, pytest.raises(PackFailed, match="code -9"):
        show(file, pieces)
    assert list(pieces)


def show(into: BinaryIO, pieces: Iterable[bytes]) -> None:
    with gnutar.listed(into, Silent()) as tell:
        for piece in pieces:
            tell(piece)


def test_what_cannot_be_written_beside_a_tarball_is_one_clear_error(
    rootfs: Path, tmp_path: Path
) -> None:
    (tmp_path / "s.tar.sha256").mkdir()
    with pytest.raises(PackFailed, match="Is a directory"):
        manifest.pack(rootfs, tmp_path / "s.tar", report=Silent())


def test_no_database_at_all(rootfs: Path) -> None:
    assert installed(rootfs) == []
