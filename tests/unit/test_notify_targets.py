"""Who is sent what, when: each target everything, in order, once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.notify.inputs import Inputs, differences, inputs_of
from orchestrator.notify.services import harmless, named, secret_urls_of, send
from orchestrator.notify.sick import host_situation
from orchestrator.notify.targets import (
    BACKLOG,
    BACKLOG_S,
    GIVE_UP_S,
    PAUSE_MAX_S,
    PAUSE_S,
    Target,
    after_sending,
    mark_of,
    next_delivery,
)
from orchestrator.notify.texts import Message
from tasks.errors import BadInput
from tasks.ledger.hosts import Host, Unfit
from tasks.model import GitInput, Hook
from tasks.results import Blamed, SecondTry
from tests.builds import any_build
from tests.farm import steps_of
from tests.notifying import DAY_S, START, WRITER
from tests.told import Told

MESSAGES = {n: Message(at=START + n, title=f"t{n}", body="b") for n in range(1, BACKLOG + 2)}
TARGET = Target(name="notify[0] (json)")


def some(*numbers: int) -> dict[int, Message]:
    return {number: MESSAGES[number] for number in numbers}


def test_messages_are_sent_in_their_order_and_once() -> None:
    target, sent = TARGET, []
    outbox = some(3, 1, 2)
    while delivery := next_delivery(target, outbox, WRITER, START):
        sent.append(delivery.message.title)
        target = after_sending(target, delivery, is_sent=True, now=START)
    assert sent == ["t1", "t2", "t3"]
    assert target == replace(TARGET, sent=3)


def test_a_target_that_fails_is_left_alone_for_longer_each_time() -> None:
    target, now, pauses = TARGET, START, []
    for _ in range(10):
        assert next_delivery(target, some(1), WRITER, target.again - 1) is None
        now = max(now, target.again)
        delivery = next_delivery(target, some(1), WRITER, now)
        assert delivery
        target = after_sending(target, delivery, is_sent=False, now=now)
        pauses.append(target.again - now)
    assert pauses[:3] == [PAUSE_S, 2 * PAUSE_S, 4 * PAUSE_S]
    assert pauses[-1] == PAUSE_MAX_S
    assert (target.sent, target.fails) == (0, 10)
    delivery = next_delivery(target, some(1), WRITER, target.again)
    assert delivery
    assert after_sending(target, delivery, is_sent=True, now=target.again) == replace(
        TARGET, sent=1
    )


def test_what_has_piled_up_is_one_message() -> None:
    late = START + 1 + BACKLOG_S
    fresh = next_delivery(TARGET, MESSAGES, WRITER, late)
    assert fresh
    assert fresh.message.title == "t1"
    delivery = next_delivery(TARGET, MESSAGES, WRITER, late + 1)
    assert delivery
    assert delivery.message.title == "farm: 6 messages"
    assert delivery.message.body.splitlines()[:3] == [
        "These could not be delivered before:",
        "",
        "2026-11-28 00:00 UTC  t1",
    ]
    after = after_sending(TARGET, delivery, is_sent=True, now=late)
    assert next_delivery(after, MESSAGES, WRITER, late) is None
    one_less = next_delivery(replace(TARGET, sent=1), MESSAGES, WRITER, START + DAY_S)
    assert one_less
    assert one_less.message.title == "t2"


def test_a_message_that_is_never_taken_holds_up_the_others_for_three_days_at_most() -> None:
    delivery = next_delivery(TARGET, some(1, 2), WRITER, START)
    assert delivery
    tried = after_sending(TARGET, delivery, is_sent=False, now=START + GIVE_UP_S)
    assert (tried.sent, tried.lost) == (0, 0)
    tried = after_sending(TARGET, delivery, is_sent=False, now=START + GIVE_UP_S + 2)
    assert tried == replace(TARGET, sent=1, lost=1)


def test_a_mark_does_not_give_its_url_away() -> None:
    urls = ["json://anna:secret@host/a", "json://anna:secret@host/b"]
    marks = [mark_of(url) for url in urls]
    assert len(set(marks)) == 2
    assert {len(mark) for mark in marks} == {24}
    assert named(3, "mailto://anna:secret@example.org") == "notify[3] (mailto)"


def test_what_is_too_long_for_a_service_comes_in_parts() -> None:
    line = "x" * 99 + "\n"
    with Told() as told:
        assert send(told.url("a"), "title", line * 400)
        assert send(f"{told.url('b')}?overflow=truncate", "title", line * 400)
    parts = {path: [body for to, _, body in told.got if to == path] for path in ("/a", "/b")}
    assert [len(part) for part in parts.values()] == [2, 1]
    assert "".join(parts["/a"]).count("x") == 400 * 99


def test_the_file_of_urls_is_for_few(tmp_path: Path) -> None:
    file = tmp_path / "notify"
    file.write_text("# ours\njson://a\njson://b\njson://a\n")
    file.chmod(0o640)
    assert secret_urls_of(file) == ("json://a", "json://b")
    file.chmod(0o644)
    with pytest.raises(BadInput, match="can be read by everybody") as failed:
        secret_urls_of(file)
    assert f"chmod 640 {file}" in failed.value.hint
    with pytest.raises(BadInput, match="cannot read notify_file"):
        secret_urls_of(tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("@everyone and @here", "@ everyone and @ here"),
        ("<@&12> <#5> <!channel>", "< @&12> < #5> < !channel>"),
        ("a@example.org <stdio.h>", "a@example.org <stdio.h>"),
        ("\x1b[31mred\n", "\\x1b[31mred\\n"),
    ],
)
def test_text_from_elsewhere_calls_nobody(text: str, shown: str) -> None:
    assert harmless(text) == shown


# What differs


def test_inputs_that_differ_are_named() -> None:
    before = Inputs(
        host="one",
        seed="a" * 64,
        context="b" * 64,
        hooks={"x.yml": "1", "y.yml": "2"},
        options={f"o{n}": "1" for n in range(7)},
    )
    after = Inputs(
        host="two",
        seed="c" * 64,
        context="",
        hooks={"x.yml": "1", "z.yml": "2"},
        options={},
    )
    assert differences(before, before) == ()
    assert differences(before, after) == (
        "seed: aaaaaaaaaaaa is now cccccccccccc",
        "submitted folder: bbbbbbbbbbbb is now none",
        "hooks: y.yml, z.yml",
        "variables: o0, o1, o2, o3, o4, and 2 more",
        "host: one is now two",
    )


def test_the_inputs_of_a_build() -> None:
    def build(*commands: str, **changes: object) -> Inputs:
        steps = steps_of(*((Hook(name="h", commands=(command,)),) for command in commands))
        made = any_build(steps=steps, **changes)
        return inputs_of(made, seed="", host="one")

    assert differences(build("a", "b"), build("a", "b")) == ()
    assert differences(build("a", "b"), build("a", "c")) == ("hooks: hooks.yaml",)
    assert differences(build("a"), build("a", environment={"JOBS": "9"})) == ("variables: JOBS",)
    assert differences(build("a"), build("a", context="d" * 64)) == (
        "submitted folder: none is now dddddddddddd",
    )
    pinned = [
        GitInput(name="stages", url="u", ref="main", commit=digit * 40, path=".") for digit in "12"
    ]
    assert differences(*(build("a", inputs=(one,)) for one in pinned)) == (
        "commit of stages: 111111111111 is now 222222222222",
    )
    known = inputs_of(any_build(), seed="e" * 64, host="one")
    assert known.seed == "e" * 64
    assert build("a").seed not in ("", known.seed)


# Hosts


def troubles(**changes: object) -> dict[str, str]:
    host = Host(name="one", seen=START, incarnation="i")
    found = host_situation(replace(host, **changes), START, 90.0, 2)  # type: ignore[arg-type]
    return {member.name: member.detail for member in found.members}


def test_what_makes_a_host_sick() -> None:
    assert troubles() == {}
    assert list(troubles(seen=START - 90)) == ["lost"]
    assert troubles(refuses="no disk") == {"takes no builds": "no disk"}
    unfit = {
        "stage3": Unfit(reason="no binfmt", at=START, until=START + 1),
        "old": Unfit(reason="x", at=0.0, until=START),
    }
    cleaning = {"/b": "busy", "/a": "mounted"}
    assert troubles(unfit=unfit, cleaning=cleaning) == {
        "builds no stage3": "no binfmt",
        "cannot clean up": "/a: mounted",
    }


def test_a_host_that_the_farm_drained_is_sick() -> None:
    def tries(*outcomes: Blamed) -> tuple[SecondTry, ...]:
        return tuple(SecondTry(build="b", outcome=one, host="one") for one in outcomes)

    two = tries(Blamed.HOST, Blamed.STAGE, Blamed.HOST)
    assert troubles(second_tries=two) == {}, "it builds on"
    assert troubles(drained=5.0, second_tries=tries(Blamed.HOST)) == {}, "somebody did it"
    assert troubles(drained=5.0, second_tries=two) == {
        "drained as suspect": "2 of its last 3 failures passed on other hosts: "
        "stagefarm undrain one"
    }


@pytest.mark.parametrize("changes", [{"left": 5.0}, {"drained": 5.0}, {"incarnation": ""}])
def test_what_somebody_wanted_is_no_sickness(changes: dict[str, object]) -> None:
    assert troubles(seen=0.0, **changes) == {}
