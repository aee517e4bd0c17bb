"""People are told what is wrong with a farm: by real messages of real builds, each once."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli import run
from orchestrator.farm.notifications import TURN, Notifications
from orchestrator.notify.targets import PAUSE_S
from tasks.errors import BadInput
from tasks.ledger.answers import ClaimedAttempt, Holder
from tasks.ledger.locks import PublishingLock
from tasks.ledger.notices import Notices
from tasks.model import Build, BuildState
from tasks.results import Cause
from tasks.settings import current
from tests.farm import LIMIT_S, QUICK, Farm
from tests.redis_server import RedisServer
from tests.told import Told
from tests.waiting import eventually

pytestmark = pytest.mark.redis

MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 24 * 3600.0
OPENPTY = "compile of app-misc/screen-5.0.0: implicit declaration of function 'openpty'"
COMPILE = """
echo '>>> Emerging (1 of 1) app-misc/screen-5.0.0::gentoo'
echo '>>> Compiling source in /var/tmp/portage/app-misc/screen-5.0.0 ...'
echo "/build/$RANDOM/pty.c:$RANDOM:7: error: implicit declaration of function 'openpty'" >&2
exit 1
"""
NETWORK = "echo 'curl: (6) Could not resolve host: distfiles.example.org' >&2; exit 6"


@pytest.fixture
def told() -> Iterator[Told]:
    with Told() as told:
        yield told


@pytest.fixture
def farm(tmp_path: Path, seed: Path, told: Told) -> Iterator[Farm]:
    file = tmp_path / "notify"
    file.write_text(f"# people\n{told.url('a')}\n{told.url('b')}\n")
    file.chmod(0o640)
    quick = {**QUICK, "notify_file": str(file), "release_dir": str(tmp_path / "releases")}
    farm = Farm(tmp_path, seed, RedisServer(tmp_path / "redis"), quick=quick)
    farm.redis.start()
    try:
        yield farm
    finally:
        farm.end()


def supervisor(farm: Farm, said: list[str] | None = None) -> Notifications:
    """The duty of a supervisor that has just started."""
    say = print if said is None else said.append
    return Notifications(farm.settings, farm.ledger, say)


def titles(told: Told, path: str = "/a") -> list[str]:
    return [title for to, title, _ in told.got if to == path]


def ends(farm: Farm, job: str, cause: Cause | None = None) -> Build:
    """A build that has ended in the ledger, without any host."""
    build = farm.build(name=job)
    farm.ledger.submit([build])
    claim = ClaimedAttempt(build.id, 1, Holder("one", "i"))
    farm.ledger.claim(claim, 90.0)
    if cause:
        farm.ledger.fail(claim, "HookFailed", "command exited with 1", "", "", cause)
    else:
        farm.ledger.finish(claim, (), "file:///x")
    return build


def a_cause(number: int = 1) -> Cause:
    return Cause(rule="r", kind="compile", message=f"no {number}", fingerprint=f"{number:016}")


# A whole farm


@pytest.mark.root
def test_a_farm_tells_each_cause_once_and_that_it_is_mended(
    farm: Farm, told: Told, can_isolate: None, host_unchanged: None
) -> None:
    farm.quick |= {"notify_settle_s": 0.0}
    farm.worker("one", slots=2)
    good = farm.submit(farm.build("true", name="stage1"))
    farm.wait(*good, state=BuildState.SUCCEEDED)
    bad = farm.submit(
        *(farm.build(COMPILE, name=f"stage{n}") for n in (1, 2)),
        *(farm.build(NETWORK, name=f"stage{n}") for n in (3, 4)),
    )
    assert {record.state for record in farm.wait(*bad)} == {BuildState.FAILED}, farm.logs()
    farm.start(["supervisor"])
    assert eventually(lambda: len(told.got) == 4, LIMIT_S), farm.logs()
    network = "test: new: 2 stages fail: network: a host name cannot be resolved"
    for path in ("/a", "/b"):
        assert sorted(titles(told, path)) == [f"test: new: 2 stages fail: {OPENPTY}", network]
    body = next(text for _, title, text in told.got if OPENPTY in title)
    assert "│ /build/" in body
    assert f"- stage1 x86-64bit.generic_64\n  last good: {good[0].id}, " in body
    assert f"first bad: {bad[0].id}, " in body
    assert "- stage2 x86-64bit.generic_64\n  last good: none is known" in body
    assert "- hooks: hooks.yaml (1 of 1)" in body

    digest = farm.command("notify", "digest")
    assert "Builds of the last 24 hours: 4 failed, 1 succeeded." in digest.stdout, digest.stderr

    again = farm.submit(*(farm.build("true", name=f"stage{n}") for n in (1, 2)))
    farm.wait(*again, state=BuildState.SUCCEEDED)
    fixed = f"test: fixed: {OPENPTY}"
    assert eventually(lambda: fixed in titles(told, "/b"), LIMIT_S), farm.logs()
    assert titles(told, "/a")[2:] == [fixed]
    assert "secret" not in farm.logs()


# Nothing is lost, nothing is told twice


DIES = """
import os, signal
import orchestrator.farm.notifications as notifications
from orchestrator.notify import services
from tasks.ledger.builds import Ledger
from tasks.ledger.locks import PublishingLock
from tasks.ledger.notices import Notices
from tasks.settings import current
def die(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
{place} = die
notifications.Notifications(current(), Ledger.open(current()), print).go_on({now})
"""


def die_at(farm: Farm, place: str, now: float) -> None:
    """A supervisor is killed when it comes to `place`."""
    died = subprocess.run(
        [sys.executable, "-c", DIES.format(place=place, now=now)],
        env=farm.environment("tester", "supervisor"),
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr


@pytest.mark.parametrize("place", ["Notices.write", "services.send"])
def test_a_supervisor_killed_on_the_way_loses_nothing_and_repeats_nothing(
    farm: Farm, told: Told, place: str
) -> None:
    now = farm.ledger.now()
    supervisor(farm).go_on(now)
    ends(farm, "a", a_cause())
    ends(farm, "b", a_cause(2))
    supervisor(farm).go_on(now + 5)
    assert told.got == []
    die_at(farm, place, now + HOUR_S)
    assert told.got == []
    with farm.redis.client() as client:  # its turn to send ends after five minutes
        client.delete("stands for nothing", *client.keys("test:publishing:*"))
    for seconds in (10, 20):
        supervisor(farm).go_on(now + HOUR_S + seconds)
    news = ["test: new: 1 stage fails: compile: no 1", "test: new: 1 stage fails: compile: no 2"]
    assert titles(told, "/a") == titles(told, "/b") == news


def test_two_supervisors_do_not_send_at_once(farm: Farm, told: Told) -> None:
    now = farm.ledger.now()
    one, two = supervisor(farm), supervisor(farm)
    one.go_on(now)
    ends(farm, "a", a_cause())
    two.go_on(now + 1)
    other = PublishingLock(farm.ledger.connection, TURN, 60.0)
    assert other.hold()
    two.go_on(now + HOUR_S)
    assert told.got == [], "it is the turn of another"
    other.let_go()
    one.go_on(now + HOUR_S + 1)
    two.go_on(now + HOUR_S + 2)
    assert len(titles(told)) == 1


def test_a_supervisor_that_is_stopped_sends_what_it_has_begun_and_no_more(
    farm: Farm, told: Told
) -> None:
    farm.quick |= {"notify_settle_s": 0.0}
    one = supervisor(farm)
    one.go_on(farm.ledger.now())
    ends(farm, "a", a_cause())
    ends(farm, "b", a_cause(2))
    told.meanwhile = one.stopping.set
    one.look()
    assert eventually(lambda: told.got)
    one.finish()
    assert len(told.got) == 1
    supervisor(farm).go_on(farm.ledger.now())
    assert [len(titles(told, path)) for path in ("/a", "/b")] == [2, 2]


def test_a_service_that_fails_is_tried_again_and_holds_up_no_other(farm: Farm, told: Told) -> None:
    now, said = farm.ledger.now(), list[str]()
    one = supervisor(farm, said)
    one.go_on(now)
    ends(farm, "a", a_cause())
    one.go_on(now + 1)
    told.down.add("/a")
    one.go_on(now + HOUR_S)
    one.go_on(now + HOUR_S + PAUSE_S - 1)
    assert (len(titles(told, "/a")), len(titles(told, "/b"))) == (0, 1)
    assert said == ["notifications: notify[0] (json) does not take messages, trying again"]
    told.down.clear()
    one.go_on(now + HOUR_S + PAUSE_S - 1)
    assert titles(told, "/a") == [], "it is left alone for a while"
    for seconds in (0, 1):
        one.go_on(now + HOUR_S + PAUSE_S + seconds)
    assert (len(titles(told, "/a")), len(titles(told, "/b"))) == (1, 1)
    assert said[1:] == ["notifications: notify[0] (json) takes messages again"]
    assert Notices(farm.ledger.connection).read().outbox == {}


def test_what_piled_up_for_a_service_is_one_message(farm: Farm, told: Told) -> None:
    now = farm.ledger.now()
    one = supervisor(farm)
    one.go_on(now)
    told.down.add("/a")
    for number in range(8):
        ends(farm, f"j{number}", a_cause(number))
    one.go_on(now + 1)
    one.go_on(now + HOUR_S)
    told.down.clear()
    one.go_on(now + 2 * HOUR_S)
    assert titles(told, "/a") == ["test: 8 messages"]
    assert len(titles(told, "/b")) == 8


def test_a_new_target_gets_what_comes_from_now_on(farm: Farm, told: Told) -> None:
    now, file = farm.ledger.now(), Path(farm.settings.notify_file)
    file.write_text(told.url("a"))
    supervisor(farm).go_on(now)
    ends(farm, "a", a_cause())
    supervisor(farm).go_on(now + 1)
    supervisor(farm).go_on(now + HOUR_S)
    file.write_text(f"{told.url('b')}\n")
    ends(farm, "b", a_cause(2))
    one = supervisor(farm)
    one.go_on(now + 2 * HOUR_S)
    one.go_on(now + 3 * HOUR_S)
    assert [len(titles(told, path)) for path in ("/a", "/b")] == [1, 1]
    assert len(Notices(farm.ledger.connection).targets()) == 1


def test_no_secret_is_in_redis(farm: Farm, told: Told) -> None:
    now = farm.ledger.now()
    one = supervisor(farm)
    told.down.add("/b")
    one.go_on(now)
    ends(farm, "a", a_cause())
    one.go_on(now + 1)
    one.go_on(now + HOUR_S)
    notices = Notices(farm.ledger.connection)
    everything = repr((notices.read(), notices.targets()))
    assert "notify[1] (json)" in everything
    assert "secret" not in everything
    assert "127.0.0.1" not in everything


# The digest


def test_a_digest_each_morning(farm: Farm, told: Told) -> None:
    now = farm.ledger.now()
    first = now - now % DAY_S + DAY_S + 7 * HOUR_S  # 07:00 UTC, tomorrow
    supervisor(farm).go_on(now)
    ends(farm, "a", a_cause())
    one = supervisor(farm)
    for moment in (first - 2 * HOUR_S, first - HOUR_S, first, first + MINUTE_S, first + 3 * DAY_S):
        one.go_on(moment)
    assert titles(told) == [
        "test: new: 1 stage fails: compile: no 1",
        "test: digest: 1 open, 0 ended",
        "test: digest: 1 open, 0 ended",
    ]


# A farm that was there before, and what it was told to do


def test_a_farm_with_a_history_is_told_what_is_wrong_now(farm: Farm, told: Told) -> None:
    ends(farm, "a", a_cause())
    ends(farm, "b", a_cause())
    ends(farm, "b")
    ends(farm, "c", a_cause(2))
    ends(farm, "c")
    now = farm.ledger.now()
    one = supervisor(farm)
    one.go_on(now)
    one.go_on(now + HOUR_S)
    assert titles(told) == ["test: new: 1 stage fails: compile: no 1"]


def test_builds_that_were_cancelled_or_repeat_others_say_nothing(farm: Farm, told: Told) -> None:
    cancelled = farm.build(name="a")
    repeated = farm.build(name="b", rebuild_of="other")
    farm.ledger.submit([cancelled, repeated])
    farm.ledger.cancel(cancelled.id, "enough")
    claim = ClaimedAttempt(repeated.id, 1, Holder("one", "i"))
    farm.ledger.claim(claim, 90.0)
    farm.ledger.fail(claim, "HookFailed", "no", "")
    now = farm.ledger.now()
    one = supervisor(farm)
    one.go_on(now)
    one.go_on(now + HOUR_S)
    assert told.got == []


def test_builds_that_lost_their_hosts_are_one_cause(farm: Farm, told: Told) -> None:
    for job, host in (("a", "one"), ("b", "two")):
        build = farm.build(name=job)
        farm.ledger.submit([build])
        claim = ClaimedAttempt(build.id, 1, Holder(host, "i"))
        farm.ledger.claim(claim, 90.0)
        farm.ledger.lose(claim, f"{host} is gone", 1)
    now = farm.ledger.now()
    one = supervisor(farm)
    one.go_on(now)
    one.go_on(now + HOUR_S)
    (title,) = titles(told)
    assert title.startswith("test: new: 2 stages fail: lost 1 times: attempt 1 on one")


def test_what_a_gate_holds_is_told(farm: Farm, told: Told) -> None:
    build = ends(farm, "a")
    farm.ledger.note_gate(build.id, "held by the gate: 1 finding")
    now = farm.ledger.now()
    one = supervisor(farm)
    one.go_on(now)
    one.go_on(now + HOUR_S)
    farm.ledger.note_gate(build.id, "")
    one.go_on(now + 2 * HOUR_S)
    assert titles(told) == [
        "test: new: the gate holds 1 stage",
        "test: fixed: the gate holds no stage any more",
    ]


def test_impossible_values_of_the_ledger_stop_nothing(farm: Farm, told: Told) -> None:
    broken, endless = ends(farm, "a", a_cause()), ends(farm, "b", a_cause(2))
    evil = Cause(rule="r", kind="x" * 9999, message="<b>\x1b[2J" * 9999, fingerprint="f" * 9999)
    ends(farm, "c" * 9999, evil)
    ends(farm, "c" * 90 + "\x1b", evil)
    with farm.redis.client() as client:
        client.hset(f"test:build:{broken.id}", "attempt", "many")
        client.hset(f"test:build:{endless.id}", mapping={"ended": "nan", "host": "h" * 9999})
        client.zadd("test:ended", {endless.id: "inf", "unknown": 1e18})
    now, said = farm.ledger.now(), list[str]()
    one = supervisor(farm, said)
    one.go_on(now)
    one.go_on(now + HOUR_S)
    assert len(titles(told)) == 2
    assert max(len(title + body) for _, title, body in told.got) < 4000
    assert said == []


# What people call


def call(farm: Farm, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """The exit code of a command, in this process."""
    for name, value in farm.environment("tester", "notify").items():
        monkeypatch.setenv(name, value)
    current.cache_clear()
    try:
        return run(["notify", *words])
    finally:
        current.cache_clear()


def test_a_test_message_says_who_cannot_be_reached(
    farm: Farm, told: Told, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(farm, monkeypatch, "test") == 0
    assert capsys.readouterr().out == "notify[0] (json): sent\nnotify[1] (json): sent\n"
    assert titles(told, "/b") == ["test: test"]
    told.down.add("/b")
    assert call(farm, monkeypatch, "test", "--json") == 1
    said = capsys.readouterr()
    assert [one["sent"] for one in json.loads(said.out)] == [True, False]
    assert "no test message by notify[1] (json)" in said.err
    assert "secret" not in said.out + said.err
    Path(farm.settings.notify_file).write_text("# nobody\n")
    assert call(farm, monkeypatch, "test") == 2
    assert "has no URL" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "value"),
    [("notify_timezone", "Mars/Base"), ("notify_digest", "each morning"), ("notify_file", "/none")],
)
def test_a_setting_that_cannot_be_used_is_named(
    farm: Farm,
    setting: str,
    value: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    farm.quick[setting] = value
    farm.__dict__.pop("settings", None)
    with pytest.raises(BadInput, match=setting):
        supervisor(farm).go_on(farm.ledger.now())
    assert call(farm, monkeypatch, "test") == 2
    assert setting in capsys.readouterr().err


def test_incidents_are_listed_and_the_digest_printed(
    farm: Farm, told: Told, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(farm, monkeypatch, "list") == 0
    assert "no supervisor looks" in capsys.readouterr().err
    ends(farm, "a", a_cause())
    ends(farm, "b")
    now = farm.ledger.now()
    one = supervisor(farm)
    one.go_on(now)
    told.down.add("/a")
    one.go_on(now + HOUR_S)
    assert call(farm, monkeypatch, "list") == 0
    said = capsys.readouterr()
    assert re.search(r"^still +1 stage fails: compile: no 1 +", said.out, re.MULTILINE)
    assert "notify[0] (json) does not answer: 1 message" in said.err
    assert call(farm, monkeypatch, "list", "--json") == 0
    (values,) = json.loads(capsys.readouterr().out)
    assert (values["state"], values["members"][0]["name"]) == ("still", "a x86-64bit.generic_64")
    for words in (["digest"], ["digest", "--json"]):
        assert call(farm, monkeypatch, *words) == 0
        shown = capsys.readouterr().out
        assert "Builds of the last 24 hours: 1 failed, 1 succeeded." in shown
        assert "test: digest: 1 open, 0 ended" in shown
