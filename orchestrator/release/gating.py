"""The gate of a release: which of the stages that were taken go into its next generation.

A stage is compared with the newest published one. What the gate holds is left out, so that readers
keep the stages they have; what passes gets the gate's signed statement among its sidecar files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from orchestrator.gate.attestation import attestation_name, attested, sign_attestation
from orchestrator.gate.findings import Judgement, StageKey, Verdict
from orchestrator.gate.gatekeeper import Compared, Gatekeeper, Subject
from orchestrator.gate.holds import Hold, Holds, Published
from orchestrator.gate.notifying import Notifier
from orchestrator.gate.waivers import Waivers
from orchestrator.release.catalog import Catalog, Stage
from orchestrator.release.facts import Reader
from orchestrator.release.made import with_file
from orchestrator.release.taking import Taken
from tasks.artifacts.gate_tests import ENDING, LIMIT_BYTES, GateTest, parse
from tasks.errors import StagefarmError, Untrusted, of_system
from tasks.model import short_id
from tasks.store.store import StoredFile
from tasks.trust.keys import PrivateKey
from tasks.trust.statements import Digested


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The gate of one channel of a release, as this machine keeps it. `waivers` reads those that
    count at a time; `key` signs what is said of stages that pass."""

    keeper: Gatekeeper
    waivers: Callable[[float], Waivers]
    holds: Holds
    notifier: Notifier
    key: PrivateKey
    say: Callable[[str], object] = lambda _: None

    def passing(
        self, taken: Taken, before: Catalog | None, read: Reader, now: float, *, trial: bool
    ) -> Taken:
        """What of `taken` may be published after the generation `before`, and what is held. `read`
        has the content of the files of both. With `trial` no hold is noted."""
        waivers = self.waivers(now)
        for void in waivers.void if taken.stages else ():
            self.say(void.text)
        work = _Pass(self, list(before.stages) if before else [], waivers, read)
        for key, group in _by_key(taken.stages, work.published).items():
            self.keeper.learn(key, [subject_of(one, read) for one in group])
        for stage in sorted(taken.stages, key=lambda stage: (stage.built_at, stage.id)):
            work.look_at(stage)
        held = [_hold(stage, judged, now) for stage, judged in work.still_held()]
        return replace(
            taken,
            stages=tuple(work.passed),
            sources={**taken.sources, **work.sources},
            refused=(*taken.refused, *work.refused),
            held=tuple(self.holds.look(held) if trial else self.holds.note(held, work.superseded)),
        )

    def compare(self, stage: Stage, before: Catalog | None, read: Reader, now: float) -> Compared:
        """What is said of `stage` after the generation `before`; nothing is noted."""
        latest = newest_like(stage, before.stages if before else ())
        against = subject_of(latest, read) if latest else None
        return self.keeper.compared(subject_of(stage, read), against, self.waivers(now))

    def settle(self, catalog: Catalog) -> list[Hold]:
        """End the holds that the generation ends, now that readers see it; returns them."""
        published: dict[StageKey, Published] = {}
        for stage in catalog.latest:
            published[key_of(stage)] = Published(build=stage.build, built_at=stage.built_at)
        return self.holds.settle(published, {stage.build for stage in catalog.stages})

    def tell(self, now: float) -> list[str]:
        """Tell people of holds that began, aged or ended; returns why some could not be told."""
        self.holds.remind(now)
        return self.holds.deliver(partial(self.notifier.send, now=now))


@dataclass(slots=True)
class _Pass:
    """One pass over what was taken, the oldest first: each stage is compared with the newest one
    that is published, or has passed before it."""

    gate: Gate
    published: list[Stage]
    waivers: Waivers
    read: Reader
    passed: list[Stage] = field(default_factory=list)
    sources: dict[str, StoredFile] = field(default_factory=dict)
    refused: list[tuple[str, StagefarmError]] = field(default_factory=list)
    superseded: list[str] = field(default_factory=list)
    _held: list[tuple[Stage, Judgement]] = field(default_factory=list)

    def look_at(self, stage: Stage) -> None:
        """Judge a stage, unless it is published just so. One that cannot be judged is refused."""
        for one in self.published:
            if one.id == stage.id and one.tarball == stage.tarball:
                self.passed.append(one)
                return
        try:
            self._judge(stage)
        except StagefarmError as error:
            self.refused.append((stage.build, error))
        except OSError as error:
            self.refused.append((stage.build, of_system(error)))

    def still_held(self) -> Iterator[tuple[Stage, Judgement]]:
        """What is held, and of which no newer build is published or has passed."""
        for stage, judged in self._held:
            newest = newest_like(stage, [*self.published, *self.passed])
            if not newest or newest.built_at <= stage.built_at:
                yield stage, judged
                continue
            count = len(judged.findings)
            said = f"the gate has {count} finding{'s' * (count != 1)}"
            newer = f"the newer {short_id(newest.build)} is published"
            self.superseded.append(stage.build)
            self.refused.append((stage.build, StagefarmError(f"{said}, and {newer}")))

    def _judge(self, stage: Stage) -> None:
        latest = newest_like(stage, [*self.published, *self.passed])
        against = subject_of(latest, self.read) if latest else None
        judged = self.gate.keeper.judge(subject_of(stage, self.read), against, self.waivers)
        if judged.verdict is Verdict.HOLD:
            self._held.append((stage, judged))
        else:
            self._let_pass(stage, judged, latest)

    def _let_pass(self, stage: Stage, judged: Judgement, latest: Stage | None) -> None:
        """Add the gate's statement to the sidecar files of the stage."""
        name = attestation_name(stage.tarball.name)
        said = attested(
            judged,
            stage.tarball.name,
            policy=self.gate.keeper.policy,
            waivers=self.waivers,
            against=_digested(latest) if latest else None,
        )
        content = sign_attestation(said, self.gate.key)
        passed, made = with_file(stage, name, content)
        self.sources |= made
        self.passed.append(passed)


def key_of(stage: Stage) -> StageKey:
    return StageKey(
        product=stage.product, variant=stage.variant, arch=stage.arch, subarch=stage.subarch
    )


def _by_key(wanted: Iterable[Stage], published: Iterable[Stage]) -> dict[StageKey, list[Stage]]:
    """What is published of each stage of which there is something in `wanted`."""
    found: dict[StageKey, list[Stage]] = {key_of(stage): [] for stage in wanted}
    for stage in published:
        if (key := key_of(stage)) in found:
            found[key].append(stage)
    return found


def newest_like(stage: Stage, published: Iterable[Stage]) -> Stage | None:
    """The newest published stage that `stage` is another build of, None if there is none."""
    same = [one for one in published if one.key == stage.key and one.build != stage.build]
    name = stage.tarball.name
    return max(same, key=lambda one: (one.built_at, one.tarball.name == name), default=None)


def subject_of(stage: Stage, read: Reader) -> Subject:
    tarball = stage.tarball
    return Subject(
        stage=key_of(stage),
        build=stage.build,
        tarball=tarball.name,
        sha256=tarball.sha256,
        size_bytes=tarball.size_bytes,
        built_at=stage.built_at,
        pieces=partial(read, tarball),
        tests=partial(_tests, stage, read),
    )


def _tests(stage: Stage, read: Reader) -> Sequence[GateTest] | None:
    """The results of the tests that the stage's host ran, and signed; None if there are none."""
    for file in stage.sidecars:
        if file.name == f"{stage.tarball.name}.{ENDING}":
            if file.size_bytes > LIMIT_BYTES:
                raise Untrusted(f"{file.name} is too large to be the results of tests")
            content = b"".join(read(file))
            if hashlib.sha256(content).hexdigest() != file.sha256:
                raise Untrusted(f"{file.name} is not what was built: its sha256 differs")
            return parse(content, file.name)
    return None


def _hold(stage: Stage, judged: Judgement, now: float) -> Hold:
    return Hold(
        stage=judged.stage,
        build=stage.build,
        tarball=stage.tarball.name,
        sha256=stage.tarball.sha256,
        built_at=stage.built_at,
        since=now,
        reminded=now,
        against=judged.against,
        findings=judged.findings,
        waived=judged.waived,
    )


def _digested(stage: Stage) -> Digested:
    return Digested(name=stage.tarball.name, digest={"sha256": stage.tarball.sha256})
