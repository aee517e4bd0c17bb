"""Finalizers of packages that anise installed: what is read of its database and configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.artifacts.packages import ANISE
from tasks.errors import SourceFailed
from tasks.sources.finalizers import Finalizer, environment, recorded, require_recorded
from tests import boltdb

FIRST = {"ID": 1, "PackageFingerprint": "base-system-1.0", "install": ["true"]}
SECOND = {"ID": 2, "PackageFingerprint": "app-system-2.0", "shell": ["bash", "-ec"]}


@pytest.mark.parametrize("place", ANISE)
def test_finalizers_are_read_in_the_order_of_installation(tmp_path: Path, place: str) -> None:
    boltdb.write(tmp_path / place, [], [SECOND, FIRST])
    assert recorded(tmp_path) == [
        Finalizer(number=1, package="base-system-1.0", install=("true",)),
        Finalizer(number=2, package="app-system-2.0", shell=("bash", "-ec")),
    ]


def test_a_root_filesystem_without_a_database_has_none(tmp_path: Path) -> None:
    assert recorded(tmp_path) == []
    boltdb.write(tmp_path / ANISE[0], [{"name": "app"}])
    assert recorded(tmp_path) == []


@pytest.mark.parametrize(
    "record", [b"", b"no JSON", b"{}", b'{"ID": "x", "PackageFingerprint": ""}', b"\xff"]
)
def test_a_record_that_cannot_be_read_is_an_error(tmp_path: Path, record: bytes) -> None:
    """It would be a finalizer that is not run."""
    (tmp_path / ANISE[0]).parent.mkdir(parents=True)
    (tmp_path / ANISE[0]).write_bytes(boltdb.database([], [record]))
    with pytest.raises(SourceFailed, match="cannot read the finalizers in /var/cache/anise"):
        recorded(tmp_path)


def test_a_finalizer_that_is_not_recorded_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "var/cache/luet/repos/main/treefs/system/app/2.0"
    folder.mkdir(parents=True)
    (folder / "finalize.yaml").touch()
    installed = ["app-system-2.0", "base-system-1.0"]
    require_recorded(tmp_path, installed, [Finalizer(number=1, package="app-system-2.0")])
    require_recorded(tmp_path, ["base-system-1.0"], [])
    with pytest.raises(SourceFailed, match="did not record the finalizers of app-system-2.0"):
        require_recorded(tmp_path, installed, [Finalizer(number=1, package="base-system-1.0")])


def test_the_variables_of_finalizers() -> None:
    printed = """
logging:
    color: true
subsets:
    enabled:
        - devel
        - portage
finalizer_envs:
    - key: BUILD_ISO
      value: "1"
"""
    found = environment(printed, "luet version 0.40.1-geaaru g 2026")
    assert found.pop("PATH")
    assert found == {
        "BUILD_ISO": "1",
        "ANISE_SUBSETS": "devel portage",
        "ANISE_VERSION": "0.40.1-geaaru",
        "LUET_VERSION": "0.40.1-geaaru",
    }
    assert environment("system: {}", "")["ANISE_SUBSETS"] == ""


def test_a_configuration_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(SourceFailed, match="cannot read what `anise config` prints"):
        environment("subsets: [", "")
