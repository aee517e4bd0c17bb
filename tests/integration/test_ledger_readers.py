"""What people and hosts read from the ledger, and what comes of a Redis that is not well."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff

from tasks.errors import BadInput, FarmUnreachable, HostUnfit
from tasks.ledger import events
from tasks.ledger.answers import ClaimedAttempt, RequeueOutcome
from tasks.ledger.builds import Ledger
from tasks.ledger.bulk import Bulk, History
from tasks.ledger.connection import (
    OLDER_SCHEMA,
    address,
    check_schema,
    connect,
    durability_problems,
)
from tasks.ledger.hosts import Host, Hosts, Lease, Unfit, to_lease
from tasks.ledger.logs import Logbook, Page
from tasks.ledger.records import Record
from tasks.ledger.retrying import patient
from tasks.ledger.waiting import Late, Waiting
from tasks.model import BuildState, encode
from tasks.reporting import Line, Progress, Stream
from tasks.results import StepResult
from tasks.settings import Settings
from tests.ledgers import (
    ATTEMPTS,
    LONG_S,
    ONE,
    QUEUE,
    TWO,
    a_build,
    claimed,
    expire,
    retry,
    waiting,
)
from tests.ledgers import events as events_of
from tests.redis_server import RedisServer

pytestmark = pytest.mark.redis


# Builds


def test_a_build_is_known_until_it_is_forgotten(ledger: Ledger) -> None:
    assert ledger.find("b-1") is None
    assert not ledger.knows("b-1")
    ledger.submit([a_build()])
    found = ledger.find("b-1")
    assert found
    assert (found.id, found.state) == ("b-1", BuildState.QUEUED)
    assert ledger.knows("b-1")


def test_what_is_not_there_is_the_users_mistake(ledger: Ledger) -> None:
    ledger.submit([a_build()])
    for ask in (ledger.record, ledger.build, lambda build: ledger.cancel(build, "x")):
        with pytest.raises(BadInput, match="no build 'b-9'"):
            ask("b-9")
    with pytest.raises(BadInput, match="no build 'b-9'"):
        ledger.records(["b-1", "b-9"])
    assert expire(ledger, "b-9").outcome is RequeueOutcome.STALE


def test_the_newest_come_first(ledger: Ledger, client: Any) -> None:
    for number in range(4):
        ledger.submit([a_build(f"b-{number}", batch=f"night-{number}")])
        client.zadd("t:builds", {f"b-{number}": number})
        client.zadd("t:batches", {f"night-{number}": number})
    assert ledger.builds(2) == ["b-3", "b-2"]
    assert ledger.builds(1) == ["b-3"]
    assert ledger.builds(0) == ["b-3", "b-2", "b-1", "b-0"]
    assert ledger.batches(2) == ["night-3", "night-2"]
    assert [record.id for record in ledger.records(["b-2", "b-0"])] == ["b-2", "b-0"]


def test_batches_are_summed_up(ledger: Ledger, client: Any) -> None:
    ledger.submit([a_build("b-1", batch="x"), a_build("b-2", batch="y"), a_build("b-3", batch="y")])
    client.zadd("t:batches", {"x": 1.0, "y": 2.0})
    x, y, none = ledger.summaries(["x", "y", "none"])
    assert (x.batch, x.submitted, x.counts) == ("x", 1.0, {BuildState.QUEUED: 1})
    assert (y.batch, y.submitted, y.counts) == ("y", 2.0, {BuildState.QUEUED: 2})
    assert (none.batch, none.submitted, none.counts) == ("none", 0.0, {})


def test_who_waits_too_long_is_told_by_queue(ledger: Ledger, client: Any) -> None:
    waits, other = Waiting(ledger.connection), "x86-64bit.other"
    ledger.submit(
        [*(a_build(f"b-{number}") for number in range(5)), a_build("b-9", subarch="other")]
    )
    now = ledger.now()
    client.zadd(
        f"t:waiting:{QUEUE}", {"b-0": now - 9, "b-1": now - 8, "b-2": now - 7, "b-3": now - 1}
    )
    client.zadd(f"t:waiting:{other}", {"b-9": now - 5.5})
    at, late = waits.late(wait_s=5.0, limit=2)
    assert at == pytest.approx(now, abs=60)
    assert sorted(late, key=lambda one: one.build) == [
        *(Late(QUEUE, "b-0", 1), Late(QUEUE, "b-1", 1), Late(other, "b-9", 1)),
    ]
    seen = [Late(QUEUE, "b-0", 1), Late(other, "b-9", 1), Late(QUEUE, "b-gone", 1)]
    waits.mark_seen(seen, at)
    assert [one.build for one in waits.late(wait_s=5.0, limit=9)[1]] == ["b-1", "b-2"]
    assert "b-gone" not in waiting(ledger)
    ledger.claim(ClaimedAttempt("b-1", 1, ONE), LONG_S)
    both = [Late(QUEUE, "b-1", 1), Late(QUEUE, "b-2", 1), Late(QUEUE, "b-2", 2)]
    assert waits.mark_resent(both) == both[1:2]
    assert waits.late(wait_s=5.0, limit=9)[1] == []


def test_the_ids_that_were_taken_are_given_back(ledger: Ledger) -> None:
    ledger.submit([a_build("b-2")])
    again = [a_build("b-1"), a_build("b-2", variant="other"), a_build("b-3")]
    assert ledger.submit(again) == ["b-2"]
    assert ledger.build("b-2").variant == ""
    assert ledger.build("b-3") == again[2]


def test_a_build_is_given_with_what_was_signed(ledger: Ledger) -> None:
    ledger.submit([a_build()], {"b-1": "[1]"})
    ledger.submit([a_build("b-2")])
    assert ledger.signed("b-1") == (encode(a_build()).decode(), "[1]")
    assert ledger.signed("b-2")[1] == ""
    with pytest.raises(BadInput, match="b-3"):
        ledger.signed("b-3")


def test_a_retry_replaces_what_was_signed(ledger: Ledger) -> None:
    ledger.submit([a_build()], {"b-1": "[1]"})
    ledger.cancel("b-1", "no")
    retry(ledger, "b-1")
    assert ledger.signed("b-1") == (encode(a_build()).decode(), "[1]")
    ledger.cancel("b-1", "no")
    changed = a_build(timeout_s=7.0)
    retry(ledger, "b-1", respecified=changed, signatures="[2]")
    assert ledger.signed("b-1") == (encode(changed).decode(), "[2]")


@pytest.mark.parametrize("version", ["9.8.7", None])
def test_a_build_of_another_version_says_who_wrote_it(
    ledger: Ledger, client: Any, version: str | None
) -> None:
    ledger.submit([a_build()])
    client.hset("t:build:b-1", "spec", "{}")
    client.hdel("t:build:b-1", "version")
    if version:
        client.hset("t:build:b-1", "version", version)
    with pytest.raises(HostUnfit, match=version or "0.1.0"):
        ledger.build("b-1")


def test_each_step_has_its_times(ledger: Ledger, client: Any) -> None:
    times = {"1.0.began": 1, "1.0.ended": 2, "1.1.began": 3, "2.1.began": 9}
    client.hset("t:build:b-1:steps", mapping=times)
    assert ledger.step_times("b-1", 1, 3) == [(1.0, 2.0), (3.0, 0.0), (0.0, 0.0)]


def test_attempts_are_in_order(ledger: Ledger) -> None:
    ledger.submit([a_build()])
    for attempt in range(1, 12):
        claim = ClaimedAttempt("b-1", attempt, ONE)
        ledger.claim(claim, LONG_S)
        ledger.hand_back(claim, f"stop {attempt}", ATTEMPTS)
    told = ledger.attempts("b-1")
    assert [attempt.number for attempt in told] == list(range(1, 12))
    assert (told[10].reason, told[10].step) == ("stop 11", -1)


def test_refusals_are_told_by_host(ledger: Ledger, client: Any) -> None:
    reasons = {"one": "12.5 no disk is left", "two": "13.5 drained"}
    client.hset("t:build:b-1:refusals", mapping=reasons)
    assert ledger.refusals("b-1") == {"one": (12.5, "no disk is left"), "two": (13.5, "drained")}


def test_an_attempt_goes_on_from_nothing_unless_told(ledger: Ledger, client: Any) -> None:
    assert ledger.resume("b-1", 2) is None
    client.hset("t:build:b-1:steps", "2.resume", "1.0 asked")
    assert ledger.resume("b-1", 2) is None, "the checkpoint is gone"
    client.hset("t:build:b-1:steps", "1.0.result", "{}")
    assert ledger.resume("b-1", 2) is None


def test_results_are_those_of_the_steps_that_ended(ledger: Ledger, client: Any) -> None:
    client.hset("t:build:b-1:steps", mapping={"1.1.result": '{"seed":"s"}', "1.3.result": "{}"})
    assert ledger.results("b-1", 1, 3) == {1: StepResult(seed="s")}


def test_a_bundle_is_kept_for_a_month_from_its_last_use(ledger: Ledger, client: Any) -> None:
    month_s = 30 * 24 * 3600
    assert not ledger.touch_context("digest")
    ledger.keep_context("digest", b"first")
    assert month_s - 60 < client.ttl("t:context:digest") <= month_s
    client.expire("t:context:digest", 10)
    ledger.keep_context("digest", b"the same digest is the same bundle")
    assert ledger.context("digest") == b"first"
    assert month_s - 60 < client.ttl("t:context:digest") <= month_s


@pytest.mark.parametrize(("step", "title"), [(-1, ""), (0, "first"), (1, "last"), (2, "")], ids=str)
def test_the_title_of_the_step(step: int, title: str) -> None:
    record = Record(
        id="b",
        job="j",
        queue="q",
        state=BuildState.RUNNING,
        attempt=1,
        titles=("first", "last"),
        step=step,
    )
    assert record.step_title == title


# Changes


def test_changes_are_told_from_a_position_on(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = events.Events(ledger.connection)
    nothing = stream.since()
    assert (nothing.builds, nothing.position) == (None, events.START)
    ledger.submit([a_build("b-1"), a_build("b-2")])
    now = stream.since()
    assert now.builds is None, "who has seen nothing yet has to read everything"
    before = ledger.now()
    assert before <= stream.since().now <= ledger.now()
    assert stream.since(now.position).builds == frozenset()
    assert stream.since(now.position).position == now.position
    ledger.cancel("b-2", "enough")
    later = stream.since(now.position)
    assert later.builds == {"b-2"}
    assert stream.since(later.position).builds == frozenset()
    assert stream.since(nothing.position).builds is None, "the stream may not go back so far"
    monkeypatch.setattr(events, "READ_MAX", 2)
    ledger.submit([a_build("b-3"), a_build("b-4")])
    behind = stream.since(now.position)
    assert behind.builds is None, "there is too much to read"
    monkeypatch.setattr(events, "READ_MAX", 4)
    assert stream.since(now.position).builds == {"b-2", "b-3", "b-4"}
    assert stream.since(behind.position).builds == frozenset()


def test_a_stream_that_was_cut_does_not_tell_what_changed(ledger: Ledger, client: Any) -> None:
    stream = events.Events(ledger.connection)
    ledger.submit([a_build("b-1")])
    seen = stream.since().position
    ledger.submit([a_build("b-2"), a_build("b-3")])
    (_, second, _) = (id_ for id_, _ in client.xrange("t:events"))
    client.xtrim("t:events", maxlen=2, approximate=False)
    assert stream.since(seen).builds is None
    assert stream.since(second).builds == {"b-3"}


def test_entries_are_in_the_order_of_their_numbers(ledger: Ledger, client: Any) -> None:
    for id_, build in (("9-1", "b-1"), ("10-1", "b-2"), ("10-10", "b-3")):
        client.xadd("t:events", {"build": build}, id=id_)
    stream = events.Events(ledger.connection)
    assert stream.since("9-1").builds == {"b-2", "b-3"}
    assert stream.since("9-1").position == "10-10"
    assert stream.since("10-1").builds == {"b-3"}
    assert stream.since("10-10").position == "10-10"


def test_a_stream_that_was_set_back_does_not_tell_what_changed(ledger: Ledger, client: Any) -> None:
    stream = events.Events(ledger.connection)
    for id_ in ("5-1", "7-1"):
        client.xadd("t:events", {"build": "b-1"}, id=id_)
    client.xdel("t:events", "7-1")
    assert stream.since("7-1").builds is None
    client.xadd("t:events", {"build": "b-2"}, id="9-1")
    assert stream.since("7-1").builds is None, "though newer entries are there"
    assert stream.since("5-1").builds == {"b-2"}
    assert stream.since("9-1").builds == frozenset()


def test_what_follows_from_a_change_is_told_too(ledger: Ledger, client: Any) -> None:
    claim = claimed(ledger, a_build("b-1"))
    ledger.submit([a_build("b-2", after="b-1")])
    ledger.finish(claim, (), "")
    assert events_of(client, "b-2") == [("blocked", QUEUE), ("queued", "b-1")]
    failing = claimed(ledger, a_build("c-1"))
    ledger.submit([a_build("c-2", after="c-1")])
    ledger.fail(failing, "BuildFailed", "no", "")
    assert [what for what, _ in events_of(client, "c-2")] == ["blocked", "cancelled"]
    for text in ("", "held", "held", "", ""):
        ledger.note_gate("b-1", text)
    gate = [detail for what, detail in events_of(client, "b-1") if what == "gate"]
    assert gate == ["held", ""]
    client.zadd("t:ended", {"c-1": 1.0})
    assert ledger.forget(60.0) == 1
    assert events_of(client, "c-1")[-1] == ("forgotten", "")
    ledger.forget(60.0)
    assert len(events_of(client, "c-1")) == 4


# Many at once


def test_many_builds_are_read_at_once(ledger: Ledger, client: Any) -> None:
    claim = claimed(ledger, a_build("b-1"))
    ledger.begin_step(claim, 0, "token")
    ledger.end_step(claim, 0, StepResult())
    ledger.fail(claim, "BuildFailed", "no", "")
    ledger.submit([a_build("b-2"), a_build("b-3")])
    client.hset("t:build:b-3", mapping={"state": "splendid", "spec": "{"})
    bulk = Bulk(ledger.connection)
    names = ["b-1", "b-2", "b-3", "nobody"]
    records = bulk.records(names)
    assert records == {name: ledger.record(name) for name in ("b-1", "b-2")}
    assert bulk.builds(names) == {name: ledger.build(name) for name in ("b-1", "b-2")}
    histories = bulk.histories(records.values())
    assert histories["b-1"].attempts == tuple(ledger.attempts("b-1"))
    assert histories["b-1"].times == tuple(ledger.step_times("b-1", 1, 3))
    assert histories["b-1"].times[0][0] > 0
    assert histories["b-2"] == History(times=((0.0, 0.0),) * 3, attempts=())
    assert bulk.records([]) == {}


# Hosts


def test_all_that_is_known_of_hosts(ledger: Ledger, client: Any) -> None:
    hosts = Hosts(ledger.connection)
    hosts.register(TWO, ATTEMPTS, {"slots": 2, "queues": "a.b c.d", "refuses": ""})
    claimed(ledger, holder=TWO)
    claimed(ledger, a_build("b-0"), holder=TWO)
    hosts.drain("one")
    one, two = hosts.all()
    assert (one.name, one.seen, one.slots, one.builds) == ("one", 0.0, 0, ())
    assert one.drained == pytest.approx(ledger.now(), abs=60)
    assert (two.name, two.queues, two.builds) == ("two", ("a.b", "c.d"), ("b-0", "b-1"))
    assert (two.drained, two.left) == (0.0, 0.0)
    hosts.mark_left(TWO)
    assert hosts.all()[1].left == pytest.approx(ledger.now(), abs=60)


def test_what_a_host_is_unfit_for_is_told_until_it_is_fit(ledger: Ledger) -> None:
    hosts = Hosts(ledger.connection)
    hosts.register(ONE, ATTEMPTS, {"slots": 1})
    assert hosts.unfit("one", "job") is None
    why = Unfit(reason="no gpgv", at=1.0, until=2.0)
    for job in ("job", "other", "third"):
        hosts.say_unfit("one", job, why)
    assert hosts.unfit("one", "job") == why
    assert hosts.unfit("two", "job") is None
    hosts.say_fit("one", "job")
    assert hosts.unfit("one", "job") is None
    assert hosts.all()[0].unfit == {"other": why, "third": why}
    hosts.say_fit("one")
    assert hosts.all()[0].unfit == {}


def test_a_host_is_forgotten_wholly(ledger: Ledger, client: Any) -> None:
    hosts = Hosts(ledger.connection)
    for holder in (ONE, TWO):
        hosts.register(holder, ATTEMPTS, {"slots": 1})
        hosts.drain(holder.host)
    hosts.forget("one")
    (two,) = hosts.all()
    assert (two.name, two.slots, two.drained > 0) == ("two", 1, True)
    assert not client.exists("t:host:one")
    assert not hosts.undrain("one")
    assert hosts.undrain("two")


@pytest.mark.parametrize(
    ("seen", "left", "alive"), [(11.0, 0.0, True), (10.0, 0.0, False), (99.0, 50.0, False)]
)
def test_who_is_alive(seen: float, left: float, alive: bool) -> None:
    assert Host(name="h", seen=seen, left=left).alive(100.0, 90.0) is alive


def test_what_is_not_known_of_a_host_is_nothing() -> None:
    host = Host(name="h", seen=1.0)
    assert (host.drained, host.queues, host.slots, host.pid, host.since) == (0.0, (), 0, 0, 0.0)
    assert (host.left, host.disk_free_bytes, host.builds) == (0.0, 0, ())


def test_hosts_that_were_seen_long_ago_are_still_listed(ledger: Ledger, client: Any) -> None:
    client.zadd("t:hosts", {"a": 1.0, "b": 2.0, "c": 3.0})
    assert [(host.name, host.seen) for host in Hosts(ledger.connection).all()] == [
        *(("a", 1.0), ("b", 2.0), ("c", 3.0)),
    ]


def test_a_lease_without_times_has_none() -> None:
    lease = to_lease(["b-1", "2", "", "", "", "", "", ""])
    assert lease == Lease("b-1", 2, "", 0.0, -1, 0.0, 0.0, "")
    assert not lease.running
    assert to_lease(["b-1", "2", "", "3.5", "0", "4.5", "", "me"]).running


# Logs


def test_a_log_is_read_from_any_line_on(ledger: Ledger) -> None:
    book = Logbook(ledger.connection)
    lines = [
        Line(text="one", hook="h", stream=Stream.STDERR),
        Line(text="two"),
        Line(text="three", stream=Stream.STDOUT),
    ]
    book.write(Page("b-1", 2, 3), lines, limit=100)
    entries = book.read("b-1")
    assert [entry.line for entry in entries] == lines
    assert {(entry.attempt, entry.step) for entry in entries} == {(2, 3)}
    assert book.read("b-1", after=entries[1].id) == entries[2:]
    assert book.wait("b-1", entries[0].id, 0.01) == entries[1:]
    assert book.read("b-2") == []


def test_progress_is_told_in_the_record(ledger: Ledger) -> None:
    ledger.submit([a_build()])
    Logbook(ledger.connection).set_progress("b-1", Progress(what="unpack", done=5, total=9))
    assert '"done":5' in ledger.record("b-1").progress


# A Redis that is not well


def test_the_first_ledger_says_of_which_schema_it_is(ledger: Ledger, client: Any) -> None:
    assert client.get("t:schema")
    check_schema(ledger.connection)
    client.set("t:schema", "0")
    with pytest.raises(HostUnfit, match="has schema 0"):
        check_schema(ledger.connection)
    assert client.get("t:schema") == "0"


def test_the_schema_before_ours_can_only_be_read(ledger: Ledger, client: Any) -> None:
    client.set("t:schema", OLDER_SCHEMA)
    check_schema(ledger.connection, reading=True)
    with pytest.raises(HostUnfit) as caught:
        check_schema(ledger.connection)
    assert "stagefarm ledger migrate" in caught.value.hint
    client.set("t:schema", "99")
    with pytest.raises(HostUnfit) as caught:
        check_schema(ledger.connection, reading=True)
    assert "newer stagefarm" in caught.value.hint


@contextmanager
def configured(client: Any, **values: str) -> Iterator[None]:
    names = {name.replace("_", "-"): value for name, value in values.items()}
    before = {name: client.config_get(name)[name] for name in names}
    try:
        for name, value in names.items():
            client.config_set(name, value)
        yield
    finally:
        for name, value in before.items():
            client.config_set(name, value)


def test_a_redis_that_may_forget_is_told_of(ledger: Ledger, client: Any) -> None:
    with configured(client, appendonly="no", maxmemory_policy="volatile-lru"):
        assert durability_problems(ledger.connection) == [
            "appendonly is 'no' and should be 'yes'",
            "maxmemory-policy is 'volatile-lru' and should be 'noeviction'",
        ]
    with configured(client, appendonly="yes"):
        assert durability_problems(ledger.connection) == []


def test_a_redis_that_hides_its_configuration_is_taken_at_its_word(
    ledger: Ledger, client: Any, server: RedisServer
) -> None:
    client.execute_command("ACL", "SETUSER", "limited", "on", "nopass", "~*", "+@all", "-info")
    url = server.url.replace("redis://", "redis://limited:x@")
    limited = connect(Settings(redis_url=url, key_prefix="t"))
    assert limited.client.ping()
    assert durability_problems(limited) == []
    limited.client.close()


def test_a_full_redis_is_the_farms_fault_and_not_the_users(ledger: Ledger, client: Any) -> None:
    with (
        configured(client, maxmemory="1"),
        pytest.raises(FarmUnreachable, match="refuses: .*(OOM|used memory)"),
    ):
        ledger.submit([a_build()])
    assert ledger.submit([a_build()]) == []


def test_our_own_mistakes_are_not_the_farms(ledger: Ledger, client: Any) -> None:
    client.set("t:build:b-1", "no hash")
    with pytest.raises(Exception, match="WRONGTYPE"):
        ledger.build("b-1")


@pytest.fixture
def quick_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections are tried again without a pause."""
    monkeypatch.setattr("tasks.ledger.connection.PAUSES", NoBackoff())


@pytest.mark.parametrize(
    ("word", "told"), [("", "it requires a password"), (":wrong@", "(?!it requires a password).+")]
)
def test_a_redis_with_a_password_says_what_it_wants(
    quick_tries: None, ledger: Ledger, client: Any, server: RedisServer, word: str, told: str
) -> None:
    url = server.url.replace("redis://", f"redis://{word}")
    with (
        configured(client, requirepass="right"),
        pytest.raises(FarmUnreachable, match=f"refuses the login: {told}"),
    ):
        Ledger.open(Settings(redis_url=url, key_prefix="t"))


def test_a_redis_that_says_nothing_is_not_waited_for_forever(
    quick_tries: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.ledger.connection.REDIS_TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        silently = connect(Settings(redis_url=f"redis://127.0.0.1:{port}/0"))
        with pytest.raises(FarmUnreachable, match="does not answer"), silently.reaching() as asked:
            asked.ping()


@pytest.mark.parametrize("url", ["http://127.0.0.1", "127.0.0.1:6379", "redis://127.0.0.1:x/0"])
def test_what_is_no_address_of_a_redis(url: str) -> None:
    with pytest.raises(BadInput, match="redis_url: "):
        connect(Settings(redis_url=url))


def test_a_file_for_tls_that_is_missing_is_named_before_anything_is_connected() -> None:
    with pytest.raises(BadInput, match="redis_ca_file /none: No such file"):
        connect(Settings(redis_url="rediss://127.0.0.1:1/0", redis_ca_file="/none"))


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (redis.exceptions.NoPermissionError("this user has no permissions"), "docs/redis.md"),
        (redis.ResponseError("Error running script: -NOPERM this user"), "docs/redis.md"),
        (redis.OutOfMemoryError("command not allowed"), "check its memory"),
    ],
)
def test_a_refusal_says_what_to_check(ledger: Ledger, error: Exception, hint: str) -> None:
    with pytest.raises(FarmUnreachable) as caught, ledger.connection.reaching():
        raise error
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://user:secret@farm:6380/0", "farm:6380"),
        ("rediss://:secret@farm/0", "farm"),
        ("redis:///run/redis.sock", "/run/redis.sock"),
    ],
)
def test_an_address_is_told_without_its_password(url: str, told: str) -> None:
    assert address(url) == told


def test_a_patient_ledger_asks_until_it_is_answered(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.submit([a_build()])
    answers: list[object] = [FarmUnreachable("away"), FarmUnreachable("away"), True]

    def knows(build: str) -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(ledger, "knows", knows)
    asking = patient(ledger)
    assert asking.knows("b-1") is True
    assert answers == []
    assert asking.connection is ledger.connection, "what is no question is what it is"
    with pytest.raises(BadInput, match="no build"):
        asking.record("b-9")
