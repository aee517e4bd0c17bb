"""The order of a queue in the ledger: ranks, turns, and who comes before whom."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.ledger import queues
from tasks.ledger.answers import ClaimedAttempt, ClaimOutcome, EndOutcome
from tasks.ledger.builds import Ledger
from tasks.ledger.order import Order, Success, expected_s, rank_of
from tasks.ledger.queues import OLD, Queued, Queues
from tasks.model import decode
from tests.ledgers import ATTEMPTS, LONG_S, ONE, QUEUE, TWO, a_build, expire, retry

pytestmark = pytest.mark.redis

HOUR_S = 3600.0
AT_ONCE = 1_000_000


def submit(ledger: Ledger, name: str, flow: str = "", **order: float) -> None:
    """A build of batch `flow` that costs an hour, with these changes of its order."""
    given = Order(flow=flow or name, **{"cost_s": HOUR_S, "patience_s": 0.0, **order})
    build = a_build(name, batch=flow or name)
    assert ledger.submit([build], orders={name: given}) == []


def queue(ledger: Ledger) -> list[str]:
    found: list[str] = ledger.connection.client.zrange(f"t:waiting:{QUEUE}:order", 0, -1)
    return found


def ranks(client: Any, *names: str) -> list[float]:
    return [float(client.hget(f"t:build:{name}", "rank")) for name in names]


def turns(client: Any, *names: str) -> list[float]:
    return [float(client.hget(f"t:build:{name}", "turn")) for name in names]


def attempt_of(build: str, attempt: int = 1, holder: Any = ONE) -> ClaimedAttempt:
    return ClaimedAttempt(build, attempt, holder)


def before(ledger: Ledger, build: str, limit: int = 9) -> list[str]:
    return [claim.build for claim in ledger.ranked_before(attempt_of(build), limit)]


def test_builds_of_one_flow_take_their_turns_one_after_the_other(
    ledger: Ledger, client: Any
) -> None:
    for name in ("b-1", "b-2", "b-3"):
        submit(ledger, name, "matrix")
    submit(ledger, "b-4", "hot fix", cost_s=60.0)
    first, second, third, other = turns(client, "b-1", "b-2", "b-3", "b-4")
    assert [round(second - first), round(third - second)] == [HOUR_S, HOUR_S]
    assert abs(other - ledger.now()) < 60
    assert queue(ledger) == ["b-1", "b-4", "b-2", "b-3"]


def test_a_flow_whose_turns_are_over_owes_nothing(ledger: Ledger, client: Any) -> None:
    submit(ledger, "b-1", "matrix")
    client.zadd(f"t:waiting:{QUEUE}:shares", {"matrix": 1.0, "gone": 2.0})
    submit(ledger, "b-2", "matrix")
    assert abs(turns(client, "b-2")[0] - ledger.now()) < 60
    assert client.zrange(f"t:waiting:{QUEUE}:shares", 0, -1) == ["matrix"]


@pytest.mark.parametrize(
    "given",
    [
        {"latest": -500.0},
        {"latest": 500.0},
        {"latest": 500.0, "patience_s": 100.0},
        {"patience_s": 7000.0},
        {"latest": 5000.0, "patience_s": 7000.0},
    ],
)
def test_the_rank_is_what_the_turn_and_the_order_make_of_it(
    ledger: Ledger, client: Any, given: dict[str, float]
) -> None:
    now = ledger.now()
    wanted = {"latest": 1e11, "patience_s": 1e11, **given}
    wanted["latest"] = min(wanted["latest"] + now, 1e11)
    submit(ledger, "b-1", **wanted)
    order = decode(client.hget("t:build:b-1", "order"), Order)
    assert (order.latest, order.patience_s) == (wanted["latest"], wanted["patience_s"])
    (rank,) = ranks(client, "b-1")
    assert int(rank) == rank_of(order, turns(client, "b-1")[0])
    assert client.zscore(f"t:waiting:{QUEUE}:order", "b-1") == rank


def test_builds_of_one_rank_come_in_the_order_of_submission(ledger: Ledger, client: Any) -> None:
    names = ["b-9", "b-1", "b-5"]
    for name in names:
        submit(ledger, name, latest=2e9, patience_s=1e11)
    assert [round((rank - 2e9) * AT_ONCE) for rank in ranks(client, *names)] == [1, 2, 3]
    assert queue(ledger) == names


def test_the_decimals_begin_again_after_a_million(ledger: Ledger, client: Any) -> None:
    client.set(f"t:waiting:{QUEUE}:count", AT_ONCE - 1)
    submit(ledger, "b-1", latest=2e9, patience_s=1e11)
    assert ranks(client, "b-1") == [2e9]


def test_those_before_a_build_are_told_by_rank(ledger: Ledger) -> None:
    for name, latest in (("b-1", 9), ("b-2", 7), ("b-3", 8), ("b-4", 10)):
        submit(ledger, name, latest=2e9 + latest, patience_s=1e11)
    assert before(ledger, "b-1") == ["b-2", "b-3"]
    assert before(ledger, "b-1", limit=1) == ["b-2"]
    assert before(ledger, "b-2") == []
    assert ledger.ranked_before(attempt_of("b-1", 2), 9) == [], "that attempt is not queued"


def test_who_is_claimed_cancelled_or_blocked_waits_no_more(ledger: Ledger) -> None:
    for number in range(1, 5):
        submit(ledger, f"b-{number}", latest=2e9 + number, patience_s=1e11)
    ledger.submit([a_build("b-0", after="b-4", priority=8)])
    assert ledger.claim(attempt_of("b-1"), LONG_S) is ClaimOutcome.CLAIMED
    ledger.cancel("b-2", "enough")
    assert before(ledger, "b-4") == ["b-3"]
    assert queue(ledger) == ["b-3", "b-4"]


def test_a_lost_build_keeps_its_rank_and_a_retried_one_takes_a_new_turn(
    ledger: Ledger, client: Any
) -> None:
    submit(ledger, "b-1", "matrix")
    submit(ledger, "b-2", "matrix")
    (rank,) = ranks(client, "b-1")
    ledger.claim(attempt_of("b-1"), -1.0)
    expire(ledger, "b-1")
    assert ranks(client, "b-1") == [rank]
    assert before(ledger, "b-2") == ["b-1"]
    ledger.claim(attempt_of("b-1", 2), LONG_S)
    ledger.fail(attempt_of("b-1", 2), "HookFailed", "no", "")
    assert retry(ledger, "b-1") == 3
    assert before(ledger, "b-2") == [], "it comes behind the others of its flow"
    assert ledger.ranked_before(attempt_of("b-1", 3), 9) == [attempt_of("b-2")]


def test_a_build_from_before_ranks_waits_like_one_of_now(ledger: Ledger, client: Any) -> None:
    """As an older version wrote it."""
    submit(ledger, "b-1")
    ledger.cancel("b-1", "enough")
    client.hdel("t:build:b-1", "order", "rank", "turn")
    assert retry(ledger, "b-1") == 2
    assert abs(client.zscore(f"t:waiting:{QUEUE}:order", "b-1") - ledger.now()) < 60
    client.delete(f"t:waiting:{QUEUE}:order")
    assert ledger.ranked_before(attempt_of("b-1", 2), 9) == []


def test_strange_attempts_of_others_are_left_out(ledger: Ledger, client: Any) -> None:
    for number in range(1, 4):
        submit(ledger, f"b-{number}", latest=2e9 + number, patience_s=1e11)
    client.hset("t:build:b-1", "attempt", "1e9")
    assert before(ledger, "b-3") == ["b-2"]


def test_what_waits_no_more_leaves_the_order_when_it_is_met(ledger: Ledger, client: Any) -> None:
    """Hosts of an older version claim without it."""
    for number in range(1, 4):
        submit(ledger, f"b-{number}", latest=2e9 + number, patience_s=1e11)
    client.hset("t:build:b-1", "state", "running")
    client.zadd(f"t:waiting:{QUEUE}:order", {"nobody": 0})
    assert before(ledger, "b-3") == ["b-2"]
    assert queue(ledger) == ["b-2", "b-3"]
    client.hset("t:build:b-3", "state", "running")
    assert before(ledger, "b-3") == [], "nothing is claimed by a message that is stale"


def test_a_message_that_comes_once_its_build_has_begun_is_stale(ledger: Ledger) -> None:
    submit(ledger, "b-1")
    assert [ledger.claim(attempt_of("b-1"), LONG_S) for _ in range(2)] == [ClaimOutcome.CLAIMED] * 2
    ledger.begin_step(attempt_of("b-1"), 0, "token")
    assert ledger.claim(attempt_of("b-1"), LONG_S) is ClaimOutcome.STALE


# What anybody reads


def test_who_waits_is_read_in_order_with_what_is_before_it(ledger: Ledger, client: Any) -> None:
    submit(ledger, "b-1", latest=2e9 + 9, patience_s=1e11, cost_s=100.0)
    submit(ledger, "b-2", latest=2e9 + 7, patience_s=1e11, cost_s=20.0)
    first, second = Queues(ledger.connection).waiting(QUEUE)
    assert (first.build, first.place, first.count, first.before_s) == ("b-2", 1, 2, 0.0)
    assert (second.build, second.place, second.count, second.before_s) == ("b-1", 2, 2, 20.0)
    assert [second.rank] == ranks(client, "b-1")
    assert [second.turn] == turns(client, "b-1")
    assert second.order == decode(client.hget("t:build:b-1", "order"), Order)
    assert Queues(ledger.connection).find("b-1", QUEUE) == second
    assert Queues(ledger.connection).find("b-1", "other") is None


def test_a_queue_is_read_up_to_a_length(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "WAITING_MAX", 1)
    for name in ("b-1", "b-2", "b-3", "b-4"):
        submit(ledger, name)
    assert [one.build for one in Queues(ledger.connection).waiting(QUEUE)] == ["b-1"]


def test_an_order_that_cannot_be_read_is_none(ledger: Ledger, client: Any) -> None:
    submit(ledger, "b-1")
    client.hset("t:build:b-1", mapping={"order": "{}", "turn": "", "rank": ""})
    (found,) = Queues(ledger.connection).waiting(QUEUE)
    assert found == Queued(build="b-1", place=1, count=1, before_s=0.0, order=OLD)


# Durations


def succeed(ledger: Ledger, client: Any, name: str, took_s: float, **changes: object) -> None:
    build = a_build(name, **changes)
    ledger.submit([build])
    claim = attempt_of(name)
    ledger.claim(claim, LONG_S)
    client.hset(f"t:build:{name}", "claimed", ledger.now() - took_s)
    ledger.finish(claim, (), "")


def successes(ledger: Ledger, **changes: object) -> tuple[Success, ...]:
    build = a_build("new", **changes)
    return Queues(ledger.connection).successes([(build.queue, build.job, build.variant)])[0]


def test_the_durations_of_a_variant_on_its_queue_are_kept(ledger: Ledger, client: Any) -> None:
    for number, took_s in enumerate([100.0, 200.0, 900.0]):
        succeed(ledger, client, f"b-{number}", took_s, variant="libc=musl")
    found = successes(ledger, variant="libc=musl")
    assert [round(one.took_s, -1) for one in found] == [900, 200, 100], "newest first"
    assert ledger.now() - found[0].ended < 60
    assert round(expected_s(found), -1) == 200
    assert successes(ledger, variant="libc=glibc") == ()
    assert successes(ledger, variant="libc=musl", subarch="haswell") == ()
    assert successes(ledger, variant="libc=musl", job="other") == ()


def test_a_build_of_an_older_version_has_a_duration_too(ledger: Ledger, client: Any) -> None:
    ledger.submit([a_build()])
    ledger.claim(attempt_of("b-1"), LONG_S)
    client.hdel("t:build:b-1", "variant", "rebuild_of")
    assert ledger.finish(attempt_of("b-1"), (), "") is EndOutcome.OK
    assert len(successes(ledger)) == 1


def test_nine_are_kept_for_a_year(ledger: Ledger, client: Any) -> None:
    for number in range(11):
        succeed(ledger, client, f"b-{number}", 100.0 * number)
    assert [round(one.took_s, -2) for one in successes(ledger)][-1] == 200
    assert len(successes(ledger)) == 9
    (key,) = client.keys("t:successes:*")
    assert 364 * 24 * HOUR_S < client.ttl(key) <= 365 * 24 * HOUR_S


def test_what_resumed_says_when_it_succeeded_and_not_how_long_it_takes(
    ledger: Ledger, client: Any
) -> None:
    ledger.submit([a_build()])
    ledger.claim(attempt_of("b-1"), LONG_S)
    client.hset("t:build:b-1", "checkpoint", "1.0")
    ledger.lose(attempt_of("b-1"), "gone", ATTEMPTS)
    ledger.claim(attempt_of("b-1", 2, TWO), LONG_S)
    ledger.finish(attempt_of("b-1", 2, TWO), (), "")
    assert [one.took_s for one in successes(ledger)] == [0.0]


def test_a_rebuild_tells_nothing_of_its_variant(ledger: Ledger, client: Any) -> None:
    succeed(ledger, client, "b-1", 100.0, rebuild_of="b-0")
    assert successes(ledger) == ()
