"""What a root filesystem starts from: one module a source type, and the choice between them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from tasks.archive.tarball import extract
from tasks.model import Source, SourceType
from tasks.rootfs.pruning import prune
from tasks.rootfs.seed_cache import Seeds
from tasks.sources import anise, file
from tasks.sources.destination import Destination
from tasks.sources.download_cache import Downloads
from tasks.sources.streaming import Scratch


def has_tarball(source: Source) -> bool:
    """Whether the source is a tarball."""
    return source.type is not SourceType.ANISE


def is_seed(source: Source) -> bool:
    """Whether the source is a tarball that can be unpacked once for all builds: as it is."""
    return has_tarball(source) and source.tarformers is None


def contain(source: Source, destination: Destination) -> None:
    """Hide what is the host's own from programs that the source comes with. Only inside the
    private mount namespace of a step."""
    if source.type is SourceType.ANISE:
        anise.contain(source, destination)


def fetch(source: Source, destination: Destination, scratch: Scratch | None = None) -> Path:
    """Bring the source's tarball to this machine, verified; `SourceFailed` where it cannot be. What
    has to be fetched is unpacked into `scratch` meanwhile, if there is one."""
    if source.type is not SourceType.HTTP:
        return file.fetch(source, destination)
    from tasks.sources import http  # httpx takes a while to import

    return http.fetch(source, destination, scratch)


def fill(source: Source, rootfs: Path, destination: Destination) -> str:
    """Make the folder `rootfs` the root filesystem that `source` says, and give the sha256 of its
    tarball, empty where there is none; `SourceFailed` if it cannot be."""
    if not has_tarball(source):
        anise.install(source, rootfs, destination)
        return ""
    with _one_at_a_time(source, destination):
        tarball = fetch(source, destination)
        digest = source.sha256.lower() or destination.digests.digest(tarball)
        extract(
            tarball,
            rootfs,
            report=destination.report,
            limits=destination.storage.limits,
            tarformers=source.tarformers,
        )
    _prune(destination)
    return digest


def seed(source: Source, link: Path, destination: Destination) -> None:
    """Make `link` point at the seed that `source` names, brought and unpacked only if this machine
    does not have it. The seed stays as long as the link does."""
    seeds = Seeds(destination.storage.seeds, destination.storage.limits)
    with _one_at_a_time(source, destination) as since:
        digest = source.sha256.lower() or _unchanged(source, destination, since)
        if digest and _hold(seeds, digest, link, destination):
            _learn_of_named(source, destination)
            return
        _make(seeds, source, link, destination)
    _prune(destination)


def _prune(destination: Destination) -> None:
    """Keep to the limit of what this machine keeps of sources."""
    storage = destination.storage
    prune((Seeds(storage.seeds), Downloads(storage.downloads)), storage.seeds_limit_bytes)


def _make(seeds: Seeds, source: Source, link: Path, destination: Destination) -> None:
    with seeds.scratch() as folder:
        scratch = Scratch(folder, destination.storage.limits)
        tarball = fetch(source, destination, scratch)
        digest = destination.digests.digest(tarball)
        unpacked = folder if scratch.is_whole else None
        with seeds.lease(tarball, digest, link=link, report=destination.report, unpacked=unpacked):
            _remember(source, tarball, digest, destination)


def _one_at_a_time(source: Source, destination: Destination) -> AbstractContextManager[float]:
    """Keeps a tarball in the cache of downloads from being removed by another build that has made
    a seed of it, and the others waiting for what it learns."""
    if not _is_cached(source):
        return nullcontext(0.0)
    from tasks.sources import http

    return http.one_at_a_time(source, destination)


def _learn_of_named(source: Source, destination: Destination) -> None:
    """Of a seed that is here already, the job's own sha256 is all that vouches for it."""
    if source.sha256:
        destination.learned.came_from(_shown(source))
        destination.learned.is_known_by("sha256")


def _shown(source: Source) -> str:
    if source.type is SourceType.HTTP:
        from tasks.sources.download import shown

        return shown(source.uri)
    return Path("/", source.path or source.target).as_uri()


def _is_cached(source: Source) -> bool:
    return source.type is SourceType.HTTP and not source.target


def _hold(seeds: Seeds, digest: str, link: Path, destination: Destination) -> bool:
    with seeds.hold(digest, link=link) as found:
        if found:
            destination.note(f"the seed {digest[:12]} is on this machine already")
        return found is not None


def _unchanged(source: Source, destination: Destination, since: float) -> str:
    """The digest of what the source gave last time, if it would give the same now; else empty."""
    if not _is_cached(source):
        return ""
    from tasks.sources import http

    return http.unchanged(source, destination, since)


def _remember(source: Source, tarball: Path, digest: str, destination: Destination) -> None:
    """Know the source by its digest from now on. A tarball in the cache has done its duty."""
    if _is_cached(source):
        from tasks.sources import http

        http.remember(source, tarball, digest, destination)
