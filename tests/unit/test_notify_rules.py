"""Which messages follow from what happens on a farm: the whole list of each story."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from orchestrator.notify.incidents import FORGET_S, Kind, Member, Situation, Try
from orchestrator.notify.memory import OUTBOX_MAX, Memory, read, written
from orchestrator.notify.rules import CLOSED_KEPT_S, Rules, State
from orchestrator.notify.texts import Message
from tests.notifying import (
    DAY_S,
    HOUR_S,
    MINUTE_S,
    NETWORK,
    SCREEN,
    START,
    WRITER,
    Paper,
    stages,
)

OPENPTY = SCREEN.text
NET = NETWORK.text


def states(paper: Paper) -> list[State]:
    return [one.state for one in paper.memory.incidents.values()]


def test_fourteen_stages_that_fail_alike_are_one_message() -> None:
    paper = Paper()
    paper.ends(*stages(14))
    paper.wait(DAY_S)
    for stage in stages(14):
        paper.ends(stage, failure=SCREEN, host="two")
        paper.wait(10)
    paper.wait(12 * HOUR_S)
    assert paper.titles == [f"24:05 new: 14 stages fail: {OPENPTY}"]
    assert states(paper) == [State.STILL]


def test_each_cause_is_a_message_of_its_own() -> None:
    paper = Paper()
    paper.ends(*stages(3), failure=SCREEN)
    paper.wait(MINUTE_S)
    paper.ends("other q", failure=NETWORK)
    paper.wait(HOUR_S)
    assert paper.titles == [
        f"0:05 new: 3 stages fail: {OPENPTY}",
        f"0:06 new: 1 stage fails: {NET}",
    ]


def test_a_failure_that_goes_on_for_a_week_is_told_once() -> None:
    paper = Paper()
    for _ in range(7):
        paper.ends(*stages(4), failure=SCREEN)
        paper.wait(DAY_S)
    assert paper.titles == [f"0:05 new: 4 stages fail: {OPENPTY}"]
    (incident,) = paper.memory.incidents.values()
    assert {member.count for member in incident.situation.members} == {7}


def test_more_and_fewer_stages_are_told_at_most_every_six_hours() -> None:
    paper = Paper()
    paper.ends("a q", failure=SCREEN)
    paper.wait(HOUR_S)
    for stage in stages(5):
        paper.ends(stage, failure=SCREEN)
        paper.wait(HOUR_S)
    assert states(paper) == [State.CHANGED]
    paper.wait(HOUR_S)
    paper.ends("a q", "stage1 x86-64bit.generic_64")
    paper.wait(8 * HOUR_S)
    assert paper.titles == [
        f"0:05 new: 1 stage fails: {OPENPTY}",
        f"6:05 changed: 6 stages fail: {OPENPTY}",
        f"12:05 changed: 4 stages fail: {OPENPTY}",
    ]
    changed = paper.told[2].body
    assert "Not any more: a q, stage1 x86-64bit.generic_64." in changed
    assert "Also now" not in changed
    assert states(paper) == [State.STILL]


def test_a_change_that_is_undone_before_it_is_told_is_not_told() -> None:
    paper = Paper()
    paper.ends("a q", failure=SCREEN)
    paper.wait(HOUR_S)
    paper.ends("b q", failure=SCREEN)
    paper.wait(HOUR_S)
    paper.ends("b q")
    paper.wait(DAY_S)
    assert len(paper.titles) == 1


def test_the_last_stage_that_succeeds_closes_it_at_once() -> None:
    paper = Paper()
    paper.ends(*stages(2), failure=SCREEN)
    paper.wait(HOUR_S)
    first, second = stages(2)
    paper.ends(first)
    paper.wait(HOUR_S)
    paper.ends(second)
    paper.wait(HOUR_S)
    assert paper.titles == [
        f"0:05 new: 2 stages fail: {OPENPTY}",
        f"2:00 fixed: {OPENPTY}",
    ]
    assert states(paper) == [State.FIXED]
    assert paper.told[1].body.splitlines() == [
        f"Compile{OPENPTY.removeprefix('compile')}.",
        "It lasted for 2h00m.",
        "",
        "- stage1 x86-64bit.generic_64: b-003, 2026-11-28 01:00 UTC, on one",
        "- stage2 x86-64bit.generic_64: b-004, 2026-11-28 02:00 UTC, on one",
    ]


def test_what_is_over_before_it_was_told_is_not_told() -> None:
    paper = Paper()
    paper.ends("a q", failure=SCREEN)
    paper.wait(2 * MINUTE_S)
    paper.ends("a q")
    paper.wait(DAY_S)
    assert paper.titles == []


def test_another_cause_ends_the_one_before() -> None:
    paper = Paper()
    paper.ends("a q", failure=NETWORK)
    paper.wait(HOUR_S)
    paper.ends("a q", failure=SCREEN)
    paper.wait(HOUR_S)
    assert paper.titles == [
        f"0:05 new: 1 stage fails: {NET}",
        f"1:00 ended: {NET}",
        f"1:05 new: 1 stage fails: {OPENPTY}",
    ]
    assert f"- a q: fails for another reason now: {OPENPTY}" in paper.told[1].body


def test_what_fails_every_other_hour_is_no_news_every_hour() -> None:
    paper = Paper(rules=Rules(repeat_s=7 * HOUR_S))
    for hour in range(24):
        paper.ends("a q", failure=NETWORK if hour % 2 == 0 else None)
        paper.wait(HOUR_S)
    assert paper.titles == [
        f"0:05 new: 1 stage fails: {NET}",
        f"1:00 fixed: {NET}",
        f"8:05 again: 1 stage fails: {NET}",
        f"9:00 fixed: {NET}",
        f"16:05 again: 1 stage fails: {NET}",
        f"17:00 fixed: {NET}",
    ]
    assert "It has come back: this is the 5th time." in paper.told[2].body


def test_what_comes_back_after_a_week_is_new() -> None:
    paper = Paper()
    paper.ends("a q", failure=SCREEN)
    paper.wait(HOUR_S)
    paper.ends("a q")
    paper.look()
    paper.now += CLOSED_KEPT_S
    paper.ends("a q", failure=SCREEN)
    paper.wait(HOUR_S)
    assert [title.partition(" ")[2] for title in paper.titles] == [
        f"new: 1 stage fails: {OPENPTY}",
        f"fixed: {OPENPTY}",
        f"new: 1 stage fails: {OPENPTY}",
    ]


def test_a_stage_that_is_built_no_more_is_forgotten() -> None:
    paper = Paper()
    paper.ends("a q", failure=SCREEN)
    paper.wait(HOUR_S)
    paper.now = START + FORGET_S
    paper.look()
    assert [title.partition(" ")[2] for title in paper.titles][1:] == [f"gone: {OPENPTY}"]
    assert paper.memory.stages == {}


def test_what_the_gate_holds_ends_when_it_holds_it_no_more() -> None:
    paper = Paper()
    (first,) = paper.ends("a q")
    paper.wait(HOUR_S)
    paper.held.add(first)
    paper.wait(HOUR_S)
    (second,) = paper.ends("a q")
    paper.wait(HOUR_S)  # which is not judged yet, so the hold goes on
    assert states(paper) == [State.STILL]
    paper.held.add(second)
    paper.wait(DAY_S)
    paper.held.clear()
    paper.wait(HOUR_S)
    assert paper.titles == [
        "1:05 new: the gate holds 1 stage",
        "27:00 fixed: the gate holds no stage any more",
    ]
    assert f"- a q: {first}, 2026-11-28 00:00 UTC, on one" in paper.told[0].body


def test_a_host_that_is_sick_is_told_and_its_recovery_too() -> None:
    paper = Paper()
    paper.is_sick("one", "lost")
    paper.wait(HOUR_S)
    paper.is_sick("one")
    paper.wait(HOUR_S)
    paper.is_sick("two", "takes no builds", "cannot clean up")
    paper.wait(HOUR_S)
    del paper.situations["two"]
    paper.look()
    assert paper.titles == [
        "0:05 new: host one: lost",
        "1:00 fixed: host one is well again",
        "2:05 new: host two: takes no builds, cannot clean up",
        "3:00 gone: two is not looked at any more",
    ]
    assert "- takes no builds: why" in paper.told[2].body


def test_a_release_that_cannot_be_read_is_not_fresh() -> None:
    paper = Paper()
    build = Try(build="old-1", at=START - 8 * DAY_S)
    late = Member(name="stage3 minimal q", since=START - DAY_S, last=build)
    situation = Situation(kind=Kind.STALE, key="stages stable", members=(late,))
    paper.situations["stages"] = situation
    paper.wait(HOUR_S)
    paper.situations.clear()
    paper.wait(HOUR_S)
    paper.situations["stages"] = replace(situation, members=())
    paper.wait(HOUR_S)
    assert paper.titles == [
        "0:05 new: stages stable: 1 stage is older than its contract",
        "2:00 fixed: stages stable: no stage is older than its contract any more",
    ]
    assert (
        "- stage3 minimal q: too old since 2026-11-27 00:00 UTC; "
        "the newest is old-1, 2026-11-20 00:00 UTC" in paper.told[0].body
    )


def test_a_flood_is_one_summary_and_an_hour_has_its_limit() -> None:
    paper = Paper(rules=Rules(per_hour=3))
    for number in range(3):
        paper.ends(f"first{number} q", failure=replace(SCREEN, fingerprint=f"a{number}"))
    paper.wait(10 * MINUTE_S)
    for number in range(40):
        failure = replace(NETWORK, fingerprint=f"b{number}", text=f"network: {number}")
        paper.ends(f"second{number} q", failure=failure)
    paper.wait(2 * HOUR_S)
    assert paper.titles == [
        *[f"0:05 new: 1 stage fails: {OPENPTY}"] * 3,
        "1:05 40 new",
    ]
    body = paper.told[3].body.splitlines()
    assert body[:3] == [
        "Too much at once for a message each:",
        "",
        "new: 1 stage fails: network: 0",
    ]
    assert body[-1] == "stagefarm notify list"
    assert set(states(paper)) == {State.STILL}


def test_nothing_is_told_before_all_that_has_ended_was_read() -> None:
    paper = Paper(is_all=False)
    paper.ends("a q", "b q", failure=SCREEN)
    paper.wait(HOUR_S)
    assert (paper.titles, states(paper)) == ([], [])
    paper.is_all = True
    paper.ends("a q")
    paper.wait(5 * MINUTE_S)
    assert paper.titles == [f"1:05 new: 1 stage fails: {OPENPTY}"]


def test_a_build_that_is_seen_twice_counts_once() -> None:
    paper = Paper()
    paper.ends("a q", failure=SCREEN)
    again = list(paper.ended)
    paper.look()
    paper.ended += again
    paper.look()
    assert paper.memory.stages["a q"].count == 1


# The words


def test_a_message_says_what_who_since_when_and_what_differs() -> None:
    paper = Paper()
    paper.ends("a q", "b q")
    paper.wait(DAY_S)
    paper.ends("a q", "b q", "c q", failure=SCREEN, host="two")
    paper.wait(5 * MINUTE_S)
    (message,) = paper.told
    assert message.body == (
        f"3 stages fail: {OPENPTY}.\n"
        "Fingerprint 2d0c3a77f1b2a9c4.\n"
        "\n"
        f"{SCREEN.lines[0]}\n"
        "\n"
        "- a q\n"
        "  last good: b-001, 2026-11-28 00:00 UTC, on one\n"
        "  first bad: b-003, 2026-11-29 00:00 UTC, on two\n"
        "- b q\n"
        "  last good: b-002, 2026-11-28 00:00 UTC, on one\n"
        "  first bad: b-004, 2026-11-29 00:00 UTC, on two\n"
        "- c q\n"
        "  last good: none is known\n"
        "  first bad: b-005, 2026-11-29 00:00 UTC, on two\n"
        "\n"
        "From the last good build to the first bad one:\n"
        "- host: one is now two (2 of 2)\n"
        "\n"
        "stagefarm why b-003"
    )


def test_a_second_try_of_a_build_is_no_second_failure() -> None:
    paper = Paper()
    paper.ends("a q", failure=SCREEN)
    (first,) = paper.ended
    paper.wait(MINUTE_S)
    paper.ended.append(
        replace(first, build=replace(first.build, attempt=2, at=paper.now, host="two"))
    )
    paper.wait(5 * MINUTE_S)
    (message,) = paper.told
    assert "b-001, 2026-11-28 00:00 UTC, on one, and its second try on two\n" in message.body
    assert "in all" not in message.body


def test_a_message_about_many_stages_is_short() -> None:
    paper = Paper()
    paper.ends(*stages(300), failure=SCREEN)
    paper.wait(5 * MINUTE_S)
    body = paper.told[0].body
    assert "and 280 more" in body
    assert len(body) < 4000


def test_the_words_of_a_build_do_no_harm() -> None:
    paper = Paper()
    evil = "x: \x1b[2J@everyone <@123> <!here>\n{key} \u202e " + "a" * 500
    paper.ends("a\x1b q {text}", failure=replace(SCREEN, text=evil, lines=(evil,)), host="o\nne")
    paper.wait(5 * MINUTE_S)
    (message,) = paper.told
    text = message.title + message.body.replace("\n", "")
    assert text.isprintable()
    assert len(message.title) < 200
    for call in ("@everyone", "<@", "<!"):
        assert call not in text
    assert "{key}" in message.title
    assert all(len(line) < 700 for line in message.body.splitlines())


def test_the_digest_says_what_is_open_and_what_has_ended() -> None:
    paper = Paper()
    paper.ends("a q", "b q", failure=SCREEN)
    paper.ends("c q", failure=NETWORK)
    paper.is_sick("one", "lost")
    paper.wait(HOUR_S)
    paper.ends("c q")
    paper.wait(HOUR_S)
    counts = Counter({"succeeded": 3, "failed": 2})
    message = WRITER.digest(paper.memory.incidents.values(), counts, paper.now)
    assert message.title == "farm: digest: 2 open, 1 ended"
    assert message.body.splitlines() == [
        "Builds of the last 24 hours: 2 failed, 3 succeeded.",
        "",
        "Open:",
        f"- still, since 2026-11-28 00:00 UTC: 2 stages fail: {OPENPTY}",
        "- still, since 2026-11-28 00:00 UTC: host one: lost",
        "",
        "Ended since yesterday:",
        f"- fixed, 2026-11-28 01:00 UTC: {NET}",
    ]
    quiet = WRITER.digest((), Counter(), START)
    assert quiet.title == "farm: digest: 0 open, 0 ended"
    assert quiet.body.splitlines() == [
        "Builds of the last 24 hours: none.",
        "",
        "Nothing is open.",
    ]


# The memory


def test_what_is_broken_in_the_ledger_is_not_remembered() -> None:
    paper = Paper()
    paper.ends("a q", "b q", failure=SCREEN)
    paper.look()
    notes = written(paper.memory.with_message(Message(at=1.0, title="t", body="b")))
    stages = {**notes.stages, "a q": "{", "c q": '{"last": 3}'}
    outbox = {**notes.outbox, "x": notes.outbox["1"]}
    broken = replace(notes, known='{"until": "x"}', stages=stages, outbox=outbox)
    memory = read(broken)
    assert list(memory.stages) == ["b q"]
    assert list(memory.outbox) == [1]
    assert memory.known.until == 0
    assert read(notes) != memory


def test_the_outbox_is_bounded() -> None:
    memory = Memory()
    for number in range(OUTBOX_MAX + 5):
        memory = memory.with_message(Message(at=float(number), title="t", body="b"))
    assert min(memory.outbox) == 6
    assert len(memory.outbox) == OUTBOX_MAX
    assert memory.without_delivered(OUTBOX_MAX).outbox.keys() == set(
        range(OUTBOX_MAX + 1, OUTBOX_MAX + 6)
    )


@pytest.mark.parametrize(("number", "word"), [(2, "2nd"), (3, "3rd"), (11, "11th"), (22, "22nd")])
def test_how_often_it_has_come_back(number: int, word: str) -> None:
    paper = Paper()
    paper.ends("a q", failure=SCREEN)
    paper.look()
    (incident,) = paper.memory.incidents.values()
    paper.memory = replace(paper.memory, incidents={incident.id: replace(incident, times=number)})
    paper.wait(5 * MINUTE_S)
    assert f"this is the {word} time" in paper.told[0].body
