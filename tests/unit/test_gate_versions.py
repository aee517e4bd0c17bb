"""Versions are compared as the package managers compare them: the real ones are asked."""

from __future__ import annotations

import ctypes
import random
import shutil
import subprocess
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as some

from orchestrator.gate.versions import compare

VERSIONS = (
    "1", "1.0", "1.0.0", "1.00", "1.01", "1.1", "1.10", "1.2", "01", "1a", "1.0a", "1.0b", "1.0ab",
    "1.0~rc1", "1.0~", "1.0~~", "1.0^", "1.0^git1", "1.0.rc1", "1.0rc1", "1.0+b1", "1.0+", "1.0-1",
    "1.0-1.1", "1.0-1~bpo1", "1.0-10", "1.0-r1", "1:0.1", "0:1.0", "2:0", "1.0_p1", "1.0p1",
    "2.0.1-3+deb12u1", "2.0.1-3", "20240101", "1.0..1", "1..0", "1.0.a", "a", "a1", "1.0-0",
)  # fmt: skip
PARTS = some.sampled_from(["0", "1", "9", "10", "01", "a", "b", "rc", "p", ".", "~", "+", "_"])
GENERATED = some.lists(PARTS, min_size=1, max_size=7).map("".join)


def sign(number: int) -> int:
    return (number > 0) - (number < 0)


def pairs(seed: int, count: int) -> list[tuple[str, str]]:
    every = [(one, other) for one in VERSIONS for other in VERSIONS]
    return random.Random(seed).sample(every, count)


def test_dpkg_says_the_same() -> None:
    for one, other in pairs(1, 150):
        if not (one[0].isdigit() and other[0].isdigit() and "_" not in one + other):
            continue  # dpkg warns, and takes them all the same
        order = compare("dpkg", one, other)
        words = ["dpkg", "--compare-versions", one, {-1: "lt", 0: "eq", 1: "gt"}[order], other]
        asked = subprocess.run(words, capture_output=True, text=True, check=False)
        assert asked.returncode == 0, (one, other, order, asked.stderr)


def test_rpm_says_the_same() -> None:
    asked = pairs(2, 600)
    if not shutil.which("rpm"):
        pytest.skip("needs rpm")
    lines = "".join(f"print(rpm.vercmp('{one}', '{other}'), ' ')" for one, other in asked)
    words = ["rpm", "--eval", f"%{{lua:{lines}}}"]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    assert [compare("rpm", *pair) for pair in asked] == list(map(int, said))


@given(GENERATED, GENERATED)
def test_pacman_says_the_same(one: str, other: str) -> None:
    try:
        alpm = ctypes.CDLL("libalpm.so.13")
    except OSError:
        pytest.skip("needs libalpm")
    for mine, theirs in ((one, other), (f"1:{one}-1", f"{other}-2"), (f"{one}-1", other)):
        said = alpm.alpm_pkg_vercmp(mine.encode(), theirs.encode())
        assert compare("pacman", mine, theirs) == sign(said), (mine, theirs)


PORTAGE = (
    *("1_alpha", "1_alpha1", "1_beta", "1_pre", "1_rc", "1_rc1", "1", "1-r1", "1-r2", "1_p"),
    *("1_p1", "1a", "1b", "1.0", "1.0.0", "1.001", "1.01", "1.05", "1.1", "1.2", "1.9"),
    *("1.10_alpha_p1", "1.10_rc1_p1", "1.10_rc1_p2-r1", "1.10", "2", "10", "20240101"),
)
"""In the order of the Package Manager Specification, algorithms 3.1 to 3.7."""


def test_portage_apk_and_anise_follow_the_specification() -> None:
    for manager in ("portage", "apk", "anise"):
        for older, newer in pairwise(PORTAGE):
            assert compare(manager, older, newer) < 0 < compare(manager, newer, older), (
                older,
                newer,
            )
    assert compare("portage", "1.0", "1.0-r0") == 0
    assert compare("portage", "1.010", "1.01") == 0
    assert compare("anise", "1.2.3+4", "1.2.3+10") < 0 < compare("anise", "1.2.3+4", "1.2.3")
    git = ["1.0", "1.0_cvs1", "1.0_svn1", "1.0_git20200101", "1.0_hg1", "1.0_p1", "1.0_p1-r1"]
    assert all(compare("apk", older, newer) < 0 for older, newer in pairwise(git))


def test_what_is_no_version_of_portage_is_compared_all_the_same() -> None:
    assert compare("anise", "v1.2", "v1.10") < 0
    assert compare("portage", "9999", "1.0-beta") > 0


@given(some.text(max_size=30), some.text(max_size=30))
def test_no_text_is_too_strange(one: str, other: str) -> None:
    for manager in ("dpkg", "rpm", "pacman", "portage", "apk", "anise", "another"):
        assert sign(compare(manager, one, other)) == -sign(compare(manager, other, one))
        assert compare(manager, one, one) == 0


def test_a_version_without_end_costs_little() -> None:
    for manager in ("dpkg", "rpm", "pacman", "portage"):
        assert compare(manager, "1." * 1_000_000, "1." * 1_000_000 + "2") == 0
        assert compare(manager, "1" * 100_000, "1") > 0
