"""Bills of materials: what is said of each package, and trees that would spoil them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spdx_tools.spdx.model import RelationshipType

from tasks.artifacts import (
    cyclonedx_bill,
    licences,
    manifest,
    operating_system,
    packages,
    spdx_bill,
)
from tasks.artifacts.bill import Bill, reference
from tasks.artifacts.operating_system import OperatingSystem
from tasks.artifacts.package_urls import package_url
from tasks.artifacts.packages import Package, installed
from tasks.reporting import Silent
from tests import bills

DEBIAN = OperatingSystem(id="debian", version="12", name="Debian GNU/Linux 12 (bookworm)")
NONE = OperatingSystem()
BASH = Package(
    manager="dpkg",
    name="bash",
    version="5.2.15-2+b8",
    arch="amd64",
    source="bash (5.2.15-2)",
    vendor="Matthias Klose (he) <doko@debian.org>",
)
RPM = Package(
    manager="rpm",
    name="Bell",
    version="1.0~rc1-2",
    epoch="3",
    licence="GPL-2.0-or-later AND MIT",
    vendor="Bells (Ltd)",
)
BILL = Bill(
    name="stage.tar.xz",
    sha256="a" * 64,
    sha512="b" * 128,
    time=1_700_000_000,
    system=DEBIAN,
    packages=(BASH, RPM),
)


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    rootfs = tmp_path / "rootfs"
    write(rootfs / "var/lib/dpkg/status", "Package: bash\nVersion: 5.2-1\nArchitecture: amd64\n")
    write(rootfs / "etc/os-release", 'ID=debian\nVERSION_ID="12"\n')
    return rootfs


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_what_cyclonedx_says(tmp_path: Path) -> None:
    (tmp_path / "s.cdx.json").write_bytes(cyclonedx_bill.encode(BILL))
    found = bills.cyclonedx(tmp_path / "s.cdx.json")
    stage = found["metadata"]["component"]
    assert (stage["name"], stage["version"]) == ("stage.tar.xz", f"sha256:{'a' * 64}")
    assert [each["content"] for each in stage["hashes"]] == ["a" * 64, "b" * 128]
    assert found["metadata"]["timestamp"] == "2023-11-14T22:13:20+00:00"
    system, bash, rpm = found["components"]
    assert (system["type"], system["name"], system["version"]) == (
        "operating-system",
        "debian",
        "12",
    )
    assert bash["purl"] == "pkg:deb/debian/bash@5.2.15-2%2Bb8?arch=amd64&distro=debian-12"
    assert bash["supplier"] == {"name": "Matthias Klose (he) <doko@debian.org>"}
    assert {"name": "stagefarm:source", "value": "bash (5.2.15-2)"} in bash["properties"]
    assert rpm["licenses"] == [{"expression": "GPL-2.0-or-later AND MIT"}]
    assert rpm["version"] == "3:1.0~rc1-2"


def test_what_spdx_says(tmp_path: Path) -> None:
    (tmp_path / "s.spdx.json").write_bytes(spdx_bill.encode(BILL))
    document = bills.spdx(tmp_path / "s.spdx.json")
    stage, system, bash, rpm = document.packages
    assert [each.value for each in stage.checksums] == ["a" * 64, "b" * 128]
    assert str(bash.supplier) == "Person: Matthias Klose he (doko@debian.org)"
    assert bash.source_info == "built from bash (5.2.15-2)"
    assert str(rpm.license_declared) == "GPL-2.0-or-later AND MIT"
    assert str(rpm.supplier) == "Organization: Bells Ltd"
    (first, *rest) = document.relationships
    assert (first.relationship_type, first.related_spdx_element_id) == (
        RelationshipType.DESCRIBES,
        stage.spdx_id,
    )
    assert [each.related_spdx_element_id for each in rest] == [
        each.spdx_id for each in (system, bash, rpm)
    ]


def test_a_licence_with_a_name_of_the_distribution_is_kept_as_that(tmp_path: Path) -> None:
    package = Package(manager="portage", name="a/b", version="1", licence="|| ( MIT GPL-2 )")
    bill = replace(BILL, packages=(package,))
    document = json.loads(cyclonedx_bill.encode(bill))
    assert document["components"][1]["licenses"] == [{"license": {"name": "|| ( MIT GPL-2 )"}}]
    told = json.loads(spdx_bill.encode(bill))["packages"][2]
    assert told["licenseDeclared"] == "NOASSERTION"
    assert told["licenseComments"] == "portage says: || ( MIT GPL-2 )"


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("MIT", True),
        ("GPL-2.0-or-later WITH Classpath-exception-2.0 OR (MIT AND Zlib)", True),
        ("", False),
        ("GPL-2", False),
        ("BSD", False),
        ("MIT AND", False),
        ("MIT and Zlib", False),
        ("LicenseRef-scancode-public-domain", False),
        ("NOASSERTION", False),
        ("(" * 400 + "MIT", False),
    ],
)
def test_licence_expressions(text: str, *, is_one: bool) -> None:
    assert licences.is_expression(text) is is_one


@pytest.mark.parametrize(
    ("package", "system", "url"),
    [
        (
            RPM,
            OperatingSystem(id="fedora", version="40"),
            "rpm/fedora/Bell@1.0~rc1-2?distro=fedora-40&epoch=3",
        ),
        (
            Package(manager="apk", name="musl", version="1.2.5-r0", arch="x86_64"),
            OperatingSystem(id="alpine", version="3.22.0"),
            "apk/alpine/musl@1.2.5-r0?arch=x86_64&distro=alpine-3.22.0",
        ),
        (
            Package(manager="pacman", name="pacman", version="1:6.0-1", arch="any"),
            OperatingSystem(id="arch"),
            "alpm/arch/pacman@1:6.0-1?arch=any&distro=arch",
        ),
        (
            Package(manager="portage", name="dev-libs/c++", version="1_p2-r1", slot="0/2"),
            OperatingSystem(id="gentoo", version="2.17"),
            "generic/dev-libs/c%2B%2B@1_p2-r1?distro=gentoo-2.17&manager=portage&slot=0/2",
        ),
        (
            Package(manager="anise", name="a", category="sys", version="1+2", repository="main"),
            OperatingSystem(id="macaroni"),
            "generic/sys/a@1%2B2?distro=macaroni&manager=anise&repository=main",
        ),
        (BASH, NONE, "generic/bash@5.2.15-2%2Bb8?arch=amd64&manager=dpkg"),
        (
            Package(manager="dpkg", name="Bell?x#y@z", version="1?2#3@4"),
            DEBIAN,
            "deb/debian/bell%3Fx%23y%40z@1%3F2%233%404?distro=debian-12",
        ),
        (Package(manager="dpkg", name="/", version="1"), DEBIAN, ""),
    ],
)
def test_package_urls(package: Package, system: OperatingSystem, url: str) -> None:
    found = package_url(package, system)
    assert str(found or "") == (f"pkg:{url}" if url else "")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('ID=debian\nVERSION_ID=\'12\'\nPRETTY_NAME="A \\"B\\""\n', ("debian", "12", 'A "B"')),
        ("# x\n\nID=arch\nNAME=Arch\n", ("arch", "", "Arch")),
        ("ID=a b\n", ("", "", "")),
        ("ID='open\nVERSION_ID=1\n", ("", "1", "")),
        ("ID=../../x?y\nVERSION_ID=1\x1b\nNAME='\x1b[2J'\n", ("", "", "")),
        ("ID=" + "a" * 70_000, ("", "", "")),
    ],
)
def test_os_release(tmp_path: Path, text: str, found: tuple[str, ...]) -> None:
    write(tmp_path / "etc/os-release", text)
    system = operating_system.read(tmp_path)
    assert (system.id, system.version, system.name) == found


def test_an_os_release_that_leads_out_or_in_a_circle_is_not_read(tmp_path: Path) -> None:
    write(tmp_path / "host", "ID=host\n")
    (tmp_path / "root/etc").mkdir(parents=True)
    link = tmp_path / "root/etc/os-release"
    link.symlink_to("../../host")
    assert operating_system.read(tmp_path / "root") == NONE
    link.unlink()
    link.symlink_to("os-release")
    assert operating_system.read(tmp_path / "root") == NONE


def test_the_same_tarball_has_the_same_bills(rootfs: Path, tmp_path: Path) -> None:
    def bills_of(name: str) -> list[bytes]:
        folder = tmp_path / name
        manifest.pack(rootfs, folder / "s.tar", report=Silent(), source_date_epoch=1_700_000_000)
        return [(folder / f"s.tar.{kind}.json").read_bytes() for kind in ("cdx", "spdx")]

    first = bills_of("one")
    assert bills_of("two") == first
    assert all(b"2023-11-14T22:13:20" in each for each in first)
    write(rootfs / "more", "")
    documents = [json.loads(text) for text in (*first, *bills_of("three"))]
    ids = [each.get("serialNumber") or each["documentNamespace"] for each in documents]
    assert len(set(ids)) == 4, "each document has its own"


@pytest.mark.parametrize("time", [-(2**62), 0, 2**62])
def test_no_time_is_too_early_or_late(tmp_path: Path, time: int) -> None:
    bill = replace(BILL, time=time)
    (tmp_path / "s.cdx.json").write_bytes(cyclonedx_bill.encode(bill))
    (tmp_path / "s.spdx.json").write_bytes(spdx_bill.encode(bill))
    assert bills.cyclonedx(tmp_path / "s.cdx.json")
    assert bills.spdx(tmp_path / "s.spdx.json")


def test_without_an_epoch_the_time_is_that_of_the_tree(rootfs: Path, tmp_path: Path) -> None:
    os.utime(rootfs, (1_000_000_000, 1_000_000_000))
    manifest.pack(rootfs, tmp_path / "s.tar", report=Silent())
    told = json.loads((tmp_path / "s.tar.spdx.json").read_text())
    assert told["creationInfo"]["created"] == "2001-09-09T01:46:40Z"


def test_a_stage_without_packages_has_bills_too(tmp_path: Path) -> None:
    write(tmp_path / "rootfs/file", "")
    manifest.pack(tmp_path / "rootfs", tmp_path / "s.tar", report=Silent())
    assert bills.in_cyclonedx(tmp_path / "s.tar.cdx.json") == ()
    assert bills.in_spdx(tmp_path / "s.tar.spdx.json") == ()


PRINTABLE = st.characters(exclude_categories=("C", "Z"), include_characters=" ")
SHOWN = st.text(PRINTABLE, min_size=1, max_size=30).map(str.strip).filter(bool)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.builds(
            Package,
            manager=st.sampled_from(["dpkg", "rpm", "apk", "pacman", "portage", "anise"]),
            name=SHOWN,
            version=SHOWN,
            arch=st.just("") | SHOWN,
            slot=st.just("") | SHOWN,
            repository=st.just("") | SHOWN,
            epoch=st.just("") | SHOWN,
            licence=st.just("MIT OR Zlib") | SHOWN,
            source=SHOWN,
            vendor=SHOWN,
        ),
        max_size=3,
        unique_by=reference,
    )
)
def test_whatever_a_database_says_the_bills_are_sound(
    tmp_path_factory: pytest.TempPathFactory, found: list[Package]
) -> None:
    folder = tmp_path_factory.mktemp("bills")
    bill = replace(BILL, packages=tuple(found))
    (folder / "s.cdx.json").write_bytes(cyclonedx_bill.encode(bill))
    (folder / "s.spdx.json").write_bytes(spdx_bill.encode(bill))
    assert len(bills.cyclonedx(folder / "s.cdx.json")["components"]) == len(found) + 1
    assert len(bills.spdx(folder / "s.spdx.json").packages) == len(found) + 2


def test_names_that_cannot_be_shown_are_left_out_and_counted(tmp_path: Path) -> None:
    entries = "".join(
        f"Package: {name}\nVersion: 1\nMaintainer: {who}\n\n"
        for name, who in (("good", "\x1b[2J"), ("\x1b[2J", "x"), ("a" * 256, "x"), ("", "x"))
    )
    write(tmp_path / "var/lib/dpkg/status", entries)
    folder = os.fsencode(tmp_path / "var/db/pkg/cat") + b"/bad\xff-1.2"
    Path(os.fsdecode(folder)).mkdir(parents=True)
    notes: list[str] = []
    assert installed(tmp_path, notes.append) == [Package(manager="dpkg", name="good", version="1")]
    assert notes == [
        "1 packages of portage have no name or version that can be shown",
        "3 packages of dpkg have no name or version that can be shown",
    ]


def test_a_database_of_too_many_packages_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "PACKAGES_MAX", 10)
    write(
        tmp_path / "var/lib/dpkg/status",
        "".join(f"Package: p{number}\nVersion: 1\n\n" for number in range(11)),
    )
    write(tmp_path / "lib/apk/db/installed", "P:musl\nV:1\n\n")
    notes: list[str] = []
    assert [package.name for package in installed(tmp_path, notes.append)] == ["musl"]
    assert notes == ["with those of dpkg, there are more than 10 packages"]


def test_pacman(tmp_path: Path) -> None:
    local = tmp_path / "var/lib/pacman/local"
    text = (
        "%NAME%\nbell\n\n%VERSION%\n2:1-1\n\n%LICENSE%\nMIT\nZlib\n\n%BASE%\nbells\n\n%DEPENDS%\n"
    )
    write(local / "bell-2:1-1/desc", text)
    write(local / "half-1/desc", "%NAME%\nhalf\n")
    write(local / "ALPM_DB_VERSION", "9\n")
    write(tmp_path / "host/desc", text.replace("bell", "host"))
    (local / "out-1").symlink_to(tmp_path / "host")
    bell = Package(
        manager="pacman", name="bell", version="2:1-1", licence="MIT, Zlib", source="bells"
    )
    assert installed(tmp_path) == [bell]


def test_the_library_is_loaded_only_where_bills_are_made() -> None:
    words = (
        "import sys; import orchestrator.cli, tasks.worker.startup, tasks.step.main; "
        "sys.exit(any(name.startswith(('cyclonedx', 'packageurl')) for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", words], check=False).returncode == 0
