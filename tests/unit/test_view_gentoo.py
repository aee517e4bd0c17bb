"""Gentoo's layout, made of real tarballs."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.release.catalog import Stage
from orchestrator.release.views.gentoo import Gentoo
from orchestrator.release.views.view import ViewFile
from tasks.errors import Untrusted
from tests import trees
from tests.mirrors import BUILT_AT, DAY_S, Mirror, Stamp, catalog_of

AUTOBUILDS = "releases/amd64/autobuilds"
NAME = "stage3-amd64-systemd-20261122T040405Z.tar.xz"
STAGE = f"{AUTOBUILDS}/20261122T040405Z/{NAME}"


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    trees.plain(tmp_path / "rootfs")
    return Mirror(tmp_path)


@pytest.fixture
def stage(mirror: Mirror, tmp_path: Path) -> Stage:
    return mirror.add(tmp_path / "rootfs")


def view(mirror: Mirror, *stages: Stage, signer: Stamp | None = None) -> dict[str, ViewFile]:
    files = list(Gentoo(mirror.facts).files(catalog_of(*stages), mirror.read, signer))
    first_index = [file.is_index for file in files].index(True)
    assert all(file.is_index for file in files[first_index:]), "indexes come last"
    return {file.path: file for file in files}


def test_every_file_of_gentoos_layout_is_there(mirror: Mirror, stage: Stage) -> None:
    beside = ["", ".CONTENTS.gz", ".DIGESTS", ".DIGESTS.asc", ".asc", ".minisig", ".sha256"]
    current = f"{AUTOBUILDS}/current-stage3-amd64-systemd"
    expected = [STAGE + ending for ending in beside]
    expected += [f"{current}/{NAME}{ending}" for ending in beside]
    expected += [f"{current}/latest-stage3-amd64-systemd.txt"]
    expected += [f"{AUTOBUILDS}/latest-{name}.txt" for name in ("stage3-amd64-systemd", "stage3")]
    assert sorted(view(mirror, stage, signer=Stamp())) == sorted(expected)


def test_pointers_are_gentoos(mirror: Mirror, stage: Stage) -> None:
    header = "# Latest as of Sun, 22 Nov 2026 04:04:05 +0000\n# ts=1795320245\n"
    size = stage.tarball.size_bytes
    files = view(mirror, stage, signer=Stamp())
    expected = {
        f"{AUTOBUILDS}/latest-stage3-amd64-systemd.txt": f"20261122T040405Z/{NAME} {size}\n",
        f"{AUTOBUILDS}/latest-stage3.txt": f"20261122T040405Z/{NAME} {size}\n",
        (
            f"{AUTOBUILDS}/current-stage3-amd64-systemd/latest-stage3-amd64-systemd.txt"
        ): f"{NAME} {size}\n",
    }
    for path, line in expected.items():
        assert files[path].content.decode() == f"<signed>\n{header}{line}</signed>\n"
        assert files[path].is_index


def test_digests_have_the_names_of_the_view(mirror: Mirror, stage: Stage) -> None:
    files = view(mirror, stage)
    made = next(mirror.content(file) for file in stage.sidecars if file.name.endswith(".DIGESTS"))
    assert files[f"{STAGE}.DIGESTS"].content == made.replace(b"built.tar.xz", NAME.encode())
    sha256 = f"# SHA256 HASH\n{stage.tarball.sha256}  {NAME}\n"
    assert files[f"{STAGE}.sha256"].content == sha256.encode()
    contents = files[f"{STAGE}.CONTENTS.gz"].body
    assert contents
    assert b"folder/deep" in gzip.decompress(mirror.content(contents))


def test_lines_of_a_digests_file_about_other_files_are_left_out(
    mirror: Mirror, stage: Stage, tmp_path: Path
) -> None:
    digests = next(file for file in stage.sidecars if file.name.endswith(".DIGESTS"))
    content = mirror.content(digests)
    added = b"# SHA512 HASH\n" + b"ab" * 64 + b"  /etc/passwd\n<script>\n" + content
    other = replace(digests, sha256=hashlib.sha256(added).hexdigest(), size_bytes=len(added))
    (mirror.root / other.path).parent.mkdir()
    (mirror.root / other.path).write_bytes(added)
    changed = replace(stage, sidecars=(other,))
    shown = view(mirror, changed)[f"{STAGE}.DIGESTS"].content
    assert shown == content.replace(b"built.tar.xz", NAME.encode())


def test_latest_is_the_newest_build_of_each_variant(
    mirror: Mirror, stage: Stage, tmp_path: Path
) -> None:
    older = replace(stage, built_at=BUILT_AT - DAY_S, build="older")
    openrc = replace(stage, variant="openrc", built_at=BUILT_AT - DAY_S)
    arm = replace(stage, arch="arm", subarch="armv7a_hardfp")
    files = view(mirror, older, stage, openrc, arm)
    summary = files[f"{AUTOBUILDS}/latest-stage3.txt"].content.decode().splitlines()
    assert [line.split()[0] for line in summary[2:]] == [
        "20261121T040405Z/stage3-amd64-openrc-20261121T040405Z.tar.xz",
        f"20261122T040405Z/{NAME}",
    ]
    assert STAGE.replace("20261122", "20261121") in files
    assert f"{AUTOBUILDS}/current-stage3-amd64-systemd/{NAME}" in files
    assert "releases/arm/autobuilds/latest-stage3-armv7a_hardfp-systemd.txt" in files
    older_current = f"{AUTOBUILDS}/current-stage3-amd64-systemd/{NAME}".replace("1122T", "1121T")
    assert older_current not in files


def test_what_did_not_change_keeps_its_bytes_and_is_not_read_again(
    mirror: Mirror, stage: Stage
) -> None:
    first = view(mirror, stage, signer=Stamp())
    read = mirror.read_bytes
    later = replace(catalog_of(stage), version=2, created_at=BUILT_AT + DAY_S)
    again = Gentoo(mirror.facts).files(later, mirror.read, Stamp())
    assert {file.path: file for file in again} == first
    assert mirror.read_bytes == read


def test_a_stage_without_sidecars_is_shown_without_them(mirror: Mirror, stage: Stage) -> None:
    bare = replace(stage, sidecars=())
    files = view(mirror, bare)
    assert {STAGE, f"{STAGE}.sha256"} <= set(files)
    assert not [path for path in files if "DIGESTS" in path or "CONTENTS" in path]
    left_out = list(Gentoo(mirror.facts).left_out(catalog_of(bare)))
    assert [line.split(": ")[1] for line in left_out] == [
        "shown without .DIGESTS, which its build did not make",
        "shown without .CONTENTS.gz, which its build did not make",
    ]


def test_a_body_that_is_another_is_not_signed(mirror: Mirror, stage: Stage) -> None:
    path = mirror.root / stage.tarball.path
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(Untrusted, match=r"built\.tar\.xz is not what the catalog says"):
        view(mirror, stage, signer=Stamp())
