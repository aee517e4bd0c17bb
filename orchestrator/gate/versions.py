"""Compares versions as the package managers do: each has its own rules.

A version becomes a key that sorts as the manager sorts. The rules are from deb-version(7), rpm's
`rpmvercmp`, the Package Manager Specification 3.3 for Portage, apk-tools' `version.c`, and
alpm's `vercmp` for pacman.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cmp_to_key
from itertools import zip_longest
from typing import Any

LENGTH_MAX = 256
"""Longer versions are hostile: no more of them is compared."""


def compare(manager: str, one: str, other: str) -> int:
    """Negative if `one` is older than `other`, positive if it is newer, else 0."""
    comparison = _COMPARISONS.get(manager, _dpkg)
    return comparison(one[:LENGTH_MAX], other[:LENGTH_MAX])


def sort_key(manager: str) -> Callable[[str], Any]:
    """A key by which versions sort, the oldest first."""
    return cmp_to_key(lambda one, other: compare(manager, one, other))


def _sign(one: Any, other: Any) -> int:
    return int(one > other) - int(one < other)


# dpkg: [epoch:]upstream[-revision]; runs of text, then of digits, in turn


def _dpkg(one: str, other: str) -> int:
    return _sign(_dpkg_key(one), _dpkg_key(other))


def _dpkg_key(version: str) -> tuple[Any, ...]:
    epoch, found, rest = version.partition(":")
    if not found:
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return _number(epoch), _dpkg_part(upstream), _dpkg_part(revision)


def _dpkg_part(text: str) -> tuple[Any, ...]:
    key: list[Any] = []
    for letters, digits in re.findall(r"([^0-9]*)([0-9]*)", text):
        key.append(((*map(_dpkg_order, letters), 0), _number(digits)))
    while key and key[-1] == ((0,), 0):  # "" is the same as "0"
        key.pop()
    return (*key, ((0,), 0))


def _dpkg_order(letter: str) -> int:
    """`~` before the end, the end before letters, letters before the rest."""
    if letter == "~":
        return -1
    return ord(letter) if letter.isascii() and letter.isalpha() else ord(letter) + 256


def _number(digits: str) -> int:
    return int(digits) if digits.isascii() and digits.isdecimal() else 0


# rpm: [epoch:]version[-release]; pacman's is an older form of it


def _rpm(one: str, other: str) -> int:
    """A version without a release is older than one with a release."""
    (epoch, version, release), (its_epoch, its_version, its_release) = map(_split, (one, other))
    found = _sign(epoch, its_epoch) or _rpm_part(version, its_version)
    return found or _sign(bool(release), bool(its_release)) or _rpm_part(release, its_release)


def _pacman(one: str, other: str) -> int:
    """Releases count only if both versions have one."""
    (epoch, version, release), (its_epoch, its_version, its_release) = map(_split, (one, other))
    found = _sign(epoch, its_epoch) or _pacman_part(version, its_version)
    return found or (_pacman_part(release, its_release) if release and its_release else 0)


def _split(text: str) -> tuple[int, str, str]:
    epoch, found, rest = text.partition(":")
    if not (found and epoch.isascii() and epoch.isdecimal()):
        epoch, rest = "0", text
    version, _, release = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return int(epoch), version, release


_RPM_PARTS = re.compile(r"[0-9]+|[a-zA-Z]+|~|\^")


def _rpm_part(one: str, other: str) -> int:
    if one == other:
        return 0
    parts, its = _RPM_PARTS.findall(one), _RPM_PARTS.findall(other)
    for mine, theirs in zip_longest(parts, its, fillvalue=""):
        if mine != theirs and (found := _rpm_segment(mine, theirs)):
            return found
    return 0


def _rpm_segment(one: str, other: str) -> int:
    """`~` before the end, the end before `^`, and that before anything else; digits win."""
    ranks = [_RPM_RANKS.get(text, 3 if text[:1].isdigit() else 2) for text in (one, other)]
    if ranks[0] == ranks[1] == 3:
        return _sign(int(one), int(other))
    return _sign(*ranks) or _sign(one, other)


_RPM_RANKS = {"~": -1, "": 0, "^": 1}


_PACMAN_GAP = re.compile(r"[^0-9a-zA-Z]*")
_PACMAN_SEGMENT = {True: re.compile(r"[0-9]*"), False: re.compile(r"[a-zA-Z]*")}


def _pacman_part(one: str, other: str) -> int:
    """As alpm's `rpmvercmp`, step by step: separators count by their length, and where one version
    ends, it counts whether the rest of the other begins with a letter."""
    while one and other:
        gaps = [len(_beginning(_PACMAN_GAP, text)) for text in (one, other)]
        one, other = one[gaps[0] :], other[gaps[1] :]
        if not (one and other):
            break
        if gaps[0] != gaps[1]:
            return _sign(*gaps)
        is_number = one[0].isdigit()
        segment = _PACMAN_SEGMENT[is_number]
        mine, theirs = (_beginning(segment, text) for text in (one, other))
        if not theirs:
            return 1 if is_number else -1
        if found := _sign(int(mine), int(theirs)) if is_number else _sign(mine, theirs):
            return found
        one, other = one[len(mine) :], other[len(theirs) :]
    if not one and not other:
        return 0
    return -1 if _is_letter(one[:1]) or (not one and not _is_letter(other[:1])) else 1


def _beginning(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.match(text)
    return found[0] if found else ""


def _is_letter(text: str) -> bool:
    return text.isascii() and text.isalpha()


# Portage, apk and anise: numbers, a letter, suffixes such as _rc1, a revision

_SUFFIXES = {"alpha": -4, "beta": -3, "pre": -2, "rc": -1, "": 0, "p": 5}
_APK_SUFFIXES = _SUFFIXES | {"cvs": 1, "svn": 2, "git": 3, "hg": 4}
_PMS = re.compile(
    r"(?P<numbers>[0-9]+(?:\.[0-9]+)*)(?P<letter>[a-z]?)"
    r"(?P<suffixes>(?:_[a-z]+[0-9]*)*)(?P<hash>~[0-9a-f]+)?(?:-r(?P<revision>[0-9]+))?"
    r"(?:\+(?P<build>[0-9]+))?"
)


def _pms(one: str, other: str) -> int:
    """As in the Package Manager Specification, algorithms 3.1 to 3.7; dpkg's rules where a version
    is not of its form."""
    keys = [_pms_key(text) for text in (one, other)]
    return _dpkg(one, other) if None in keys else _sign(*keys)


def _pms_key(version: str) -> tuple[Any, ...] | None:
    if not (match := _PMS.fullmatch(version)):
        return None
    first, *rest = match["numbers"].split(".")
    numbers = tuple(
        (0, text.rstrip("0"), 0) if text.startswith("0") else (1, "", int(text)) for text in rest
    )
    suffixes = []
    for name, number in re.findall(r"_([a-z]+)([0-9]*)", match["suffixes"]):
        if name not in _APK_SUFFIXES:
            return None
        suffixes.append((_APK_SUFFIXES[name], int(number or 0)))
    revision, build = int(match["revision"] or 0), int(match["build"] or 0)
    return int(first), numbers, match["letter"], (*suffixes, (0, -1)), revision, build


def _anise(one: str, other: str) -> int:
    """anise's versions are Portage's, with the number of a build: `1.2.3+4`."""
    return _pms(one, other)


_COMPARISONS = {
    "dpkg": _dpkg,
    "rpm": _rpm,
    "pacman": _pacman,
    "portage": _pms,
    "apk": _pms,
    "anise": _anise,
}
