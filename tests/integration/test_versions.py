"""Builds in the ledger that another version of stagefarm wrote, and this one cannot read."""

from __future__ import annotations

import pytest

from tasks import __version__
from tasks.errors import HostUnfit
from tasks.model import Build, BuildState
from tests.farm import Farm
from tests.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.root]


def garble(farm: Farm, build: Build, version: str | None) -> None:
    """Let the record of `build` be one of another version."""
    client, key = farm.ledger.connection.client, f"test:build:{build.id}"
    assert client.hget(key, "version") == __version__
    client.hset(key, "spec", '{"id": "x"}')
    client.hset(key, "version", version) if version else client.hdel(key, "version")


@pytest.mark.parametrize(("version", "told"), [("9.8.7", "9.8.7"), (None, "0.1.0")])
def test_the_error_says_who_wrote_it_and_what_to_do(
    farm: Farm, version: str | None, told: str
) -> None:
    (build,) = farm.submit(farm.build())
    garble(farm, build, version)
    with pytest.raises(HostUnfit) as caught:
        farm.ledger.build(build.id)
    written = f"build {build.id} was submitted by stagefarm {told}, which this {__version__} cannot"
    assert str(caught.value).startswith(written)
    assert caught.value.hint == f"submit it again, or use {told} here"


def test_a_worker_leaves_it_to_others_and_why_tells(farm: Farm) -> None:
    farm.quick["resend_s"] = 0.5
    strange, lost, good = farm.submit(farm.build(), farm.build(), farm.build())
    garble(farm, strange, "9.8.7")
    garble(farm, lost, "9.8.7")
    client = farm.ledger.connection.client
    (queue,) = client.keys("test:celery:x86-64bit.generic_64*")
    for text in client.lrange(queue, 0, -1):
        if lost.id in text:
            client.lrem(queue, 1, text)
    supervisor = farm.start(["supervisor"])
    farm.worker("one")
    farm.wait(good, state=BuildState.SUCCEEDED)
    why = farm.command("why", strange.id).stdout
    assert "refused it" in why
    assert f"{strange.id} was submitted by stagefarm 9.8.7, which this" in why
    assert farm.record(strange).state is BuildState.QUEUED

    def supervisor_says_so() -> bool:
        return f"build {lost.id} was submitted by stagefarm 9.8.7" in farm.logs()

    assert eventually(supervisor_says_so), farm.logs()
    assert supervisor.poll() is None
    said = farm.command("cancel", strange.id, lost.id)
    assert said.returncode == 0, said.stderr
