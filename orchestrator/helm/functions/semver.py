"""Sprig's functions on semantic versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestrator.helm.signature import Function

if TYPE_CHECKING:
    from orchestrator.helm.versions import Version


def semver(text: str) -> Version:
    from orchestrator.helm.versions import Version

    return Version.parse(text)


def semver_compare(constraint: str, text: str) -> bool:
    from orchestrator.helm.versions import Version, satisfies

    return satisfies(Version.parse(text), constraint)


FUNCTIONS: Mapping[str, Function] = {"semver": semver, "semverCompare": semver_compare}
