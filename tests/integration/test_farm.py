"""Builds on real workers: which host runs which step, what is left, what people see."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tasks.model import BuildState
from tests.farm import Farm
from tests.redis_server import RedisServer

pytestmark = [pytest.mark.redis, pytest.mark.root]


@pytest.fixture
def farm(tmp_path: Path, seed: Path, can_isolate: None, host_unchanged: None) -> Iterator[Farm]:
    pytest.importorskip("tasks.perform")
    farm = Farm(tmp_path, seed, RedisServer(tmp_path / "redis"))
    farm.redis.start()
    try:
        yield farm
    finally:
        farm.end()


def test_a_build_becomes_an_artifact_in_the_store(farm: Farm) -> None:
    farm.worker("one")
    (build,) = farm.submit(farm.build("echo hello > /made"))
    (record,) = farm.wait(build)
    assert record.state is BuildState.SUCCEEDED, farm.logs()
    (artifact,) = record.artifacts
    file = Path(urlsplit(artifact.path).path)
    assert file == farm.store / build.id / build.id / "1" / "job.tar"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == artifact.sha256
    assert sorted(path.name for path in file.parent.iterdir()) == [
        "build.log", "job.tar", "record.json",
    ]  # fmt: skip
