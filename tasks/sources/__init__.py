"""What a root filesystem starts from: one module a source type, and the choice between them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from tasks import archive
from tasks.model import Source, SourceType
from tasks.seeds import Seeds
from tasks.sources import anise, local
from tasks.sources.place import Place
from tasks.sources.streaming import Scratch

__all__ = ["Place", "fetch", "fill", "has_tarball", "is_seed", "seed"]


def has_tarball(source: Source) -> bool:
    """Whether the source is a tarball."""
    return source.type is not SourceType.ANISE


def is_seed(source: Source) -> bool:
    """Whether the source is a tarball that can be unpacked once for all builds: as it is."""
    return has_tarball(source) and source.tarformers is None


def fetch(source: Source, place: Place, scratch: Scratch | None = None) -> Path:
    """Bring the source's tarball to this machine, verified; `SourceFailed` where it cannot be. What
    has to be fetched is unpacked into `scratch` meanwhile, if there is one."""
    if source.type is not SourceType.HTTP:
        return local.fetch(source, place)
    from tasks.sources import http  # httpx takes a while to import

    return http.fetch(source, place, scratch)


def fill(source: Source, rootfs: Path, place: Place) -> str:
    """Make the folder `rootfs` the root filesystem that `source` says, and give the sha256 of its
    tarball, empty where there is none; `SourceFailed` if it cannot be."""
    if not has_tarball(source):
        anise.install(source, rootfs, place)
        return ""
    with _turn(source, place):
        tarball = fetch(source, place)
        digest = source.sha256.lower() or place.memory.digest(tarball)
        archive.extract(
            tarball,
            rootfs,
            report=place.report,
            limits=place.storage.limits,
            tarformers=source.tarformers,
        )
    return digest


def seed(source: Source, link: Path, place: Place) -> None:
    """Make `link` point at the seed that `source` names, brought and unpacked only if this machine
    does not have it. The seed stays as long as the link does."""
    seeds = Seeds(place.storage.seeds, place.storage.limits)
    with _turn(source, place) as since:
        digest = source.sha256.lower() or _unchanged(source, place, since)
        if digest and _hold(seeds, digest, link, place):
            return
        _make(seeds, source, link, place)
    seeds.prune(place.storage.seeds_limit_bytes)


def _make(seeds: Seeds, source: Source, link: Path, place: Place) -> None:
    with seeds.scratch() as folder:
        scratch = Scratch(folder, place.storage.limits)
        tarball = fetch(source, place, scratch)
        digest = place.memory.digest(tarball)
        unpacked = folder if scratch.is_whole else None
        with seeds.lease(tarball, digest, link=link, report=place.report, unpacked=unpacked):
            _remember(source, tarball, digest, place)


def _turn(source: Source, place: Place) -> AbstractContextManager[float]:
    """Keeps a tarball in the cache of downloads from being removed by another build that has made
    a seed of it, and the others waiting for what it learns."""
    if not _is_cached(source):
        return nullcontext(0.0)
    from tasks.sources import http

    return http.turn(source, place)


def _is_cached(source: Source) -> bool:
    return source.type is SourceType.HTTP and not source.target


def _hold(seeds: Seeds, digest: str, link: Path, place: Place) -> bool:
    with seeds.hold(digest, link=link) as found:
        if found:
            place.note(f"the seed {digest[:12]} is on this machine already")
        return found is not None


def _unchanged(source: Source, place: Place, since: float) -> str:
    """The digest of what the source gave last time, if it would give the same now; else empty."""
    if not _is_cached(source):
        return ""
    from tasks.sources import http

    return http.unchanged(source, place, since)


def _remember(source: Source, tarball: Path, digest: str, place: Place) -> None:
    """Know the source by its digest from now on. A tarball in the cache has done its duty."""
    if _is_cached(source):
        from tasks.sources import http

        http.remember(source, tarball, digest, place)
