"""The ledger of a farm of 0.1: read, refused where it is to be changed, migrated, built on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.ledger import migration
from tasks.ledger.builds import Ledger
from tasks.ledger.connection import connect
from tasks.ledger.migration import Migration
from tasks.model import BuildState
from tests.farm import Farm
from tests.farm_builds import go
from tests.recorded import LEDGER_01, dump, load
from tests.redis_server import RedisServer

pytestmark = [pytest.mark.redis, pytest.mark.root]

REFUSED = "error: the ledger under 'test' has schema 1, this stagefarm writes schema 2\n"
HINT = " hint: stop workers and supervisors, then run: stagefarm ledger migrate\n"
SPEC = """
jobs:
  - name: job
    source: {type: file, path: seed.tar}
    output: {type: file, name: a.tar, dir: out}
"""


@pytest.fixture
def farm(tmp_path: Path, seed: Path, can_isolate: None, host_unchanged: None) -> Iterator[Farm]:
    """A farm whose Redis holds what 0.1 left in it."""
    farm = Farm(tmp_path, seed, RedisServer(tmp_path / "redis"))
    shutil.copy(seed, tmp_path / "seed.tar")
    (tmp_path / "job.yaml").write_text(SPEC)
    farm.redis.start()
    try:
        with farm.redis.client() as client:
            load(LEDGER_01, client, tmp_path)
        yield farm
    finally:
        farm.end()


def migrate(farm: Farm, *options: str) -> str:
    said = farm.command("ledger", "migrate", *options)
    assert said.returncode == 0, said.stderr
    return said.stdout


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["status"], "base-0004   running"),
        (["status", "--batches"], "night-0001"),
        (["status", "kept-0003"], "attempt 1 on one: failed hook work"),
        (["status", "ok-0001", "--json"], '"sha256"'),
        (["logs", "ok-0001"], "hello"),
        (["why", "full-0005"], "It starts from the tarball of base-0004"),
        (["why", "waits-0007"], "No host serves x86-64bit.haswell"),
        (["workers"], "drained"),
        (["follow", "ok-0001"], "ok.tar"),
    ],
    ids=" ".join,
)
def test_what_only_shows_reads_the_older_schema(farm: Farm, words: list[str], shown: str) -> None:
    with farm.redis.client() as client:
        before = dump(client)
        said = farm.command(*words)
        assert (said.returncode, said.stderr.count("error")) == (0, 0), said.stderr
        assert shown in said.stdout
        assert dump(client) == before, "and leaves it as it is"


@pytest.mark.parametrize(
    "words",
    [
        ["worker", "--queue", "a.b"],
        ["supervisor"],
        ["submit", "--specfile", "job.yaml", "--job", "job"],
        ["cancel", "waits-0007"],
        ["retry", "bad-0002"],
        ["rebuild", "ok-0001"],
        ["drain", "one"],
        ["undrain", "two"],
    ],
    ids=" ".join,
)
def test_what_changes_something_says_what_to_do(farm: Farm, words: list[str]) -> None:
    with farm.redis.client() as client:
        before = dump(client)
        words = [str(farm.folder / word) if word == "job.yaml" else word for word in words]
        said = farm.command(*words)
        assert (said.returncode, said.stderr) == (3, REFUSED + HINT)
        assert dump(client) == before


@pytest.mark.parametrize("words", [["status"], ["supervisor"], ["ledger", "migrate"]])
def test_a_newer_schema_wants_a_newer_stagefarm(farm: Farm, words: list[str]) -> None:
    with farm.redis.client() as client:
        client.set("test:schema", "3")
    error = "error: the ledger under 'test' has schema 3, this stagefarm knows schema 2\n"
    said = farm.command(*words)
    assert (said.returncode, said.stderr) == (3, f"{error} hint: use a newer stagefarm\n")


def test_a_dry_run_changes_nothing(farm: Farm) -> None:
    with farm.redis.client() as client:
        before = dump(client)
        told = "the ledger under 'test' would have schema 2: 8 builds, 2 hosts\n"
        assert migrate(farm, "--dry-run") == told
        assert dump(client) == before


def test_everything_is_carried_over_once(farm: Farm) -> None:
    told = "8 of 8 builds\nthe ledger under 'test' has schema 2 now: 8 builds, 2 hosts\n"
    assert migrate(farm) == told
    with farm.redis.client() as client:
        after = dump(client)
        assert migrate(farm) == "the ledger under 'test' needs no migration\n"
        assert dump(client) == after
        assert after["test:schema"] == "2"
        assert "test:leader" not in after
        hashes = {key: value for key, value in after.items() if isinstance(value, dict)}
        assert not [key for key, value in hashes.items() if "life" in value]
        assert after["test:host:one"]["incarnation"] == after["test:build:base-0004"]["incarnation"]
        steps = after["test:build:base-0004:steps"]
        assert ("2.1.repeated" in steps, "2.1.again" in steps) == (True, False)
        ended = [name for name, _ in after["test:ended"]]
        assert ended == ["ok-0001", "bad-0002", "kept-0003", "gone-0009"]
    ledger = farm.ledger
    made = ledger.results("ok-0001", 1, 4)[2]
    assert made.artifacts[0].name == "ok.tar"
    assert "ok.tar.CONTENTS.gz" in [one.name for one in made.sidecars]
    assert list(ledger.checkpoints("kept-0003")) == ["1.1"]
    assert ledger.build("waits-0007").job == "waits"


def test_a_migration_that_was_killed_is_run_again(
    farm: Farm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Killed(BaseException):
        pass

    def die(_: str) -> None:
        raise Killed

    monkeypatch.setattr(migration, "AT_ONCE", 3)
    connection = connect(farm.settings)
    with farm.redis.client() as client:
        with pytest.raises(Killed):
            Migration(connection, 3.0, die).run()
        halfway = dump(client)
        assert halfway["test:schema"] == "1", "the number of the schema comes last"
        migrate(farm)
        resumed = dump(client)
        client.flushall()
        load(LEDGER_01, client, tmp_path)
        migrate(farm)
        assert dump(client) == resumed != halfway


def test_it_waits_for_nobody_to_be_there(farm: Farm) -> None:
    with farm.redis.client() as client:
        now = client.time()[0]
        client.zadd("test:hosts", {"one": now + 60})
        before = dump(client)
        for options in ([], ["--dry-run"]):
            said = farm.command("ledger", "migrate", *options)
            assert said.returncode == 3
            assert said.stderr.startswith("error: workers are running: one\n hint: stop them")
        client.zadd("test:hosts", {"one": now - 60})
        client.set("test:leader", "a supervisor", ex=60)
        for options in ([], ["--dry-run"]):
            said = farm.command("ledger", "migrate", *options)
            assert said.returncode == 3
            assert said.stderr.startswith("error: a supervisor or another migration is running\n")
        assert client.get("test:leader") == "a supervisor"
        client.delete("test:leader")
        client.zadd("test:hosts", {"one": dict(before["test:hosts"])["one"]})
        assert dump(client) == before


def test_the_farm_builds_on(farm: Farm) -> None:
    assert "have no signatures: stagefarm ledger sign" in farm.command("ledger", "migrate").stderr
    refused = farm.command("retry", "bad-0002")
    assert (refused.returncode, "stagefarm ledger sign" in refused.stderr) == (7, True)
    listed = farm.command("ledger", "sign", "--dry-run").stdout
    assert farm.command("ledger", "sign").stdout == listed.replace("\n", ", signed\n")
    assert farm.command("ledger", "sign").stdout == ""
    ledger: Ledger = farm.ledger
    say = farm.command("cancel", "waits-0008")
    assert "waits-0008: cancelled" in say.stdout
    say = farm.command("retry", "bad-0002")
    assert "bad-0002: queued as attempt 2" in say.stdout, say.stderr
    go(farm)
    farm.worker("one", "x86-64bit.haswell", "x86-64bit.generic_64", slots=2)
    builds = [ledger.build(name) for name in ("base-0004", "full-0005", "waits-0007", "bad-0002")]
    records = {record.id: record for record in farm.wait(*builds)}
    assert {name: record.state for name, record in records.items()} == {
        "base-0004": BuildState.SUCCEEDED,
        "full-0005": BuildState.SUCCEEDED,
        "waits-0007": BuildState.SUCCEEDED,
        "bad-0002": BuildState.FAILED,
    }
    assert records["base-0004"].attempt == 3, "what its host held when it was killed is lost"
    lost = ledger.attempts("base-0004")[1]
    assert (lost.how, lost.reason) == ("lost", "the worker on one was started again")
