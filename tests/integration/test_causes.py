"""The cause of a build that failed on a farm: in its record, in what people see, in the store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tasks.model import Build, BuildState
from tests.farm import Farm
from tests.redis_server import RedisServer

pytestmark = [pytest.mark.redis, pytest.mark.root]

COMPILE = """
echo '>>> Emerging (1 of 1) app-misc/screen-{version}::gentoo'
echo '>>> Compiling source in /var/tmp/portage/app-misc/screen-{version} ...'
echo "{folder}/pty.c:{line}:7: error: implicit declaration of function 'openpty'" >&2
echo 'make: *** [Makefile:{line}: pty.o] Error 1' >&2
exit 1
"""
RULES = """
[[rule]]
name = "ours"
kind = "frob"
match = 'frobnicator: (?P<message>.+)'
example = ["frobnicator: jammed"]
"""


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory, seed: Path, can_isolate: None) -> Iterator[Farm]:
    folder = tmp_path_factory.mktemp("farm")
    (folder / "rules").mkdir()
    (folder / "rules/ours.toml").write_text(RULES)
    farm = Farm(folder, seed, RedisServer(folder / "redis"))
    farm.quick["cause_rules_dir"] = str(folder / "rules")
    farm.redis.start()
    try:
        farm.worker("one", slots=2)
        yield farm
    finally:
        farm.end()


def failed(farm: Farm, *commands: str) -> list[Build]:
    builds = farm.submit(*(farm.build(command) for command in commands))
    assert {record.state for record in farm.wait(*builds)} == {BuildState.FAILED}, farm.logs()
    return builds


def test_a_failed_build_has_its_cause_everywhere(farm: Farm) -> None:
    tonight, last_night = failed(
        farm,
        COMPILE.format(version="5.0.0", folder="/build/a", line=12),
        COMPILE.format(version="5.0.1-r1", folder="../b", line=4711),
    )
    cause = farm.record(tonight).cause
    assert cause
    assert (cause.rule, cause.phase, cause.package) == (
        *("gcc-error", "compile"),
        "app-misc/screen-5.0.0",
    )
    assert cause.message == "implicit declaration of function 'openpty'"
    other = farm.record(last_night).cause
    assert other
    assert other.fingerprint == cause.fingerprint

    line = (
        "compile of app-misc/screen-5.0.0: implicit declaration of function 'openpty'; "
        f"fingerprint {cause.fingerprint}; log lines "
    )
    told = farm.command("why", tonight.id).stdout
    assert f"Its cause: {line}" in told
    assert f">{cause.line:>7} │ /build/a/pty.c:12:7: error: implicit declaration" in told
    (values,) = json.loads(farm.command("status", tonight.id, "--json").stdout)
    assert values["cause"]["fingerprint"] == cause.fingerprint
    assert line in farm.command("status", tonight.id).stdout
    ended = farm.command("follow", tonight.id)
    assert ended.returncode == 1
    assert line in ended.stderr

    kept = Path(urlsplit(farm.record(tonight).url).path)
    record = json.loads((kept / "record.json").read_text())
    assert record["cause"]["fingerprint"] == cause.fingerprint
    log = (kept / "build.log").read_text().splitlines()
    assert log[cause.line - 1].endswith("implicit declaration of function 'openpty'")

    again = farm.command("cause", tonight.id, "--json")
    assert json.loads(again.stdout)["fingerprint"] == cause.fingerprint


def test_a_farm_with_rules_of_its_own(farm: Farm) -> None:
    ours, unknown = failed(farm, "echo frobnicator: jammed; exit 3", "exit 7")
    cause, none = farm.record(ours).cause, farm.record(unknown).cause
    assert cause
    assert (cause.rule, cause.kind, cause.message) == ("ours", "frob", "jammed")
    assert none
    assert (none.rule, none.kind) == ("", "unknown")
    assert none.message == farm.record(unknown).reason


def test_a_retry_forgets_the_cause(farm: Farm) -> None:
    (build,) = failed(farm, "test -e /made-later")
    assert farm.record(build).cause
    farm.ledger.retry(build.id, "request")
    assert farm.record(build).cause is None
