"""What is wrong with hosts, and with what is published: situations without builds. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from orchestrator.notify.incidents import Kind, Member, Situation, Try
from tasks.ledger.hosts import Host
from tasks.results import Blamed

TROUBLES_MAX = 20
NAME_CHARS, TEXT_CHARS = 200, 300


def host_situation(host: Host, now: float, lease_s: float, suspect: int) -> Situation:
    """What is wrong with a host. One that was stopped is so because somebody wanted it, and so is
    one that is drained, unless the farm did it: because `suspect` of its failures passed on other
    hosts."""
    is_there = bool(host.incarnation) and not host.left
    found = _suspicion(host, suspect) if host.drained else _troubles(host, now, lease_s)
    troubles = islice(found, TROUBLES_MAX) if is_there else ()
    return Situation(kind=Kind.HOST, key=host.name[:NAME_CHARS], members=tuple(troubles))


def _suspicion(host: Host, suspect: int) -> Iterator[Member]:
    passed = sum(one.outcome is Blamed.HOST for one in host.second_tries)
    if 0 < suspect <= passed:
        count = f"{passed} of its last {len(host.second_tries)} failures passed on other hosts"
        yield Member(
            name="drained as suspect", detail=f"{count}: stagefarm undrain {host.name}"[:TEXT_CHARS]
        )


def _troubles(host: Host, now: float, lease_s: float) -> Iterator[Member]:
    if not host.alive(now, lease_s):
        yield Member(name="lost", detail="it does not say any more that it is there")
        return
    if host.refuses:
        yield Member(name="takes no builds", detail=host.refuses[:TEXT_CHARS])
    for job, unfit in sorted(host.unfit.items()):
        if unfit.until > now:
            yield Member(name=f"builds no {job}"[:NAME_CHARS], detail=unfit.reason[:TEXT_CHARS])
    for folder, reason in sorted(host.cleaning.items()):
        yield Member(name="cannot clean up", detail=f"{folder}: {reason}"[:TEXT_CHARS])
        return


def stale_situation(release: str, stages: Iterable[tuple[str, Try, float]]) -> Situation:
    """The stages of a release that are older than their contract: each with its newest published
    build, and `max_age` in seconds."""
    members = tuple(
        Member(name=name, since=build.at + max_age_s, last=build)
        for name, build, max_age_s in sorted(stages, key=lambda stage: stage[0])
    )
    return Situation(kind=Kind.STALE, key=release, members=members)
