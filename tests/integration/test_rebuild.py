"""`stagefarm rebuild` on a real farm: the same bytes, or every file that is not the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.trust.policy import host_key
from tests.farm import Farm
from tests.redis_server import RedisServer
from tests.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.root]
EPOCH = 1_700_000_000


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory, seed: Path, can_isolate: None) -> Iterator[Farm]:
    folder = tmp_path_factory.mktemp("farm")
    farm = Farm(folder, seed, RedisServer(folder / "redis"))
    farm.redis.start()
    try:
        farm.worker("one")
        farm.worker("two")
        yield farm
    finally:
        farm.end()


def test_the_same_job_gives_the_same_bytes(farm: Farm) -> None:
    commands = (
        "echo made > /made",
        "mkdir -p /deep/er; ln -s /made /deep/link",
        "rm -r /usr/share",
    )
    (build,) = farm.submit(farm.build(*commands, source_date_epoch=EPOCH))
    (before,) = farm.wait(build)
    said = farm.command("rebuild", build.id)
    assert (said.returncode, said.stdout) == (0, "job.tar: identical\n"), said.stderr
    other = farm.ledger.build(said.stderr.partition(":")[0])
    assert farm.ledger.record(other.id).rebuild_of == build.id
    after = farm.ledger.record(other.id)
    assert other.rebuild_of == build.id
    assert other.source.sha256, "it is bound to the seed"
    assert after.artifacts[0].sha256 == before.artifacts[0].sha256
    assert after.artifacts[0].path != before.artifacts[0].path


def test_another_host_reproduces_a_build_and_its_lineage_says_so(farm: Farm) -> None:
    (build,) = farm.submit(farm.build("echo made > /made", source_date_epoch=EPOCH))
    (before,) = farm.wait(build)
    for _ in range(2):
        said = farm.command("rebuild", build.id, "--other-host", "--json")
        assert said.returncode == 0, said.stderr
        found = json.loads(said.stdout)
        assert found["independent"]
        after = farm.ledger.record(found["rebuild"])
        assert {before.host, after.host} == {"one", "two"}
    shown = farm.command("lineage", build.id, "--json")
    assert shown.returncode == 0, shown.stderr
    (generation,) = json.loads(shown.stdout)["generations"]
    assert generation["reproduced"]
    assert [one["host"]["name"] for one in generation["rebuilds"]] == [after.host] * 2
    assert {one["same_machine"] for one in generation["rebuilds"]} == {True}
    assert generation["origin"] == {"uri": farm.seed.as_uri(), "verified": []}
    table = farm.command("lineage", before.artifacts[0].path.removeprefix("file://"))
    assert table.stdout.splitlines()[-1] == (
        "1 of 1 generation reproduced independently (1 of them on the same machine); "
        f"root seed from {farm.seed.as_uri()}, not verified by its host"
    ), table.stderr


def test_the_host_of_a_build_does_not_take_what_is_for_another(farm: Farm) -> None:
    (build,) = farm.submit(farm.build("true", source_date_epoch=EPOCH))
    (before,) = farm.wait(build)
    other = {"one": "two", "two": "one"}[before.host]
    key = str(host_key(farm.settings_of(before.host)).public)
    farm.command("drain", other)
    said = farm.command("rebuild", build.id, "--other-host")
    assert (said.returncode, said.stdout) == (2, "")
    assert f"no other host than {before.host} serves {build.queue} now" in said.stderr
    (again,) = farm.submit(farm.build("true", not_by=key, rebuild_of=build.id))
    assert eventually(lambda: before.host in farm.ledger.refusals(again.id), 30.0), farm.logs()
    assert "is for another one" in farm.command("why", again.id).stdout
    farm.command("undrain", other)
    assert [record.host for record in farm.wait(again)] == [other]


def test_what_differs_is_told_file_by_file(farm: Farm) -> None:
    (build,) = farm.submit(farm.build("cat /proc/sys/kernel/random/uuid > /stamp; echo x > /same"))
    farm.wait(build)
    said = farm.command("rebuild", build.id, "--ignore-times", "--json")
    assert said.returncode == 1, said.stderr
    (found,) = json.loads(said.stdout)["differences"].values()
    changed = {item["path"]: item["what"] for item in found["files_changed"]}
    assert list(changed.values()) == [["content", "time"]] or list(changed.values()) == [
        ["content"]
    ]
    assert [path.strip("./") for path in changed] == ["stamp"]
    assert not found["files_added"]
    assert not found["files_removed"]
    shown = json.loads(farm.command("lineage", build.id, "--json").stdout)
    assert [one["outcome"] for one in shown["generations"][0]["rebuilds"]] == ["differs"]
    assert shown["reproduced"] == 0


def test_only_what_succeeded_can_be_compared(farm: Farm) -> None:
    (build,) = farm.submit(farm.build("exit 1"))
    farm.wait(build)
    said = farm.command("rebuild", build.id)
    assert said.returncode == 2
    assert said.stderr.startswith(
        f"error: {build.id} is failed, it has no artifacts to compare with"
    )
