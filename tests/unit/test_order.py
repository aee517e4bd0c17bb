"""What the rank of a build is made of: patience, turns, contracts, durations."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.farm.orders import Contract, by_latest, orders_of
from orchestrator.simulation.policies import Goal, Waiting, by_least_slack
from tasks.ledger.order import (
    FAR_S,
    UNKNOWN_S,
    Order,
    Success,
    expected_s,
    order_of,
    patience_s,
    rank_of,
)
from tests.builds import any_build

DAY_S = 24 * 3600.0
NOW = 1_800_000_000.0

times = st.floats(0, 2 * NOW)
priorities = st.integers(-20, 20)


def test_a_higher_priority_waits_less_and_the_highest_not_at_all() -> None:
    assert [patience_s(priority) / 3600 for priority in (-1, 0, 1, 7, 8, 9)] == [
        *(48, 48, 42),
        *(6, 0, 0),
    ]


def test_the_expected_duration_is_the_median_of_those_that_were_whole() -> None:
    took = [100.0, 0.0, 300.0, 5000.0]  # the second resumed from a checkpoint
    assert expected_s([Success(NOW, one) for one in took]) == 300.0
    assert expected_s([Success(NOW, 0.5)]) == 0.5
    assert expected_s([Success(NOW, 0.0)]) == expected_s([]) == UNKNOWN_S


def test_a_build_shares_the_turns_of_its_batch_or_of_its_submitter() -> None:
    assert order_of(any_build(batch="night", submitter="a@b")).flow == "night"
    assert order_of(any_build(submitter="a@b")).flow == "a@b"


def test_slack_is_what_is_left_until_the_latest_start() -> None:
    assert bound(NOW + 900).slack_s(NOW) == 900


def bound(latest: float, **changes: float) -> Order:
    return Order(flow="f", cost_s=60.0, latest=latest, **changes)


def test_the_rank_is_the_latest_start_but_not_before_the_turn() -> None:
    assert rank_of(bound(NOW + 900), NOW) == NOW + 900
    assert rank_of(bound(NOW - 900), NOW) == NOW
    assert rank_of(bound(NOW + 900, patience_s=600.0), NOW) == NOW + 600
    assert rank_of(Order(flow="f", cost_s=1.0, patience_s=600.0), NOW + 0.7) == NOW + 600


@given(times, times, priorities)
def test_no_rank_is_before_the_turn_so_nothing_is_starved(
    turn: float, latest: float, priority: int
) -> None:
    """A newcomer's turn is not before now: what has a rank that is over stays before it."""
    order = bound(latest, patience_s=patience_s(priority))
    assert int(turn) <= rank_of(order, turn) <= turn + patience_s(priority)


@given(times, times, times)
def test_the_order_by_rank_is_that_by_slack_whenever_one_looks(
    one: float, other: float, now: float
) -> None:
    first, second = sorted((bound(one), bound(other)), key=lambda order: order.slack_s(now))
    assert rank_of(first, 0.0) <= rank_of(second, 0.0)


@given(times, times, st.floats(1, 1e7), priorities, st.booleans())
def test_what_is_simulated_is_what_the_farm_does(
    turn: float, published_at: float, rest_s: float, priority: int, has_contract: bool
) -> None:
    max_age_s = 7 * DAY_S if has_contract else 0.0
    build = any_build(priority=priority)
    contracts = {build.id: Contract(published_at=published_at, max_age_s=max_age_s)}
    ours = orders_of([build], contracts if has_contract else {}, {build.id: rest_s}, {})[build.id]
    goal = Goal(built_at=published_at, max_age_s=max_age_s, needs_s=rest_s)
    simulated = Waiting(now=turn, turn=turn, priority=priority, goals=(goal,))
    assert rank_of(ours, turn) == int(by_least_slack(simulated)[0])


# Builds that are submitted together


def orders(contracts: dict[str, Contract], slots: int = 0, **priorities: int) -> dict[str, Order]:
    builds = [
        any_build(id="base", priority=priorities.get("base", 0)),
        any_build(id="full", after="base", priority=priorities.get("full", 0)),
        any_build(id="more", after="full"),
    ]
    takes_s = {"base": 100.0, "full": 20.0, "more": 3.0}
    return orders_of(builds, contracts, takes_s, {builds[0].queue: slots})


def contract(published_at: float, max_age_s: float = DAY_S) -> Contract:
    return Contract(published_at=published_at, max_age_s=max_age_s)


def test_a_build_is_pressed_by_what_starts_from_it() -> None:
    found = orders({"more": contract(NOW)})
    due = NOW + DAY_S
    assert {name: one.latest for name, one in found.items()} == {
        "more": due - 3,
        "full": due - 23,
        "base": due - 123,
    }
    assert {one.published_at for one in found.values()} == {NOW}
    assert found["base"].rest_s == 123.0


def test_the_contract_that_ends_first_counts() -> None:
    found = orders({"base": contract(NOW - 500), "full": contract(NOW), "more": contract(NOW + 1)})
    assert found["base"].latest == NOW - 500 + DAY_S - 100
    assert found["full"].latest == NOW + 1 + DAY_S - 23, "more comes after it"
    assert orders({"full": contract(0.0)})["base"].latest == DAY_S - 120, "never published"


def test_without_a_contract_there_is_patience_alone() -> None:
    found = orders({}, full=8)
    assert {one.latest for one in found.values()} == {FAR_S}
    assert [found[name].patience_s for name in ("base", "full")] == [patience_s(0), 0.0]


def test_with_a_contract_only_a_priority_that_was_given_hurries_more() -> None:
    found = orders({"more": contract(NOW)}, base=5)
    assert found["base"].patience_s == patience_s(5)
    assert found["full"].patience_s == FAR_S


def test_a_build_costs_its_flow_less_the_more_the_queue_runs_at_a_time() -> None:
    assert orders({})["base"].cost_s == orders({}, slots=1)["base"].cost_s == 100.0
    assert orders({}, slots=4)["base"].cost_s == 25.0


def test_turns_go_by_latest_start_and_along_chains() -> None:
    names = ("a", "b", "c")
    builds = [*(any_build(id=name) for name in names), any_build(id="d", after="a")]
    contracts = {"b": contract(NOW), "c": contract(NOW - 1), "d": contract(NOW + DAY_S)}
    found = orders_of(builds, contracts, dict.fromkeys("abcd", 60.0), {})
    assert [build.id for build in by_latest(builds, found)] == ["c", "b", "a", "d"]
