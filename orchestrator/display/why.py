"""Explains why a build waits, or failed. Pure: from the ledger's records of builds and hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import PurePath

from orchestrator.display.cause import described, excerpt
from orchestrator.display.printable import plain
from orchestrator.display.slack import arithmetic
from orchestrator.display.table import gate_of
from orchestrator.display.terminal import duration
from tasks.ledger.hosts import Host
from tasks.ledger.queues import Queued
from tasks.ledger.records import Record
from tasks.ledger.stages import StageState, Standing
from tasks.model import BuildState, GitInput, short_id


def explain(
    record: Record,
    hosts: Sequence[Host],
    running: Mapping[str, Record],
    refusals: Mapping[str, tuple[float, str]],
    *,
    now: float,
    lease_s: float,
    before: Record | None = None,
    queued: Queued | None = None,
) -> list[str]:
    """One sentence about the build, its place in the queue, then one sentence for each host that
    serves that. `running` are the builds that hosts hold, `refusals` maps a host to when and why it
    refused this build, `before` is the build that this one starts from, and `queued` its place."""
    if record.state is BuildState.RUNNING:
        return [f"It is not waiting: {_on_its_host(record, now)}"]
    if record.state is BuildState.BLOCKED:
        return [_behind(record.after, before, now)]
    if record.state is not BuildState.QUEUED:
        ended = (
            f"It is not waiting: it is {record.state}{f', {record.reason}' * bool(record.reason)}."
        )
        more = (_caused(record), _tried_again(record), _held(record))
        return [ended, *chain.from_iterable(more), *_left_behind(record.id, hosts)]
    lines = [f"It has waited in {record.queue} for {duration(now - record.queued)}."]
    if record.second_after:
        lines.append("It failed, and waits for its second try by another host.")
    lines += arithmetic(queued, now) if queued else ()
    serving = [host for host in hosts if record.queue in host.queues]
    if not [host for host in serving if host.alive(now, lease_s)]:
        lines.append(f"No host serves {record.queue} now: stagefarm worker --queue {record.queue}")
    for host in serving:
        said = _closed(host, now, lease_s) or _open(host, record.job, running, refusals, now)
        lines.append(f"{host.name}: {said}.")
    return lines + _left_behind(record.id, hosts)


def on_its_stage(record: Record, stage: StageState) -> list[str]:
    """Why the stage of this build, its newest or its last good one, was not built again."""
    if record.id not in (stage.build, stage.good) or stage.standing is Standing.BUILT:
        return []
    return [f"The last night did not build its stage: {stage.standing}, {stage.said}."]


def built_from(inputs: Sequence[GitInput]) -> list[str]:
    """The repositories that a build is made from."""
    return [
        f"It is built from {one.name}: {one.url} at {one.commit[:12]} ({one.ref})."
        for one in inputs
    ]


def _caused(record: Record) -> list[str]:
    """What the log says about a failure, with some of its lines."""
    if not record.cause:
        return []
    return [f"Its cause: {described(record.cause)}.", *excerpt(record.cause)]


def _tried_again(record: Record) -> list[str]:
    return [f"It {plain(record.second_try.told)}."] if record.second_try else []


def _held(record: Record) -> list[str]:
    """That the gate of a release holds the build."""
    if not (said := gate_of(record)):
        return []
    return [f"It is {said}: stagefarm gate show RELEASE_FILE {short_id(record.id)}"]


def _left_behind(build: str, hosts: Sequence[Host]) -> list[str]:
    """The folders of the build's attempts that hosts cannot remove."""
    return [
        f"{host.name} cannot clean up after it: {reason}."
        for host in hosts
        for home, reason in host.cleaning.items()
        if PurePath(home).name.rpartition(".")[0] == build
    ]


def _on_its_host(record: Record, now: float) -> str:
    if record.step < 0:
        return f"{record.host} has claimed it."
    since = duration(now - record.step_began)
    step = f"step {record.step + 1} of {len(record.titles)}, {record.step_title}"
    return f"{record.host} runs {step}, started {since} ago."


def _behind(after: str, before: Record | None, now: float) -> str:
    waits = f"It starts from the tarball of {short_id(after)}"
    if before is None:
        return f"{waits}, which is no longer in the ledger."
    if before.state is BuildState.RUNNING:
        return f"{waits}: {_on_its_host(before, now)}"
    return f"{waits}, which is {before.state}: stagefarm why {short_id(after)}"


def _closed(host: Host, now: float, lease_s: float) -> str:
    """Why the host takes no builds at all; empty if it does."""
    if host.left:
        return f"its worker was stopped {duration(now - host.left)} ago"
    if not host.alive(now, lease_s):
        return f"last seen {duration(now - host.seen)} ago"
    if host.drained:
        return f"drained {duration(now - host.drained)} ago, takes no new builds"
    return f"takes no new builds: {host.refuses}" if host.refuses else ""


def _open(
    host: Host,
    job: str,
    running: Mapping[str, Record],
    refusals: Mapping[str, tuple[float, str]],
    now: float,
) -> str:
    if len(host.builds) >= host.slots:
        busy = [f"{short_id(build)} ({_since(running.get(build), now)})" for build in host.builds]
        return f"all {host.slots} slots are busy with {', '.join(busy)}"
    if (unfit := host.unfit.get(job)) and unfit.until > now:
        return f"builds no {job} for {duration(unfit.until - now)} more: {unfit.reason}"
    if host.name in refusals:
        at, reason = refusals[host.name]
        return f"refused it {duration(now - at)} ago: {reason}"
    return "has a free slot and should take it within seconds"


def _since(record: Record | None, now: float) -> str:
    if record is None or not record.claimed:
        return "just claimed"
    return f"for {duration(now - record.claimed)}"
