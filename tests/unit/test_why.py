"""Why a build waits, in the words a person reads."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.display.why import explain
from tasks.ledger.hosts import Host
from tasks.ledger.records import Record
from tasks.model import BuildState
from tasks.results import Cause, NumberedLine

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
    **refusals: tuple[float, str],
) -> list[str]:
    running = {"b-9": replace(WAITING, id="b-9", state=BuildState.RUNNING, claimed=400.0)}
    return explain(record, hosts, running, refusals, now=NOW, lease_s=90, before=before)


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
