"""Bills of materials list what the package managers themselves list."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tasks.artifacts import manifest
from tasks.artifacts.packages import installed
from tasks.inspection.inventory import Inventory
from tasks.inspection.scan import scan
from tasks.reporting import Silent
from tests import bills, packagers
from tests.packagers import Listed, Tree

pytestmark = pytest.mark.root

MANAGERS: dict[str, Callable[[Path], Tree]] = {
    "rpm": packagers.with_rpm,
    "pacman": packagers.with_pacman,
    "portage": packagers.with_portage,
    "apk as Syft reads it": packagers.as_apk,
}
if shutil.which("apk"):  # Debian has none
    MANAGERS["apk"] = packagers.with_apk


@pytest.mark.parametrize("manager", ["dpkg", *MANAGERS])
def test_bills_list_what_the_manager_lists(
    manager: str, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    cache = partial(pytestconfig.cache.mkdir, "debian")
    make = MANAGERS.get(manager) or (lambda folder: packagers.with_dpkg(folder, cache()))
    tree = make(tmp_path)
    manifest.pack(tree.rootfs, tmp_path / "s.tar", report=Silent())
    cyclonedx, spdx = (tmp_path / f"s.tar.{kind}.json" for kind in ("cdx", "spdx"))
    assert len(tree.listed) > 1
    assert bills.in_cyclonedx(cyclonedx) == tree.listed
    assert bills.in_spdx(spdx) == tree.listed
    assert scanned(tmp_path / "s.tar").packages == tuple(installed(tree.rootfs))
    assert read_by_syft(cyclonedx) == read_by_syft(spdx) == without_archs(tree.listed)


def scanned(tarball: Path) -> Inventory:
    return scan(iter([tarball.read_bytes()]), name=tarball.name, report=Silent())


def read_by_syft(file: Path) -> list[tuple[str, str]]:
    """Names and versions that are in a bill as Syft reads it."""
    found = packagers.syft("convert", file)["artifacts"]
    return sorted((each["name"], each["version"]) for each in found if each["purl"])


def without_archs(listed: tuple[Listed, ...]) -> list[tuple[str, str]]:
    return [(each.name, each.version) for each in listed]
