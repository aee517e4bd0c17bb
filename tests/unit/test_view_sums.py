"""SHA256SUMS, and names as systemd-sysupdate's patterns want them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.release.catalog import Stage
from orchestrator.release.views.sums import Sums
from orchestrator.release.views.view import ViewFile
from tests.mirrors import BUILT_AT, DAY_S, Stamp, a_file, a_stage, catalog_of


def view(*stages: Stage, signer: Stamp | None = None) -> list[ViewFile]:
    return list(Sums().files(catalog_of(*stages), lambda _: iter(()), signer))


def test_all_builds_are_listed_and_the_list_comes_last() -> None:
    older = a_stage(built_at=BUILT_AT - DAY_S, tarball=a_file(sha256="cd" * 32))
    files = view(a_stage(), older, signer=Stamp())
    assert [(file.path, file.is_index) for file in files] == [
        ("files/stage3-amd64-systemd_20261122T040405Z.tar.xz", False),
        ("files/stage3-amd64-systemd_20261121T040405Z.tar.xz", False),
        ("files/SHA256SUMS.gpg", True),
        ("files/SHA256SUMS.minisig", True),
        ("files/SHA256SUMS", True),
    ]
    assert files[-1].content.decode() == (
        f"{'cd' * 32}  stage3-amd64-systemd_20261121T040405Z.tar.xz\n"
        f"{'ab' * 32}  stage3-amd64-systemd_20261122T040405Z.tar.xz\n"
    )
    assert files[0].body == a_stage().tarball
    assert files[2].content.startswith(b".asc of ")


def test_without_a_key_there_is_no_signature() -> None:
    assert [file.path for file in view(a_stage())][-1] == "files/SHA256SUMS"
    assert len(view(a_stage())) == 2


@pytest.mark.parametrize("arch", ["armv7a", "armv7a_hardfp"])
def test_only_the_version_follows_an_underscore(arch: str) -> None:
    name = view(a_stage(arch="arm", subarch=arch))[0].path
    assert name == f"files/stage3-{arch.replace('_', '-')}-systemd_20261122T040405Z.tar.xz"


def test_what_is_no_tarball_is_left_out_and_named() -> None:
    image = a_stage(tarball=a_file("disk.img"), build="disk-1")
    assert [file.path for file in view(image)] == ["files/SHA256SUMS"]
    (line,) = Sums().left_out(catalog_of(image, a_stage()))
    assert line.startswith("disk-1: 'disk.img' does not end with .tar.xz")


def test_the_same_catalog_gives_the_same_bytes() -> None:
    stages = [a_stage(variant=name, tarball=a_file(sha256=name * 32)) for name in ("aa", "bb")]
    listed = [view(*order)[-1].content for order in (stages, stages[::-1])]
    assert listed[0] == listed[1]
    later = replace(catalog_of(*stages), version=9, created_at=BUILT_AT + DAY_S)
    assert list(Sums().files(later, lambda _: iter(()), None))[-1].content == listed[0]
