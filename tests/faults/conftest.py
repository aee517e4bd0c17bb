"""A farm to break, and what must be true of it afterwards."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from orchestrator.display.table import stage_of
from tasks.model import Build, BuildState
from tests.farm import Farm, processes_with
from tests.waiting import eventually

ENDS = {str(state) for state in BuildState if state.ended}


@pytest.fixture
def settled(farm: Farm) -> Callable[..., None]:
    """Checks that `builds` have ended exactly once in `state`, and that nothing else is left."""
    return settled_check(farm)


def settled_check(farm: Farm) -> Callable[..., None]:
    def check(*builds: Build, state: BuildState = BuildState.SUCCEEDED) -> None:
        records = farm.wait(*builds)
        wrong = {r.id: stage_of(r) for r in records if r.state is not state}
        assert not wrong, farm.logs()
        ended_once(farm, *builds)
        published_once(farm, *builds)
        nothing_left(farm)

    return check


def ended_once(farm: Farm, *builds: Build) -> None:
    events = farm.ledger.connection.client.xrange("test:events")
    ends = Counter(fields["build"] for _, fields in events if fields["event"] in ENDS)
    assert {build.id: ends[build.id] for build in builds} == {build.id: 1 for build in builds}


def published_once(farm: Farm, *builds: Build) -> None:
    """A build that succeeded has one whole artifact, at its last attempt; others have none."""
    for record in farm.ledger.records(build.id for build in builds):
        there = sorted((farm.store / (record.batch or record.id) / record.id).rglob("*.tar"))
        told = [Path(urlsplit(artifact.path).path).resolve() for artifact in record.artifacts]
        if record.state is BuildState.SUCCEEDED:
            assert there == told, record
            assert told[0].parent.name == str(record.attempt)
            digest = hashlib.sha256(told[0].read_bytes()).hexdigest()
            assert digest == record.artifacts[0].sha256
        else:
            assert there == []
    assert not list(farm.store.rglob("*.partial"))


def nothing_left(farm: Farm) -> None:
    homes = farm.folder / "hosts"
    assert eventually(lambda: not list(homes.glob("*/builds/*"))), farm.logs()
    client = farm.ledger.connection.client
    assert eventually(lambda: not client.zcard("test:leases")), client.zrange("test:leases", 0, -1)
    assert eventually(lambda: not list(client.scan_iter("test:host:*:builds")))
    assert eventually(lambda: not processes_with(str(farm.folder / "workspace")))
