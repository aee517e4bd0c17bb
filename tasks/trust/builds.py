"""Signed builds: what a submitter signs, and what a host demands before it acts on it.

All that a host acts on is in the `Build`: its id, queue, steps, variables, context, source, output,
who submitted it and when it is valid. Attempt, host and lease are not, and can only delay it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING

from tasks.errors import Untrusted
from tasks.model import Build, ChrootKind, HookType, SourceType, StepKind, encode
from tasks.trust.envelope import (
    UNSIGNED,
    PayloadType,
    content,
    from_text,
    signatures_of,
    signed,
    signer_of,
    to_text,
    with_payload,
)
from tasks.trust.keys import PrivateKey
from tasks.trust.policy import Submitter, Trust

if TYPE_CHECKING:
    from securesystemslib.dsse import Envelope

CLOCK_LIMIT_S = 300.0
"""How far the clocks of submitter and host may differ."""

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}")
"""Ids and batches become names of folders and keys."""


@dataclass(frozen=True, slots=True)
class Job:
    """A build whose envelope was verified: `digest` is the sha256 of what was signed, and `by`
    whose key signed it."""

    build: Build
    envelope: Envelope
    by: str = ""

    @property
    def digest(self) -> str:
        return digest_of(self.envelope)

    @property
    def text(self) -> str:
        return to_text(self.envelope)


def digest_of(envelope: Envelope) -> str:
    return hashlib.sha256(envelope.payload).hexdigest()


def sign(
    build: Build, key: PrivateKey | None, *, submitter: str, now: float, valid_s: float
) -> tuple[Build, str]:
    """`build` with its submitter and its time, and the signatures of its JSON; none without a
    key. `Untrusted` if a host would refuse its form."""
    build = replace(build, submitter=submitter, not_before=now, not_after=now + valid_s)
    _require_form(build)
    if key is None:
        return build, UNSIGNED
    return build, signatures_of(signed(encode(build), PayloadType.BUILD, key))


def stored(spec: str, signatures: str) -> Envelope:
    """The envelope of a build as the ledger stores it."""
    return with_payload(spec, signatures or UNSIGNED, PayloadType.BUILD)


def verified(
    envelope: Envelope,
    trust: Trust,
    build_id: str,
    *,
    at: float | None,
    queues: tuple[str, ...] = (),
) -> Job:
    """The build of a signed envelope; `Untrusted` with the reason if it is not `build_id`, or its
    signer may not have it built.

    `at` is the current time, None if the build's period does not matter because it was built
    before. `queues` are those that this host serves; empty for who only reads.
    """
    build = content(envelope, Build)
    _require_form(build)
    if build.id != build_id:
        raise Untrusted(f"{build_id} has the signed job of another build, {build.id}")
    if queues and build.queue not in queues:
        raise Untrusted(f"it was signed for {build.queue}, which this host does not serve")
    if not trust.required:
        return Job(build, envelope)
    by = _submitter(envelope, build, trust)
    if at is not None:
        _require_valid(build, by, at)
    if not by.serves(build.queue):
        raise Untrusted(f"{by.name} may not submit to {build.queue}")
    for refused in _beyond_rights(build, by):
        raise Untrusted(f"{by.name} may not use {refused}")
    return Job(build, envelope, by.name)


def read(text: str) -> Job:
    """The job in a file that this host wrote after it had verified it."""
    envelope = from_text(text)
    return Job(content(envelope, Build), envelope)


def _submitter(envelope: Envelope, build: Build, trust: Trust) -> Submitter:
    keys = {entry.public: entry for entry in trust.submitters}
    if found := signer_of(envelope, PayloadType.BUILD, keys):
        return keys[found]
    if not envelope.signatures:
        hint = "submit it again; if you trust what is in Redis now: stagefarm ledger sign"
        raise Untrusted("it is not signed", hint)
    who = build.submitter or "an unknown submitter"
    raise Untrusted(
        f"it was not signed with a key that this machine trusts, but by {who}",
        "on this host: stagefarm keys trust submitter KEY, with what `stagefarm keys show` prints "
        "where it was submitted",
    )


def _require_valid(build: Build, by: Submitter, now: float) -> None:
    if reason := by.ended(now):
        raise Untrusted(f"the key of {by.name} {reason}")
    if now < build.not_before - CLOCK_LIMIT_S:
        raise Untrusted(f"it is valid only in {build.not_before - now:.0f} s: is a clock wrong?")
    if now > build.not_after + CLOCK_LIMIT_S:
        raise Untrusted("its time has passed", f"stagefarm retry {build.id}, once it has ended")


def _require_form(build: Build) -> None:
    """Refuse what would become a path outside of its folder, and what would never end."""
    for what, name in (("id", build.id), ("batch", build.batch), ("release", build.release)):
        if (name or what == "id") and not NAME.fullmatch(name):
            raise Untrusted(f"its {what} is not a valid name: {name!r}")
    if build.output.name and PurePath(build.output.name).name != build.output.name:
        raise Untrusted(f"its output is not a file name: {build.output.name!r}")
    if [step.number for step in build.steps] != list(range(len(build.steps))):
        raise Untrusted("its steps are not numbered in order")
    kinds = [step.kind for step in build.steps]
    if kinds.count(StepKind.PUBLISH) != 1 or kinds[-1] is not StepKind.PUBLISH:
        raise Untrusted("its last step, and only that, must publish")
    _require_form_of_gate(build)


def _require_form_of_gate(build: Build) -> None:
    """Tests run in the stage that was packed, once, and nothing but tests runs in their place."""
    kinds = [step.kind for step in build.steps]
    if StepKind.GATE in kinds and (
        kinds.count(StepKind.GATE) > 1 or StepKind.PACK not in kinds[: kinds.index(StepKind.GATE)]
    ):
        raise Untrusted("its stage must be tested once, after it was packed")
    for step in build.steps:
        of_gate = [hook.type is HookType.GATE for hook in step.hooks]
        if step.phase is HookType.GATE or (any(of_gate) and step.kind is not StepKind.GATE):
            raise Untrusted(f"hooks of the type gate outside of the step that tests ({step.file})")
        if step.kind is StepKind.GATE and (step.phase or not all(of_gate)):
            raise Untrusted("hooks of another type in the step that tests")


def _beyond_rights(build: Build, by: Submitter) -> Iterator[str]:
    """What the build needs and its submitter may not use."""
    if not by.host_privileges and build.host_privileged:
        fchroot = build.chroot is ChrootKind.FCHROOT
        yield "fchroot" if fchroot else "hooks with `privileges: host`"
    if by.outer_hooks:
        return
    for step in build.steps:
        if step.kind is StepKind.HOOKS and not step.is_inner:
            yield f"hooks that run on the host ({step.phase}, {step.file})"
        for phase in {hook.type for hook in step.hooks} - {HookType.INNER_CHROOT, HookType.GATE}:
            yield f"hooks that run on the host ({phase}, {step.file})"
    if build.source.type is SourceType.ANISE:
        yield "anise sources, which run on the host"
    for path in _host_paths(build):
        if not by.may_use(path):
            yield f"the host's {path} (only {', '.join(by.paths)})"


def _host_paths(build: Build) -> Iterator[str]:
    """The paths of the host that the build names."""
    yield build.workspacedir
    yield from (bind.source for bind in build.chroot_binds)
    for step in build.steps:
        yield from (bind.source for hook in step.hooks for bind in hook.chroot_binds)
    if build.source.target:
        yield build.source.target
    if build.source.path and not build.after:
        yield build.source.path
    if build.output.tarformers and (writer := build.output.tarformers.writer):
        yield from (*writer.dirs, *writer.files)
