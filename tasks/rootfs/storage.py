"""Where a machine keeps tarballs and seeds, and the limits it sets them: the part of the settings
that goes along into a step's own process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.archive.compress import Levels
from tasks.archive.tarball import Limits
from tasks.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Folders as absolute paths in strings, because it goes to the step's process as JSON."""

    seeds_dir: str
    downloads_dir: str
    seeds_limit_bytes: int
    download_tries: int
    limits: Limits
    levels: Levels
    packages_dir: str
    packages_limit_bytes: int

    @classmethod
    def of(cls, settings: Settings) -> Storage:
        return cls(
            seeds_dir=str(settings.state / "seeds"),
            downloads_dir=str(settings.state / "downloads"),
            seeds_limit_bytes=settings.seeds_limit_bytes,
            download_tries=settings.download_tries,
            limits=Limits(
                size_bytes=settings.unpack_limit_bytes, ratio=settings.unpack_limit_ratio
            ),
            levels=Levels(
                zstd=settings.zstd_level,
                zstd_long=settings.zstd_long,
                xz=settings.xz_level,
                gzip=settings.gzip_level,
                bzip2=settings.bzip2_level,
            ),
            packages_dir=str(settings.state / "packages"),
            packages_limit_bytes=settings.packages_limit_bytes,
        )

    @property
    def seeds(self) -> Path:
        return Path(self.seeds_dir)

    @property
    def downloads(self) -> Path:
        return Path(self.downloads_dir)

    @property
    def packages(self) -> Path:
        return Path(self.packages_dir)
