"""Publishes the generations of a release to all of its mirrors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial

from orchestrator.display.times import moment
from orchestrator.formats.releasefile import Releasefile
from orchestrator.gate.gatekeeper import Compared
from orchestrator.release import generations
from orchestrator.release.ancestry import Ancestry
from orchestrator.release.announcing import announced
from orchestrator.release.catalog import Catalog, File, Stage
from orchestrator.release.facts import Facts, Reader
from orchestrator.release.gating import Gate
from orchestrator.release.known import Known
from orchestrator.release.made import made_before
from orchestrator.release.mirror import mirror_at, whole
from orchestrator.release.mirrored import (
    Mirrored,
    SourceOf,
    due_of,
    items_of,
    look,
    named_by,
    new_views,
    remove_due,
    verify_bodies,
    verify_views,
    write_bodies,
    write_journal,
    write_views,
)
from orchestrator.release.pointer import (
    POINTER_MAX_BYTES,
    pointer_name,
    pointer_to,
    sign_pointer,
)
from orchestrator.release.publication import Outcome, Plan, earlier, newest_of, noting, required
from orchestrator.release.registries import NOWHERE, Registries
from orchestrator.release.shelves import Shelves
from orchestrator.release.taking import NOTHING, Taken
from orchestrator.release.targets.target import Target
from orchestrator.release.verify import require_forward, seen_of
from orchestrator.release.views.chosen import learn
from orchestrator.release.views.view import Signer, View, ViewFile
from tasks.errors import HostUnfit, StagefarmError, Untrusted
from tasks.metering import Meter
from tasks.reporting import Report, Silent
from tasks.store.store import StoredFile
from tasks.trust.keys import PrivateKey, PublicKey

CLOCK_LIMIT_S = 300.0
RENEWED_AT = 0.5
"""A generation that has lived so much of its time is made anew, though nothing has changed."""

Make = Callable[[Sequence[Mirrored], int, float], "Plan"]
"""Plans the next generation, of what the mirrors show, its version, and the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    """A release, as this machine publishes it. `store` has the files of stages, perhaps also of
    those that were published before."""

    release: Releasefile
    name: str
    key: PrivateKey
    targets: Sequence[Target]
    known: Known
    store: Shelves
    views: Sequence[View] = ()
    signer: Signer | None = None
    facts: Facts | None = None
    registries: Registries = NOWHERE
    gate: Gate | None = None
    ancestry: Ancestry | None = None
    report: Report = field(default_factory=Silent)
    say: Callable[[str], object] = lambda _: None
    clock: Callable[[], float] = time.time
    verify_all: bool = False
    recover: bool = False
    dry_run: bool = False

    # What can be asked of it

    def publish(self, taken: Taken = NOTHING) -> Outcome:
        """Publish those stages of the current generation and of `taken` that the release keeps."""

        def make(found: Sequence[Mirrored], version: int, now: float) -> Plan:
            before = newest_of(found)
            passed = self._passing(taken, before, found, now)
            catalog = generations.next_generation(
                before, passed.stages, self.release, name=self.name, version=version, now=now
            )
            sources: Mapping[str, StoredFile] = passed.sources
            if self.ancestry:
                targets = [one.target for one in found]
                catalog, sources = self.ancestry.complete(catalog, sources, targets)
            catalog, made = announced(catalog, before, self.key)
            return Plan(catalog=catalog, before=before, sources={**sources, **made}, taken=passed)

        return self._advance(make)

    def roll_back(self, to: int) -> Outcome:
        """Publish the stages of generation `to` once more, under a higher version; `BadInput` if it
        is not on the mirror any more."""

        def make(found: Sequence[Mirrored], version: int, now: float) -> Plan:
            before = required(newest_of(found))
            old = earlier(found, before, to)
            catalog = generations.rolled_back(
                before, old, version=version, now=now, grace_s=self.release.keep.grace
            )
            verified = frozenset(file.path for file in old.files)
            return Plan(catalog=catalog, before=before, sources={}, verified=verified)

        return self._advance(make)

    def pin(self, build: str, *, remove: bool) -> Outcome:
        """Keep `build` whatever the rules say, or no longer; `BadInput` if it is not there."""

        def make(found: Sequence[Mirrored], version: int, now: float) -> Plan:
            before = required(newest_of(found))
            grace_s = self.release.keep.grace
            catalog = generations.pinned(
                before, build, version=version, now=now, grace_s=grace_s, remove=remove
            )
            return Plan(catalog=catalog, before=before, sources={})

        return self._advance(make)

    def compare(self, taken: Taken) -> Compared:
        """What the gate says of the one stage in `taken`, which is not published."""
        assert self.gate
        (stage,), found = taken.stages, self._look({})
        before = newest_of(found)
        return self.gate.compare(stage, before, self._reader(taken, before, found), self.clock())

    def current(self) -> Catalog | None:
        """The newest generation that a mirror shows, None if all are empty."""
        failed: dict[str, StagefarmError] = {}
        return newest_of(self._look(failed))

    def generation(self, version: int | None) -> Catalog:
        """The current generation, or an earlier one; `BadInput` if there is none."""
        found = self._look({})
        current = required(newest_of(found))
        return current if version in (None, current.version) else earlier(found, current, version)

    # How

    def _advance(self, make: Make) -> Outcome:
        self.registries.require_skopeo()
        failed: dict[str, StagefarmError] = {}
        with ExitStack() as locks:
            found = self._look(failed, None if self.dry_run else locks)
            now, version = self._time_of(found), self._next_version(found)
            plan = make(found, version, now)
            return self._told(self._publish(found, plan, now, failed), plan)

    def _publish(
        self, found: Sequence[Mirrored], plan: Plan, now: float, failed: dict[str, StagefarmError]
    ) -> Outcome:
        if not failed and self._is_current(found, plan, now):
            assert plan.before
            outcome = Outcome(catalog=plan.before, new=False, before=plan.before, failed=failed)
            return outcome if self.dry_run else self._push(outcome, found, plan)
        if self.dry_run:
            return self._foreseen(found, plan, now, failed)
        return self._push(self._carry_out(found, plan, now, failed), found, plan)

    def _passing(
        self, taken: Taken, before: Catalog | None, found: Sequence[Mirrored], now: float
    ) -> Taken:
        """What of `taken` passes the gate."""
        if not self.gate:
            return taken
        read = self._reader(taken, before, found)
        return self.gate.passing(taken, before, read, now, trial=self.dry_run)

    def _reader(self, taken: Taken, before: Catalog | None, found: Sequence[Mirrored]) -> Reader:
        """Returns the content of files that are published, or taken."""
        stages = (*(before.stages if before else ()), *taken.stages)
        find = self._finder(stages, taken.sources)

        def read(file: File) -> Iterator[bytes]:
            if source := find(file):
                yield from source.pieces()
                return
            with mirror_at(found[0].target.url) as mirror:
                yield from mirror.pieces(file.path, file.size_bytes)

        return read

    def _told(self, outcome: Outcome, plan: Plan) -> Outcome:
        """The outcome with what the gate did."""
        ended = self.gate.settle(outcome.catalog) if self.gate and not self.dry_run else ()
        return replace(outcome, taken=plan.taken, ended=tuple(ended))

    def _push(self, outcome: Outcome, found: Sequence[Mirrored], plan: Plan) -> Outcome:
        """Bring the registries up to date with a mirror that shows the generation."""
        targets = [one.target for one in found]
        shows = [one for one in targets if one.label in outcome.published] or targets
        files = partial(self._view_files, shows[0], plan)
        pushed = self.registries.bring_up(shows, files, outcome.failed, again=self.verify_all)
        return replace(outcome, pushed=pushed)

    def _look(
        self, failed: dict[str, StagefarmError], locks: ExitStack | None = None
    ) -> list[Mirrored]:
        """The mirrors that can be published to, locked if `locks` are given; `failed` gets the
        others. Raises the error if there is none."""
        found: list[Mirrored] = []
        for target in self.targets:
            with noting(failed, target.label):
                if locks:
                    locks.enter_context(target.exclusive())
                one = look(target, self.release.channel, self._keys, self.clock())
                self._require_forward(one)
                found.append(one)
        if not found:
            raise next(iter(failed.values()))
        return found

    @property
    def _keys(self) -> list[PublicKey]:
        return [self.key.public, *map(PublicKey.parse, self.release.former_keys)]

    def _place(self, target: Target) -> str:
        return f"{target.label}#{self.release.channel}"

    def _require_forward(self, found: Mirrored) -> None:
        """`Untrusted` if the mirror shows an older generation than was published from here."""
        seen = self.known.recall(self._place(found.target)).seen
        if self.recover or not seen.version:
            return
        if not found.pointer:
            raise Untrusted(
                f"{found.target.label} was emptied: it had generation {seen.version}", RECOVER
            )
        try:
            require_forward(found.pointer, seen, found.target.label)
        except Untrusted as error:
            raise Untrusted(str(error), RECOVER) from error

    def _time_of(self, found: Sequence[Mirrored]) -> float:
        """Now; `HostUnfit` if a generation was made later: one of the clocks is wrong."""
        now = self.clock()
        for one in found:
            if one.pointer and one.pointer.created_at > now + CLOCK_LIMIT_S:
                raise HostUnfit(
                    f"it is {moment(now)} here, but generation {one.version} on "
                    f"{one.target.label} was made on {moment(one.pointer.created_at)}",
                    "set the clock of this machine",
                )
        return max([now, *(one.pointer.created_at for one in found if one.pointer)])

    def _next_version(self, found: Sequence[Mirrored]) -> int:
        """A higher one than any that was seen."""
        seen = [self.known.recall(self._place(target)).seen.version for target in self.targets]
        return 1 + max(*seen, *(one.version for one in found), 0)

    def _is_current(self, found: Sequence[Mirrored], plan: Plan, now: float) -> bool:
        before = plan.before
        if not before or not generations.is_same(before, plan.catalog):
            return False
        is_old = now - before.created_at >= RENEWED_AT * self.release.expires
        return not is_old and all(one.version == before.version for one in found)

    def _foreseen(
        self, found: Sequence[Mirrored], plan: Plan, now: float, failed: dict[str, StagefarmError]
    ) -> Outcome:
        """What `_carry_out` would do."""
        size, removed = 0, dict[str, None]()
        for one in found:
            items = items_of(one.new_in(plan.catalog), self._source_of(plan), one.target)
            size += sum(item.size_bytes for item in items)
            removed |= dict.fromkeys(due_of(one, self.release.keep.grace, now))
        return Outcome(
            catalog=plan.catalog,
            new=True,
            before=plan.before,
            published=tuple(one.target.label for one in found),
            failed=failed,
            written_bytes=size,
            removed=tuple(removed),
        )

    def _carry_out(
        self, found: Sequence[Mirrored], plan: Plan, now: float, failed: dict[str, StagefarmError]
    ) -> Outcome:
        """Write the generation to all mirrors, then move their pointers."""
        ready: list[Mirrored] = []
        size, removed = 0, dict[str, None]()
        for one in found:
            with noting(failed, one.target.label):
                size += self._prepare(one, plan)
                ready.append(one)
        for view in self.views:
            for line in view.left_out(plan.catalog):
                self.say(f"not in the view {type(view).__name__.lower()}: {line}")
        done: list[Mirrored] = []
        for one in ready:
            with noting(failed, one.target.label):
                self._switch(one, plan.catalog)
                done.append(one)
        if not done:
            raise next(iter(failed.values()))
        for one in done:
            with noting(failed, one.target.label):
                due = due_of(one, self.release.keep.grace, now)
                remove_due(one, due)
                removed |= dict.fromkeys(due)
        return Outcome(
            catalog=plan.catalog,
            new=True,
            before=plan.before,
            published=tuple(one.target.label for one in done),
            failed=failed,
            written_bytes=size,
            removed=tuple(removed),
        )

    def _prepare(self, one: Mirrored, plan: Plan) -> int:
        """Write all but the pointer, and verify it; returns the bytes written."""
        catalog = plan.catalog
        shown = self._view_files(one.target, plan)
        named = named_by(catalog, shown)
        write_journal(one, one.journal.begun(catalog.version, named))
        size = write_bodies(one, catalog, self._source_of(plan), self.report)
        fresh = shown if self.verify_all else new_views(one, shown)
        new = list(catalog.files) if self.verify_all else one.new_in(catalog)
        known = () if self.verify_all else plan.verified
        with mirror_at(one.target.url) as mirror:
            written = write_views(one, [file for file in fresh if not file.is_index])
            verify_bodies(mirror, catalog, new, known, self.report)
            verify_views(mirror, written)
            verify_views(mirror, write_views(one, [file for file in fresh if file.is_index]))
        return size

    def _view_files(self, target: Target, plan: Plan) -> list[ViewFile]:
        """The files of all views, made of the store's content, or the mirror's where it is gone."""
        if not self.views:
            return []
        source_of = self._source_of(plan)
        with mirror_at(target.url) as mirror:

            def read(file: File) -> Iterator[bytes]:
                if source := source_of(file):
                    yield from source.pieces()
                else:
                    yield from mirror.pieces(file.path, file.size_bytes)

            if self.facts:
                count = len(plan.catalog.stages)
                meter = Meter(self.report, "views", total=count, unit="stages")
                learn(
                    self.views, plan.catalog, self.signer, self.facts, read, lambda _: meter.add(1)
                )
                meter.finish()
            return [
                file for view in self.views for file in view.files(plan.catalog, read, self.signer)
            ]

    def _source_of(self, plan: Plan) -> SourceOf:
        return self._finder(plan.catalog.stages, plan.sources)

    def _finder(self, stages: Iterable[Stage], sources: Mapping[str, StoredFile]) -> SourceOf:
        by_path = {file.path: stage for stage in stages for file in stage.files}

        def find(file: File) -> StoredFile | None:
            return (
                sources.get(file.path)
                or made_before(file, self.targets)
                or self.store.find(by_path[file.path], file)
            )

        return find

    def _switch(self, one: Mirrored, catalog: Catalog) -> None:
        """Make the generation current."""
        pointer, name = pointer_to(catalog, self.release.expires), pointer_name(catalog.channel)
        text = sign_pointer(pointer, self.key)
        one.target.switch(name, text, one.text)
        self.known.remember(self._place(one.target), seen_of(pointer))
        with suppress(StagefarmError), mirror_at(one.target.url) as mirror:
            if whole(mirror, name, POINTER_MAX_BYTES) == text:
                return
        self.say(f"{one.target.url}/{name} does not show the new generation yet: is it cached?")


RECOVER = "--recover goes on from what is there, under a higher version"
