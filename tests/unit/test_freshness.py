"""Stages by slack, and what comes next for each."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.display.slack import arithmetic
from orchestrator.farm.orders import Contract, orders_of
from orchestrator.formats.releasefile import load_release
from orchestrator.release.catalog import File, Stage
from orchestrator.release.taking import selection_of
from orchestrator.report.chances import Aged, Chance, Coming, Outlook, by_slack
from orchestrator.report.freshness_table import as_values, freshness_table, told
from orchestrator.report.model import (
    Freshness,
    KnownStage,
    Release,
    StageName,
    StageView,
    Try,
    freshness,
)
from tasks.ledger.order import UNKNOWN_S, rank_of
from tasks.ledger.queues import Queued
from tasks.ledger.records import Record
from tasks.model import BuildState
from tests.builds import any_build
from tests.releases import DAY_S
from tests.reports import a_shop, source_of

NOW = 1_800_000_000.0
NIGHT = Chance(what=Coming.SCHEDULED, name="nightly-20270115T0130Z", at=NOW + 3600)


def name(variant: str) -> StageName:
    return StageName(
        release="r stable", product="stage3", variant=variant, arch="arm64", subarch="armv8"
    )


def a_try(state: BuildState, build: str = "b-1", batch: str = "") -> Record:
    return Record(
        id=build,
        job="stage3",
        queue="q",
        state=state,
        attempt=1,
        batch=batch,
        claimed=NOW - 60,
        titles=(),
    )


VIEW = StageView(name=name("musl"), max_age_s=DAY_S, freshness=Freshness.NEVER)


@pytest.mark.parametrize(
    ("state", "chance", "words"),
    [
        (
            BuildState.RUNNING,
            Chance(what=Coming.RUNNING, name="b-1", at=NOW - 60),
            "b-1 runs since 1m00s",
        ),
        (
            BuildState.QUEUED,
            Chance(what=Coming.QUEUED, name="b-1", at=NOW + 7200),
            "b-1 is queued, starts in about 2h00m",
        ),
        (
            BuildState.BLOCKED,
            Chance(what=Coming.BLOCKED, name="b-1"),
            "b-1 waits for the build it starts from",
        ),
        (BuildState.FAILED, NIGHT, "nightly-20270115T0130Z, due 2027-01-15 09:00 UTC"),
    ],
)
def test_what_comes_next(state: BuildState, chance: Chance, words: str) -> None:
    outlook = Outlook(starts={"b-1": NOW + 7200}, nights={"nightly": NIGHT})
    last = a_try(state, batch="nightly-20270114T0130Z")
    older = a_try(BuildState.QUEUED, "b-0") if state is not BuildState.FAILED else last
    assert outlook.chance(VIEW, [last, older]) == chance
    assert told(chance, NOW) == words


def test_what_waits_comes_before_the_next_night_and_nothing_may_come() -> None:
    outlook = Outlook(nights={"nightly": NIGHT})
    failed = a_try(BuildState.FAILED, "b-2", "nightly-20270114T0130Z")
    waits = outlook.chance(VIEW, [failed, a_try(BuildState.QUEUED)])
    assert (waits.what, told(waits, NOW)) == (Coming.QUEUED, "b-1 is queued")
    first = Chance(what=Coming.QUEUED, name="b-1", at=NOW)
    assert told(first, NOW) == "b-1 is queued, the next to start"
    nothing = outlook.chance(VIEW, [a_try(BuildState.FAILED, batch="other-20270114T0130Z")])
    assert told(nothing, NOW) == "nothing is queued or scheduled"


def test_stages_are_sorted_by_slack(tmp_path: Path) -> None:
    """Slack counts the time that a build takes; who never was there is first, who has no contract
    is last."""
    shop = a_shop(tmp_path)
    shop.now = NOW
    shop.put("b-1", "slow", at=NOW - 6 * DAY_S)
    shop.put("b-2", "quick", at=NOW - 6.5 * DAY_S)
    shop.put("b-3", "stale", at=NOW - 8 * DAY_S)
    shop.publish("b-1", "b-2", "b-3")
    release: Release = source_of(shop).read()
    names = {found.variant: found for found in release.contracts}
    unbound = replace(names["slow"], variant="unbound")
    release = replace(
        release,
        contracts={**release.contracts, unbound: 0.0},
        offered={**release.offered, unbound: release.offered[names["slow"]]},
    )
    never = replace(names["slow"], variant="never")
    tried = Try(id="never-1", job="x", queue="q", state=BuildState.FAILED, attempt=1, digest="d")
    known = KnownStage(name=never, max_age_s=DAY_S, history="", last=tried)
    tries = {names["slow"]: [a_try(BuildState.FAILED, "slow-1")]}
    outlook = Outlook(takes_s={("q", "stage3", ""): 0.75 * DAY_S})
    found = by_slack([release], [known], tries, outlook, NOW)
    assert [one.view.name.variant for one in found] == [
        *("never", "stale", "slow", "quick", "unbound"),
    ]
    slack = {one.view.name.variant: one.slack_s(NOW) for one in found}
    assert slack["slow"] == 0.25 * DAY_S
    assert slack["quick"] == 0.5 * DAY_S - UNKNOWN_S
    assert (slack["never"], slack["unbound"]) == (-math.inf, math.inf)
    assert [one.view.name.variant for one in found if one.is_broken] == ["stale"]


def an_aged(variant: str, max_age_s: float, chance: Chance = NIGHT) -> Aged:
    shown = StageView(
        name=name(variant), max_age_s=max_age_s, freshness=freshness(0.0, max_age_s, NOW)
    )
    return Aged(view=shown, rest_s=60.0, chance=chance)


def test_the_table_needs_no_colour_and_no_trust() -> None:
    screen = Console(width=200, color_system=None)
    with screen.capture() as shown:
        screen.print(freshness_table([an_aged("[red]mu\x1b[31msl[/]", DAY_S)], NOW))
    (titles, line) = shown.get().splitlines()
    assert " ".join(titles.split()) == "stage queue state age max_age slack next chance"
    assert "stage3 [red]musl[/]" in line
    assert "○ never published" in line
    assert "\x1b" not in line


def test_several_releases_are_told_apart() -> None:
    other = an_aged("musl", DAY_S)
    other = replace(other, view=replace(other.view, name=replace(name("musl"), release="s beta")))
    screen = Console(width=200, color_system=None)
    with screen.capture() as shown:
        screen.print(freshness_table([an_aged("musl", DAY_S), other], NOW))
    assert [text in shown.get() for text in ("release", "r stable", "s beta")] == [True] * 3


def test_programs_read_numbers_or_nothing() -> None:
    values = as_values(an_aged("musl", DAY_S), NOW)
    assert (values["slack_s"], values["built_at"], values["max_age_s"]) == (None, None, DAY_S)
    assert values["next"] == {"what": "scheduled", "name": NIGHT.name, "at": NIGHT.at}
    assert as_values(an_aged("musl", 0.0), NOW)["max_age_s"] is None


# The example of docs/nightly.md

DOCUMENT = (Path(__file__).parents[2] / "docs/nightly.md").read_text()
LINES = [line.strip() for line in DOCUMENT.splitlines()]


def at(text: str) -> float:
    return datetime.fromisoformat(f"{text}+00:00").timestamp()


def contract_of_the_example(folder: Path) -> float:
    (text,) = re.findall(r"```yaml\n(# /etc/stagefarm/releases.*?)```", DOCUMENT, re.DOTALL)
    file = folder / "stages.yaml"
    file.write_text(text)
    selection = selection_of(load_release(file).value.stages, "base", "nightly-20261127T0130Z")
    assert selection
    return float(selection.max_age)


def test_the_documents_show_what_is_printed(tmp_path: Path) -> None:
    now, max_age_s = at("2026-11-27 09:00"), contract_of_the_example(tmp_path)
    base = any_build(id="base", batch="nightly-20261127T0130Z")
    full = any_build(id="full", batch="nightly-20261127T0130Z", after="base")
    contract = Contract(published_at=at("2026-11-21 02:52"), max_age_s=max_age_s)
    takes_s = {"base": 2400.0, "full": 3000.0}
    order = orders_of([base, full], {"full": contract}, takes_s, {})["base"]
    turn = at("2026-11-27 08:48")
    queued = Queued(
        build="base",
        place=2,
        count=31,
        before_s=3000.0,
        order=order,
        turn=turn,
        rank=rank_of(order, turn),
    )
    start = LINES.index("$ stagefarm why base-20261127-0c5d71e8") + 2
    assert LINES[start : start + 5] == list(arithmetic(queued, now))


def test_the_documents_show_the_table(tmp_path: Path) -> None:
    now, max_age_s = at("2026-11-27 09:00"), contract_of_the_example(tmp_path)
    waits = Chance(what=Coming.BLOCKED, name="full-20261127-5e0b44c1")
    queued = Chance(what=Coming.QUEUED, name="base-20261127-0c5d71e8", at=now + 3000.0)
    night = Chance(what=Coming.SCHEDULED, name="nightly-20261128T0130Z", at=at("2026-11-28 01:30"))
    rows = [
        ("minimal", at("2026-11-19 05:48"), 1800.0, night),
        ("full", at("2026-11-21 02:52"), 3000.0, waits),
        ("base", at("2026-11-26 02:40"), 2400.0, queued),
    ]
    stages = []
    for product, built_at, rest_s, chance in rows:
        stage = Stage(
            product=product, variant="", arch="x86-64bit", subarch="generic_64", build="b",
            batch="", attempt=1, built_at=built_at,
            tarball=File(name="a.tar", size_bytes=1, sha256="ab"), sidecars=(), options={},
        )  # fmt: skip
        shown = StageView(
            name=StageName(
                release="stages stable", product=product, arch="x86-64bit", subarch="generic_64"
            ),
            max_age_s=max_age_s,
            freshness=freshness(built_at, max_age_s, now),
            offered=(stage,),
        )
        stages.append(Aged(view=shown, rest_s=rest_s, chance=chance))
    screen = Console(width=200, color_system=None)
    with screen.capture() as captured:
        screen.print(freshness_table(stages, now))
    assert stages == sorted(stages, key=lambda one: one.slack_s(now))
    start = LINES.index("$ stagefarm freshness") + 1
    printed = [line.rstrip() for line in captured.get().splitlines()]
    assert LINES[start : start + 4] == printed
