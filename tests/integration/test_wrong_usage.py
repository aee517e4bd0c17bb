"""What people do wrong with a farm: one clear error each, with its exit code, never a traceback."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from click.shell_completion import ShellComplete

from orchestrator.cli import cli, run
from tasks import settings
from tasks.errors import FarmUnreachable
from tasks.ledger.answers import Holder
from tasks.ledger.builds import Ledger
from tasks.ledger.hosts import Hosts
from tests.builds import any_build
from tests.farm import steps_of
from tests.redis_server import RedisServer

pytestmark = pytest.mark.redis

Refuse = Callable[[redis.Redis], object]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis")
    server.start()
    monkeypatch.setenv("STAGEFARM_REDIS_URL", server.url)
    monkeypatch.setenv("STAGEFARM_STATE_DIR", str(tmp_path / "state"))
    settings.current.cache_clear()
    yield server
    settings.current.cache_clear()
    server.kill()


@pytest.fixture
def ledger(server: RedisServer) -> Iterator[Ledger]:
    """A farm with one build, which is a batch of its own, on a host that was seen."""
    ledger = Ledger.open(settings.current())
    build = any_build(id="job-20261122-aaaa", steps=steps_of(), batch="nightly-20261122-bbbb")
    ledger.submit([build])
    Hosts(ledger.connection).renew_leases(Holder("builder7", "life"), 90, {"slots": 1})
    yield ledger
    ledger.connection.client.close()


@pytest.mark.parametrize(
    ("refuse", "why"),
    [
        (lambda client: client.config_set("maxmemory", 1), "command not allowed when used memory"),
        (lambda client: client.replicaof("127.0.0.1", 1), "read only replica"),
        (
            lambda client: client.acl_setuser(
                "default", enabled=True, categories=["-@all", "+@read", "+@connection"]
            ),
            "no permissions",
        ),
    ],
    ids=["full", "replica", "rights"],
)
def test_a_redis_that_refuses_is_as_one_that_does_not_answer(
    server: RedisServer,
    ledger: Ledger,
    capsys: pytest.CaptureFixture[str],
    refuse: Refuse,
    why: str,
) -> None:
    with server.client() as client:
        refuse(client)
    assert run(["drain", "builder7"]) == 4
    said = capsys.readouterr().err
    assert why in said
    assert said.startswith(f"error: the farm's Redis at 127.0.0.1:{server.port} refuses: ")
    with pytest.raises(FarmUnreachable, match="refuses"):  # out of a script, too
        Hosts(ledger.connection).renew_leases(Holder("builder7", "life"), 90, {"slots": 1})


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        ("{}/99", 4, "refuses: DB index is out of range"),
        ("unix:///run/redis.sock", 2, "it has to begin with redis:// or rediss://"),
        ("http://h", 2, "it has to begin with redis:// or rediss://"),
        ("redis://h:port/0", 2, "redis_url: Port could not be cast"),
        ("redis://127.0.0.1:1/0", 4, "does not answer"),
    ],
)
@pytest.mark.parametrize("command", ["status", "flower"])
def test_an_address_of_no_farm(
    server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    url: str,
    code: int,
    said: str,
) -> None:
    monkeypatch.setenv("STAGEFARM_REDIS_URL", url.format(server.url.removesuffix("/0")))
    settings.current.cache_clear()
    assert run([command]) == code
    assert said in capsys.readouterr().err


def test_a_host_that_is_gone_can_be_forgotten(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hosts = Hosts(ledger.connection)
    assert run(["forget", "builder7"]) == 2, "it was seen just now"
    assert run(["forget", "builder8"]) == 2
    assert "did you mean builder7?" in capsys.readouterr().err
    hosts.mark_left(Holder("builder7", "life"))
    assert run(["forget", "builder7"]) == 0
    assert hosts.all() == []


def test_a_password_that_is_wanted(server: RedisServer, capsys: pytest.CaptureFixture[str]) -> None:
    with server.client() as client:
        client.config_set("requirepass", "right")
    assert run(["workers"]) == 4
    said = capsys.readouterr().err
    assert "refuses the login: it requires a password\n" in said
    assert "redis_password_file" in said


def test_flower_where_something_listens(
    server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["flower", "--port", str(server.port)]) == 3
    assert f"cannot listen on 127.0.0.1:{server.port}: Address already" in capsys.readouterr().err
    assert run(["flower", "--port", "99999"]) == 2


@pytest.mark.parametrize("command", ["logs", "why", "cancel", "retry", "rebuild"])
def test_an_empty_name_is_no_build(
    ledger: Ledger, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert run([command, ""]) == 2, "of one build alone every beginning is unique"
    assert "the name of a build or batch is empty" in capsys.readouterr().err


def test_a_batch_where_a_build_is_wanted(
    ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["logs", "nightly-20261122-bbbb"]) == 2
    assert "error: nightly-20261122-bbbb is a batch\n" in capsys.readouterr().err
    assert run(["cancel", "nightly-20261122-bbbc"]) == 2
    assert "did you mean nightly-20261122-bbbb?" in capsys.readouterr().err


def test_a_host_that_was_never_seen(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["drain", "a b"]) == 2
    assert run(["drain", ""]) == 2
    assert "is not a valid name of a queue or host" in capsys.readouterr().err
    assert run(["drain", "bulider7"]) == 0
    assert "did you mean builder7? (stagefarm undrain bulider7)" in capsys.readouterr().err


def test_names_are_completed_from_the_farm(ledger: Ledger) -> None:
    complete = ShellComplete(cli, {}, "stagefarm", "_STAGEFARM_COMPLETE")

    def offered(command: str, start: str = "") -> list[str]:
        return [item.value for item in complete.get_completions([command], start)]

    assert offered("logs") == ["job-20261122-aaaa"]
    assert offered("cancel") == ["nightly-20261122-bbbb", "job-20261122-aaaa"]
    assert offered("cancel", "n") == ["nightly-20261122-bbbb"]
    assert offered("drain") == ["builder7"]


def test_a_state_folder_that_cannot_be(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if os.geteuid():
        pytest.skip("needs root")
    monkeypatch.setenv("STAGEFARM_STATE_DIR", "/proc/nowhere")
    settings.current.cache_clear()
    assert run(["worker", "--queue", "x.y"]) == 3
    assert "error: /proc/nowhere: No such file or directory\n" in capsys.readouterr().err
