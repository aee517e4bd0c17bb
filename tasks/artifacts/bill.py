"""The bill of materials of a tarball: what both formats of it say."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import NAMESPACE_URL, UUID, uuid5

from tasks.artifacts.operating_system import OperatingSystem
from tasks.artifacts.packages import Package

_LAST_TIME = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """A tarball, and the packages in it. `time` is in seconds since 1970."""

    name: str
    sha256: str
    sha512: str
    time: int
    system: OperatingSystem
    packages: tuple[Package, ...]

    @property
    def created(self) -> datetime:
        """The time of the bill; never that of the clock, so that the same tarball has the same."""
        return datetime.fromtimestamp(min(max(self.time, 0), _LAST_TIME), UTC)

    @property
    def version(self) -> str:
        """A stage has no version but its content."""
        return f"sha256:{self.sha256}"

    def unique_id(self, kind: str) -> UUID:
        """The identity of the document of one `kind`, the same for the same tarball."""
        return uuid5(NAMESPACE_URL, f"{kind}:{self.name}:{self.version}")

    def by_reference(self) -> dict[str, Package]:
        """The packages, by names that are unique in a document and stable."""
        return {reference(package): package for package in self.packages}


def reference(package: Package) -> str:
    """Letters, digits, dots and dashes, as SPDX wants it."""
    digest = hashlib.sha256("\0".join(package.identity).encode()).hexdigest()[:16]
    name = re.sub(r"[^A-Za-z0-9.]+", "-", package.full_name)[:60]
    return f"{package.manager}-{name}-{digest}"
