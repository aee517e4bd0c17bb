"""Why a build waits, in the words a person reads."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.display.why import explain
from tasks.ledger.hosts import Host
from tasks.ledger.order import FAR_S, Order
from tasks.ledger.queues import Queued
from tasks.ledger.records import Record
from tasks.model import BuildState
from tasks.results import Blamed, Cause, NumberedLine, SecondTry

NOW = 1_000.0
WAITING = Record(
    id="b-1",
    job="j",
    queue="a.b",
    state=BuildState.QUEUED,
    attempt=1,
    titles=("source", "pack"),
    queued=940.0,
)
HOST = Host(name="h", seen=NOW - 1, queues=("a.b",), slots=1, incarnation="x")


def why(
    *hosts: Host,
    record: Record = WAITING,
    before: Record | None = None,
    queued: Queued | None = None,
    **refusals: tuple[float, str],
) -> list[str]:
    running = {"b-9": replace(WAITING, id="b-9", state=BuildState.RUNNING, claimed=400.0)}
    return explain(
        record, hosts, running, refusals, now=NOW, lease_s=90, before=before, queued=queued
    )


def test_no_host_serves_the_queue() -> None:
    nobody = "No host serves a.b now: stagefarm worker --queue a.b"
    assert why() == ["It has waited in a.b for 1m00s.", nobody]
    assert why(replace(HOST, queues=("c.d",)))[1:] == [nobody]
    gone = replace(HOST, seen=NOW - 100)
    assert why(gone)[1:] == [nobody, "h: last seen 1m40s ago."]
    assert why(replace(HOST, left=NOW - 5))[1:] == [nobody, "h: its worker was stopped 5.0s ago."]


def test_hosts_that_serve_it_but_do_not_take_it() -> None:
    busy = replace(HOST, builds=("b-9",))
    assert why(busy)[1:] == ["h: all 1 slots are busy with b-9 (for 10m00s)."]
    drained = replace(HOST, drained=NOW - 60)
    assert why(drained)[1:] == ["h: drained 1m00s ago, takes no new builds."]
    full = replace(HOST, refuses="1 MiB free in /s, 2048 MiB wanted")
    assert why(full)[1:] == ["h: takes no new builds: 1 MiB free in /s, 2048 MiB wanted."]
    assert why(HOST, h=(NOW - 3, "no disk"))[1:] == ["h: refused it 3.0s ago: no disk."]
    assert why(HOST)[1:] == ["h: has a free slot and should take it within seconds."]


def test_a_build_that_does_not_wait() -> None:
    running = replace(WAITING, state=BuildState.RUNNING, host="h", step=1, step_began=990.0)
    assert why(record=running) == ["It is not waiting: h runs step 2 of 2, pack, started 10s ago."]
    claimed = replace(running, step=-1)
    assert why(record=claimed) == ["It is not waiting: h has claimed it."]
    failed = replace(WAITING, state=BuildState.FAILED, reason="it broke")
    assert why(record=failed) == ["It is not waiting: it is failed, it broke."]


def test_a_build_that_waits_for_another() -> None:
    blocked = replace(WAITING, state=BuildState.BLOCKED, after="a-1")
    first = replace(WAITING, id="a-1")
    assert why(record=blocked, before=first) == [
        "It starts from the tarball of a-1, which is queued: stagefarm why a-1"
    ]
    runs = replace(first, state=BuildState.RUNNING, host="h", step=1, step_began=990.0)
    assert why(record=blocked, before=runs) == [
        "It starts from the tarball of a-1: h runs step 2 of 2, pack, started 10s ago."
    ]


def test_what_a_gate_holds_is_not_waiting() -> None:
    done = replace(WAITING, state=BuildState.SUCCEEDED, gate="held by the gate: 2\x1b[2J findings")
    assert why(record=done) == [
        "It is not waiting: it is succeeded.",
        "It is held by the gate: 2 findings: stagefarm gate show RELEASE_FILE b-1",
    ]
    assert len(why(record=replace(done, state=BuildState.FAILED))) == 1


def test_why_a_build_failed() -> None:
    cause = Cause(
        rule="gcc-error",
        kind="compile",
        message="unknown type\x1b[2J name",
        fingerprint="3f2a",
        phase="compile",
        package="sys-devel/gcc-13",
        line=12,
        excerpt=(NumberedLine(number=11, text="before"), NumberedLine(number=12, text="it")),
    )
    failed = replace(WAITING, state=BuildState.FAILED, reason="it broke", cause=cause)
    assert why(record=failed) == [
        "It is not waiting: it is failed, it broke.",
        (
            "Its cause: compile of sys-devel/gcc-13: unknown type\\x1b[2J name; fingerprint 3f2a; "
            "log lines 11-12."
        ),
        "        11 │ before",
        "  >     12 │ it",
    ]


# The place in the queue


def place(order: Order, *, number: int = 1, turn: float = NOW, rank: float = NOW) -> list[str]:
    """What is said of a build of that order, between how long it has waited and the hosts."""
    queued = Queued(
        build="b-1", place=number, count=3, before_s=8000.0, order=order, turn=turn, rank=rank
    )
    return why(queued=queued)[1:-1]


def test_the_arithmetic_of_a_contract() -> None:
    week_s = 7 * 24 * 3600.0
    latest = 500.0 + week_s - 4800.0
    order = Order(
        flow="nightly-1",
        cost_s=60.0,
        latest=latest,
        published_at=500.0,
        max_age_s=week_s,
        rest_s=4800.0,
    )
    contract = (
        "Its contract: published 1970-01-01 00:08 UTC + max_age 7d00h - expected rest 1h20m = "
        "latest start 1970-01-07 22:48 UTC."
    )
    assert place(order, number=3, rank=latest) == [
        "It is number 3 of 3 there, behind about 2h13m of work.",
        contract,
        "Its slack: 6d22h.",
        "Its turn among those of nightly-1: 1970-01-01 00:16 UTC.",
        "So it should start by 1970-01-07 22:48 UTC: the first in that order is taken.",
    ]
    late = replace(order, latest=NOW - 3600.0)
    assert place(late)[2] == "Its slack: -1h00m, the contract will be broken."
    assert place(replace(order, published_at=0.0))[1] == (
        "Its contract: max_age 7d00h, and nothing is published: it is late from the beginning."
    )


def test_the_arithmetic_of_a_priority() -> None:
    patient = Order(flow="", cost_s=60.0, patience_s=18 * 3600.0)
    assert place(patient, rank=NOW + 18 * 3600.0) == [
        "It is number 1 of 3 there.",
        "Its turn: 1970-01-01 00:16 UTC, and 18h00m of patience for its priority.",
        "So it should start by 1970-01-01 18:16 UTC: the first in that order is taken.",
    ]
    at_once = place(replace(patient, patience_s=0.0, flow="a\x1b[31mb"), turn=FAR_S)
    assert at_once[1] == "Its turn among those of ab: 5138-11-16 09:46 UTC, to be taken at once."


def test_a_build_of_an_older_version_has_a_place_and_no_arithmetic() -> None:
    assert place(Order(flow="", cost_s=60.0), rank=0.0) == ["It is number 1 of 3 there."]


def test_what_became_of_a_second_try_is_text() -> None:
    note = SecondTry(build="b", outcome=Blamed.HOST, host="one\x1b[2J", other="two")
    record = Record(
        id="b", job="job", queue="q", state=BuildState.FAILED, attempt=2, titles=(), second_try=note
    )
    lines = explain(record, [], {}, {}, now=0.0, lease_s=90.0)
    assert "It failed on one and passed on two: one is suspect." in lines
