"""Which stages a release takes from the store: those that a trusted submitter had built, and a
trusted host has built, by the signatures beside the tarball.

The ledger only says where to look.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from string import Template

from orchestrator.formats.releasefile import Keep, Releasefile, Selection
from orchestrator.gate.holds import Hold
from orchestrator.release.catalog import File, Stage, is_safe
from orchestrator.release.retention import kept
from tasks.artifacts.provenance import (
    LIMIT_BYTES,
    Provenance,
    job_name,
    result_name,
    verified_beside,
)
from tasks.errors import BadInput, HostUnfit, StagefarmError, Untrusted
from tasks.ledger.records import Record
from tasks.model import Build, BuildState, short_id
from tasks.settings import Settings
from tasks.store.opening import stored_file
from tasks.store.store import StoredFile
from tasks.trust.policy import Trust

_BATCH_END = re.compile(r"-[0-9]{8}(-[0-9a-f]{16}|T[0-9]{4}([0-9]{2})?Z)$")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A tarball in the store that may be published, and whose build it is said to be."""

    build: str
    tarball: StoredFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Stages to publish, where each of their files is in the store, by its path on the mirror,
    which builds were not taken, and why, and what the gate holds."""

    stages: tuple[Stage, ...] = ()
    sources: dict[str, StoredFile] = field(default_factory=dict)
    refused: tuple[tuple[str, StagefarmError], ...] = ()
    held: tuple[Hold, ...] = ()


NOTHING = Taken()


# Where to look


def candidates_in(
    records: Sequence[Record],
    release: Releasefile,
    settings: Settings,
    known: Callable[[str, int], bool] = lambda _build, _attempt: False,
    held: Collection[str] = (),
) -> list[Candidate]:
    """The tarballs of those builds of the ledger that would be in the next generation, and are not
    known: `known(build, attempt)`. Builds in `held` are looked at again, and take no place of
    others. What is taken is decided by signatures, not here."""
    groups: dict[tuple[str, str, str], list[Record]] = {}
    wanted: list[Record] = []
    for record in records:
        if record.state is not BuildState.SUCCEEDED or record.rebuild_of:
            continue
        if selection_of(release.stages, record.job, record.batch):
            key = (record.job, record.queue, record.variant)
            (wanted if record.id in held else groups.setdefault(key, [])).append(record)
    for group in groups.values():
        wanted += _newest(group, release.keep)
    wanted = [record for record in wanted if not known(record.id, record.attempt)]
    return candidates_of(sorted(wanted, key=lambda record: record.ended), settings)


def _newest(group: Sequence[Record], keep: Keep) -> Iterator[Record]:
    indexes = kept([record.ended for record in group], keep)
    yield from (group[index] for index in sorted(indexes))


def candidates_of(records: Iterable[Record], settings: Settings) -> list[Candidate]:
    return [
        Candidate(record.id, stored_file(artifact.path, settings))
        for record in records
        for artifact in record.artifacts
    ]


# What is taken


def take(candidates: Iterable[Candidate], release: Releasefile, trust: Trust) -> Taken:
    """The stages of `candidates` that are signed by whom `trust` says."""
    stages: list[Stage] = []
    sources: dict[str, StoredFile] = {}
    refused: list[tuple[str, StagefarmError]] = []
    for candidate in candidates:
        try:
            stage = _stage(candidate, release, trust)
        except StagefarmError as error:
            refused.append((candidate.build, error))
            continue
        stages.append(stage)
        tarball = candidate.tarball
        sources |= {file.path: tarball.sibling(file.name) for file in stage.files}
    return Taken(stages=tuple(stages), sources=sources, refused=tuple(refused))


def _stage(candidate: Candidate, release: Releasefile, trust: Trust) -> Stage:
    found = verified_beside(candidate.tarball, trust, candidate.build)
    build = found.job.build
    if build.rebuild_of:
        raise BadInput(f"{build.id} only repeats {build.rebuild_of}", "publish that one")
    selection = selection_of(release.stages, build.job, build.batch)
    if not selection:
        raise Untrusted(f"{build.id} is signed as a build of {build.job}, which is not published")
    product, variant, options = names_of(selection, build)
    stage = Stage(
        product=product,
        variant=variant,
        arch=build.arch,
        subarch=build.subarch,
        build=build.id,
        batch=build.batch,
        attempt=found.result.attempt,
        built_at=found.result.finished,
        tarball=_file(candidate.tarball, found.result.files[candidate.tarball.name]),
        sidecars=tuple(_sidecars(candidate.tarball, found)),
        options=options,
    )
    for file in stage.files:
        if not is_safe(file):
            raise Untrusted(f"{build.id} has a file that cannot be on a mirror: {file.name!r}")
    return stage


def selection_of(selections: Sequence[Selection], job: str, batch: str) -> Selection | None:
    """The first that takes the builds of `job` in the batch with that id."""
    name = batch_name(batch)
    for one in selections:
        if any(fnmatchcase(job, pattern) for pattern in one.jobs) and (
            not one.batch or fnmatchcase(name, one.batch)
        ):
            return one
    return None


def batch_name(batch: str) -> str:
    """The name of the batch with that id, as a file name: without the time."""
    return _BATCH_END.sub("", batch)


def names_of(selection: Selection, build: Build) -> tuple[str, str, dict[str, str]]:
    """Product and variant of the build, and the options that they are made of."""
    known = {
        **build.environment,
        "job": build.job,
        "arch": build.arch,
        "subarch": build.subarch,
    }
    product, variant = Template(selection.product), Template(selection.variant)
    names = [*product.get_identifiers(), *variant.get_identifiers()]
    for name in names:
        if name not in known:
            raise BadInput(
                f"{short_id(build.id)} has no option {name!r}, which the release file names",
                f"job {build.job} has: {', '.join(sorted(known))}",
            )
    options = {name: known[name] for name in names if name in build.environment}
    return product.substitute(known), variant.substitute(known), options


def _sidecars(tarball: StoredFile, found: Provenance) -> Iterator[File]:
    """The files beside the tarball that its host signed, and the signatures."""
    signed = found.result.files
    for name in sorted(signed):
        if name.startswith(f"{tarball.name}."):
            yield _file(tarball.sibling(name), signed[name])
    for name in (job_name(tarball.name), result_name(tarball.name)):
        content = tarball.sibling(name).read(LIMIT_BYTES)
        yield File(name=name, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def _file(stored: StoredFile, sha256: str) -> File:
    try:
        return File(name=stored.name, size_bytes=stored.size(), sha256=sha256)
    except OSError as error:
        raise HostUnfit(f"cannot read {stored.url}: {error.strerror}") from error
