"""Holds: since when, when they end, and that people are told of each once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.gate.findings import Finding, StageKey, Verdict
from orchestrator.gate.holds import About, Hold, Holds, Message, Published
from orchestrator.gate.notifying import Notifier
from orchestrator.notify.services import urls_of
from tasks.errors import BadInput, StagefarmError
from tests.told import Told

DAY_S = 24 * 3600.0
NOW = 1_800_000_000.0
KEY = StageKey(product="stage3", variant="minimal", arch="x86-64bit", subarch="generic_64")
FOUND = (
    Finding(check="setuid", path="/bin/\x1b[2Jfoo", after="4755", message="is setuid"),
    Finding(check="packages_added", path="vim", verdict=Verdict.WARN, message="is new"),
)

OTHER = (Finding(check="setuid", path="/bin/other", after="4755", message="is setuid"),)


def a_hold(build: str = "one-20261122-7f3a9c0e", at: float = NOW) -> Hold:
    return Hold(
        stage=KEY, build=build, tarball="s.tar.zst", sha256="ab" * 32, built_at=at - 60, since=at,
        against="zero", findings=FOUND, reminded=at,
    )  # fmt: skip


@pytest.fixture
def holds(tmp_path: Path) -> Holds:
    return Holds(file=tmp_path / "gate/holds.json", reminder_s=7 * DAY_S, tells=True)


def about(holds: Holds) -> list[tuple[About, str]]:
    return [(one.about, one.how) for one in holds.noted().messages]


def test_a_hold_lasts_from_when_it_was_first_found(holds: Holds) -> None:
    assert holds.current == ()
    holds.note([a_hold()])
    (again,) = holds.note([replace(a_hold(at=NOW + DAY_S), findings=FOUND[:1])])
    assert (again.since, again.findings) == (NOW, FOUND[:1])
    assert holds.current == (again,)
    assert about(holds) == [(About.BEGUN, "")]


def test_a_hold_ends_when_its_build_or_a_newer_one_is_published(holds: Holds) -> None:
    holds.note([a_hold("one"), replace(a_hold("two", NOW + DAY_S), findings=OTHER)])
    holds.settle({KEY: Published(build="zero", built_at=NOW - DAY_S)}, {"zero"})
    assert len(holds.current) == 2, "an older one ends nothing"
    holds.settle({KEY: Published(build="two", built_at=NOW + DAY_S - 60)}, {"zero", "two"})
    assert holds.current == ()
    assert about(holds)[2:] == [
        (About.ENDED, "the newer two is published"),
        (About.ENDED, "it is published"),
    ]
    assert holds.noted().superseded == ("one",)
    other = replace(KEY, subarch="haswell")
    holds.note([a_hold("three")])
    holds.settle({other: Published(build="four", built_at=NOW + DAY_S)}, {"four"})
    assert [hold.build for hold in holds.current] == ["three"], "another stage ends nothing"


def test_people_are_told_of_each_cause_once(holds: Holds) -> None:
    more = Finding(check="setuid", path="/bin/bar", after="4755")
    other = replace(KEY, subarch="haswell")
    holds.note([a_hold("one"), a_hold("two", NOW + 1), replace(a_hold("three"), stage=other)])
    holds.note([replace(a_hold("four", NOW + 2), findings=(*FOUND, more))])
    holds.note([a_hold("two", NOW + 3)])
    holds.remind(NOW + 8 * DAY_S)
    holds.settle({}, {"two"})
    told = [(one.about, one.hold.build) for one in holds.noted().messages]
    assert told == [
        *((About.BEGUN, build) for build in ("one", "three", "four")),
        *((About.REMINDER, build) for build in ("one", "three", "four")),
    ]


def test_people_are_reminded_of_a_hold_that_ages(holds: Holds) -> None:
    holds.note([a_hold()])
    for days, count in ((6, 0), (7, 1), (13, 1), (14, 2)):
        holds.remind(NOW + days * DAY_S)
        assert about(holds).count((About.REMINDER, "")) == count
    replace(holds, reminder_s=0.0).remind(NOW + 99 * DAY_S)
    assert len(about(holds)) == 3


def test_where_nobody_is_told_no_messages_pile_up(holds: Holds) -> None:
    quiet = replace(holds, tells=False)
    quiet.note([a_hold()])
    quiet.remind(NOW + 99 * DAY_S)
    quiet.settle({}, {"one-20261122-7f3a9c0e"})
    assert quiet.noted().messages == ()


def test_a_damaged_file_is_named(holds: Holds) -> None:
    holds.file.parent.mkdir()
    holds.file.write_text("{")
    with pytest.raises(StagefarmError, match=r"holds\.json") as failed:
        assert not holds.current
    assert failed.value.hint == "remove it"


# Telling


@pytest.fixture
def told() -> Iterator[Told]:
    with Told() as told:
        yield told


def deliver(holds: Holds, notifier: Notifier) -> list[str]:
    return holds.deliver(lambda message: notifier.send(message, NOW + DAY_S))


def test_each_message_reaches_everybody_once(holds: Holds, told: Told) -> None:
    notifier = Notifier("stages", Path("r.yaml"), (told.url("a"), told.url("b")))
    holds.note([a_hold()])
    told.down.add("/b")
    (why,) = deliver(holds, notifier)
    assert why.startswith("nobody could be told by notify[1] (json)")
    assert "secret" not in why + holds.file.read_text()
    assert [path for path, _, _ in told.got] == ["/a"]
    told.down.clear()
    assert deliver(holds, notifier) == [why], "one publication tries each only once"
    notifier = replace(notifier, down=set())
    assert deliver(holds, notifier) == deliver(holds, notifier) == []
    assert [path for path, _, _ in told.got] == ["/a", "/b"]
    _, title, body = told.got[0]
    assert title == "stages: the gate holds stage3 minimal x86-64bit.generic_64"
    assert body.splitlines() == [
        "one-20261122-7f3a9c0e is not published, for 24h00m now.",
        f"{FOUND[0].digest[:12]} setuid /bin/foo: is setuid",
        "",
        "stagefarm gate show r.yaml one-20261122-7f3a9c0e",
    ]


def test_the_end_of_a_hold_is_told(holds: Holds, told: Told) -> None:
    holds.note([a_hold()])
    holds.settle({}, {a_hold().build})
    assert deliver(holds, Notifier("stages", Path("r.yaml"), (told.url("a"),))) == []
    _, title, body = told.got[1]
    assert title.endswith("the gate does not hold stage3 minimal x86-64bit.generic_64 any more")
    assert body == "one-20261122-7f3a9c0e was held for 24h00m; it is published."


def test_a_crash_repeats_only_the_message_that_was_being_sent(holds: Holds, told: Told) -> None:
    notifier = Notifier("stages", Path("r.yaml"), (told.url("a"),))
    holds.note([a_hold("one"), replace(a_hold("two"), findings=OTHER)])

    def crash(message: Message) -> tuple[Message | None, str]:
        left = notifier.send(message, NOW)
        if message.hold.build == "two":
            raise KeyboardInterrupt
        return left

    with pytest.raises(KeyboardInterrupt):
        holds.deliver(crash)
    assert deliver(holds, notifier) == []
    builds = [body.partition(" ")[0] for _, _, body in told.got]
    assert builds == ["one", "two", "two"]


def test_a_url_that_apprise_does_not_know_is_no_error(holds: Holds) -> None:
    holds.note([a_hold()])
    (why,) = deliver(holds, Notifier("stages", Path("r.yaml"), ("nonsense://secret",)))
    assert "notify[0] (nonsense)" in why
    assert "secret" not in why


def test_urls_may_be_in_a_file_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "urls"
    file.write_text("# mine\njson://b\n\njson://c\n")
    assert urls_of(["json://a"], file) == ("json://a", "json://b", "json://c")
    assert urls_of(["json://a"], None) == ("json://a",)
    with pytest.raises(BadInput, match="cannot read notify_file"):
        urls_of([], tmp_path / "none")
