"""`stagefarm rebuild` on a real farm: the same bytes, or every file that is not the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.farm import Farm
from tests.redis_server import RedisServer

pytestmark = [pytest.mark.redis, pytest.mark.root]
EPOCH = 1_700_000_000


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory, seed: Path, can_isolate: None) -> Iterator[Farm]:
    folder = tmp_path_factory.mktemp("farm")
    farm = Farm(folder, seed, RedisServer(folder / "redis"))
    farm.redis.start()
    try:
        farm.worker("one")
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
    after = farm.ledger.record(other.id)
    assert other.rebuild_of == build.id
    assert other.source.sha256, "it is bound to the seed"
    assert after.artifacts[0].sha256 == before.artifacts[0].sha256
    assert after.artifacts[0].path != before.artifacts[0].path


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


def test_only_what_succeeded_can_be_compared(farm: Farm) -> None:
    (build,) = farm.submit(farm.build("exit 1"))
    farm.wait(build)
    said = farm.command("rebuild", build.id)
    assert said.returncode == 2
    assert said.stderr.startswith(
        f"error: {build.id} is failed, it has no artifacts to compare with"
    )
