"""Advisories that a stage's own data knows: GLSAs, and debsecan's, as debsecan itself says."""

from __future__ import annotations

import subprocess
import zlib
from pathlib import Path

import pytest

from orchestrator.formats.gatefile import Checks, FaultRule, Gatefile, Reported
from orchestrator.gate.checks import debsecan
from orchestrator.gate.judge import find
from tasks.artifacts.packages import Package, installed
from tests.inventories import inventory
from tests.spoils import GLSA

FILE = "/var/db/repos/gentoo/metadata/glsa/glsa-202611-01.xml"


def portage(version: str, slot: str = "0/3") -> Package:
    return Package(manager="portage", name="app-misc/bells", version=version, slot=slot)


def affected(package: Package, glsa: str) -> bool:
    stage = inventory(packages=(package,), texts={FILE: glsa.encode()})
    return [item.after for item in find(stage, None, Gatefile())] == ["GLSA-202611-01"]


@pytest.mark.parametrize(
    ("version", "is_affected"),
    [("2.9", False), ("3.0", True), ("3.2", True), ("3.2-r1", False), ("3.10", False)],
)
def test_versions_of_an_advisory(version: str, is_affected: bool) -> None:
    assert affected(portage(version), GLSA) == is_affected


@pytest.mark.parametrize(
    ("vulnerable", "version", "is_affected"),
    [
        ('range="eq">3.0', "3.0", True),
        ('range="eq">3.*', "3.9", True),
        ('range="eq">3.*', "4.0", False),
        ('range="rlt">3.0-r3', "3.0-r2", True),
        ('range="rlt">3.0-r3', "2.0-r2", False),
        ('range="rge">3.0-r3', "3.0-r3", True),
        ('range="gt">3.0', "3.1", True),
        ('range="le">3.0', "3.1", False),
        ('range="odd">3.0', "3.1", False),
        ('range="lt" slot="0">9', "3.1", True),
        ('range="lt" slot="3">9', "3.1", False),
    ],
)
def test_ranges(vulnerable: str, version: str, is_affected: bool) -> None:
    glsa = (
        '<glsa id="202611-01"><affected><package name="app-misc/bells">'
        f"<vulnerable {vulnerable}</vulnerable></package></affected></glsa>"
    )
    assert affected(portage(version), glsa) == is_affected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<glsa",
        "<glsa/>",
        '<!DOCTYPE glsa [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><glsa id="&b;"/>',
        '<glsa><affected><package name="app-misc/bells"><vulnerable/></package></affected></glsa>',
    ],
)
def test_damaged_files_know_nothing(text: str) -> None:
    assert not affected(portage("3.0"), text)


def test_what_became_known_since_is_no_finding() -> None:
    """The published stage has the same packages, and its data did not know."""
    texts = {FILE: GLSA.encode()}
    new, old = (
        inventory(packages=(portage("3.1"),), texts=texts),
        inventory(packages=(portage("3.0"),)),
    )
    assert find(new, old, Gatefile()) == ()
    policy = Gatefile(checks=Checks(advisories=FaultRule(report=Reported.ALL)))
    assert [item.path for item in find(new, old, policy)] == ["app-misc/bells"]
    older = inventory(packages=(portage("2.0"),))
    assert [item.message for item in find(new, older, Gatefile())] == [
        "3.1: GLSA-202611-01, bells: Remote ringing"
    ]


STATUS = """\
Package: liba
Status: install ok installed
Source: a (1:2.0-1)
Version: 2.0-1+b1
Architecture: amd64

Package: a-tools
Status: install ok installed
Source: a
Version: 2.0-1
Architecture: amd64

Package: b
Status: install ok installed
Version: 1.0~rc1-1
Architecture: amd64

Package: c
Status: install ok installed
Source: b
Version: 3.0
Architecture: all

Package: gone
Status: deinstall ok config-files
Source: a
Version: 0.1
Architecture: all

"""
DATA = """\
VERSION 1
CVE-2026-0001,,Ringing, loudly
CVE-2026-0002,,Never fixed
CVE-2026-0003,,Of one package only
CVE-2026-0004,,Fixed elsewhere
TEMP-0000005-AAAAAA,,Fixed long ago

a,0,SM  ,1:2.0-2,
a,1,SH? ,,
a,3,S R ,2:0,1:2.0-1 2.0-1
b,2,BLRF,1.0-1,
b,4,S   ,0.5,
c,2,B   ,,

a,liba a-tools
b,b c
"""


def test_debsecan_finds_the_same(tmp_path: Path) -> None:
    """debsecan itself is asked, with the same data from a file."""
    status = tmp_path / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    status.write_text(STATUS)
    (tmp_path / "GENERIC").write_bytes(zlib.compress(DATA.encode()))
    words = ["debsecan", "--source", f"file://{tmp_path}/", "--status", str(status)]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    known = debsecan.read({"/var/lib/debsecan/GENERIC": (tmp_path / "GENERIC").read_bytes()})
    faults = debsecan.affected(installed(tmp_path), known)
    listed = {(line.split()[0], line.split()[1]) for line in said.splitlines()}
    assert {(fault.value, fault.path) for fault in faults} == listed
    assert len(listed) == 5


@pytest.mark.parametrize(
    "data",
    [
        b"", b"VERSION 2\n", b"VERSION 1", b"VERSION 1\na,b\n\nx,9,S,,\ny,-,,\n",
        b"\x78\x9cdamaged", b"VERSION 1\nCVE,,x\n\npackage,0,B\n", zlib.compress(b"\xff" * 1000),
    ],
)  # fmt: skip
def test_damaged_data_of_debsecan_knows_nothing(data: bytes) -> None:
    assert debsecan.read({"/var/lib/debsecan/GENERIC": data}) == {}


def test_other_files_of_debsecan_are_not_read() -> None:
    texts = {"/var/lib/debsecan/history": DATA.encode(), "/etc/debsecan": DATA.encode()}
    assert debsecan.read(texts) == {}
