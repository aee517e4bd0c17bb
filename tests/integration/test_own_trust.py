"""A farm without a trust file: one machine trusts itself, several are told what to do."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.farm.submit import submit
from tasks.model import Build, BuildState
from tasks.settings import Settings
from tasks.trust.policy import submit_key
from tests.farm import Farm
from tests.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.root]


def without_file(**values: str) -> list[str]:
    """Words that start a program on a machine without a trust file."""
    given = {"TRUST_FILE": "/nonexistent/trust.toml", **values}
    return ["env", *(f"STAGEFARM_{name}={value}" for name, value in given.items())]


def submitted_on(farm: Farm, host: str) -> Build:
    """A build that was submitted on the machine `host`, as root."""
    here = replace(farm.settings_of(host), trust_file="/nonexistent/trust.toml")
    (build,) = submit([farm.build("true")], ledger=farm.ledger, app=farm.app, settings=here)
    return build


def test_a_machine_builds_what_was_submitted_on_it(farm: Farm) -> None:
    farm.worker("one", within=without_file())
    (record,) = farm.wait(submitted_on(farm, "one"))
    assert record.state is BuildState.SUCCEEDED, farm.logs()


def test_several_machines_are_told_in_one_line_what_to_do(farm: Farm) -> None:
    farm.worker("one", within=without_file())
    build = submitted_on(farm, "two")
    assert eventually(lambda: farm.ledger.refusals(build.id), 30.0), farm.logs()
    said = farm.command("why", build.id).stdout
    assert "not signed with a key that this machine trusts" in said
    assert "stagefarm keys trust submitter KEY" in said
    (line,) = [line for line in farm.logs().splitlines() if line.startswith("warning: no /nonex")]
    assert "only what this machine signs is built here; for others: stagefarm keys trust" in line


def test_redis_can_be_trusted_and_the_worker_warns(farm: Farm) -> None:
    farm.worker("one", within=without_file(TRUST="redis"))
    here = replace(farm.settings_of("two"), trust="redis")
    (build,) = submit([farm.build("true")], ledger=farm.ledger, app=farm.app, settings=here)
    (record,) = farm.wait(build)
    assert record.state is BuildState.SUCCEEDED, farm.logs()
    assert farm.ledger.signed(build.id)[1] == "[]"
    assert 'warning: trust = "redis": whoever can write' in farm.logs()


def test_processes_that_need_a_key_at_once_get_the_same(tmp_path: Path) -> None:
    here = Settings(state_dir=str(tmp_path))
    readers = []
    for _ in range(8):
        read, write = os.pipe()
        if not os.fork():
            os.write(write, submit_key(here).public.raw)
            os._exit(0)
        os.close(write)
        readers.append(read)
    found = {os.read(read, 32) for read in readers}
    for read in readers:
        os.close(read)
        os.wait()
    assert found == {submit_key(here).public.raw}
