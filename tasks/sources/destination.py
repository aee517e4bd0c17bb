"""Where a source is fetched to: what every source type gets in addition to the source."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tasks.host.files import private
from tasks.reporting import Line, Report
from tasks.results import SeedOrigin
from tasks.rootfs.storage import Storage
from tasks.sources.download_index import DigestCache
from tasks.sources.finalizers import Finalizers
from tasks.sources.package_cache import PackageCache


@dataclass(slots=True)
class Learned:
    """What is learned of a tarball's origin while it is fetched (`SeedOrigin`)."""

    uri: str = ""
    verified: dict[str, None] = field(default_factory=dict)

    def came_from(self, uri: str) -> None:
        self.uri = uri

    def is_known_by(self, *how: str) -> None:
        self.verified.update(dict.fromkeys(how))

    @property
    def origin(self) -> SeedOrigin:
        return SeedOrigin(uri=self.uri, verified=tuple(self.verified))


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """`folder` is where the build was started: relative paths of a source begin there; it
    `was_sent` on a farm, and what is outside of it is another machine's. `home` is the build's own
    folder, for temporary files that go with it; without it they lie where the system's do. Where
    `finalizers` is None, anise runs those of packages in its own way. `learned` is filled on the
    way."""

    folder: Path
    storage: Storage
    report: Report
    home: Path | None = None
    was_sent: bool = False
    finalizers: Finalizers | None = None
    learned: Learned = field(default_factory=Learned)

    def note(self, text: str) -> None:
        self.report.line(Line(text=text))

    @property
    def digests(self) -> DigestCache:
        return DigestCache(private(self.storage.seeds) / "known")

    @property
    def packages(self) -> PackageCache:
        return PackageCache(private(self.storage.packages))
