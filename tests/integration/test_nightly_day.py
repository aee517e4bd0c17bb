"""The day of docs/nightly.md, command by command: a night, a failure, its message, the mend."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.shipped import shipped
from tests.farm import LIMIT_S, QUICK, Farm
from tests.redis_server import RedisServer
from tests.releases import Served
from tests.told import Told
from tests.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.root, pytest.mark.usefixtures("host_unchanged")]

ROOT = Path(__file__).parents[2]
DAY = (ROOT / "docs/nightly.md").read_text()
DAY = DAY.partition("\n## A day\n")[2].partition("\n## ")[0]
BUILD_SAID = "stage3-minimal-20261127-d8445000"
WRONG = "hook: remove: command not found"


@dataclass
class Person:
    """Somebody who does what the page says."""

    farm: Farm
    folder: Path
    exported: dict[str, str] = field(default_factory=dict)
    build: str = BUILD_SAID

    def do(self, command: str, code: int = 0) -> str:
        """Carry out one command; those of a farm that runs on are the test's own processes."""
        if command.startswith("export "):
            words = command.replace("$PWD", str(self.folder)).split()[1:]
            self.exported |= dict(word.split("=", 1) for word in words)
            os.environ.update(self.exported)
            return ""
        if command == "stagefarm supervisor &":
            self.farm.start(["supervisor"])
            assert eventually(lambda: "nightly" in self._run("stagefarm schedule list").stdout)
            return ""
        said = self._run(command.replace(BUILD_SAID, self.build))
        assert said.returncode == code, command + said.stdout + said.stderr + self.farm.logs()
        return said.stdout

    def _run(self, command: str) -> subprocess.CompletedProcess[str]:
        part = re.match(r"stagefarm (\S+)", command)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = self.farm.environment("tester", part[1] if part else "submit")
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=environment | {"PATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )

    def generations(self) -> int:
        done = self._run("stagefarm release list releases/stages.yaml --json")
        return len(json.loads(done.stdout)) if done.returncode == 0 else 0


@pytest.fixture
def person(
    tmp_path: Path, seed: Path, can_isolate: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Person]:
    folder = tmp_path / "project"
    for name in ("jobs", "hooks"):
        shutil.copytree(shipped(name), folder / name)
    shutil.copy(ROOT / ".gitignore", folder)
    for name, text in re.findall(r"Write `(\S+)`.*?:\n\n((?:    .*\n)+)", DAY):
        (folder / name).write_text(textwrap.dedent(text))
    quick = {**QUICK, "report_s": 1.0}
    farm = Farm(tmp_path, seed, RedisServer(tmp_path / "redis"), quick=quick)
    farm.redis.start()
    jobs = folder / "jobs/demo/stages.yaml"
    with monkeypatch.context() as patched, Served(seed.parent) as served:
        for name in re.findall(r"(STAGEFARM_\w+)=", DAY):
            patched.setenv(name, "")  # so that what the day exports ends with it
            os.environ.pop(name)
        jobs.write_text(
            jobs.read_text().replace(
                "http://127.0.0.1:8000/seed.tar.xz", f"{served.url}/{seed.name}"
            )
        )
        farm.worker("one")
        try:
            yield Person(farm, folder)
        finally:
            farm.end()


def test_the_day_of_the_page(person: Person) -> None:
    commands = re.findall(r"^    # (.*)$", DAY, re.MULTILINE)
    broken, mended = (
        next(at for at, line in enumerate(commands) if word in line)
        for word in ("s/- rm -rf /", "s/- remove -rf /")
    )
    with Told() as people:

        def titles() -> list[str]:
            return [title.partition(": ")[2] for _, title, _ in people.got]

        for command in commands[:broken]:
            if command.startswith("stagefarm release list"):
                assert eventually(lambda: person.generations() == 1, LIMIT_S), person.farm.logs()
            person.do(command.replace("json://127.0.0.1:9000", people.url("a")))
        assert len(people.got) == 1, "the test message"
        for command in commands[broken : mended - 1]:
            if command == "stagefarm notify list":
                assert eventually(lambda: len(people.got) == 2, LIMIT_S), person.farm.logs()
            said = person.do(command, code=1 if command == "stagefarm follow" else 0)
        assert WRONG in said
        assert titles()[1:] == [f"new: 1 stage fails: {WRONG}"]
        text = people.got[1][2]
        (person.build,) = re.findall(r"first bad: (\S+),", text)
        assert "last good: stage3-minimal-" in text
        assert "- hooks: finish.yml (1 of 1)" in text
        assert "remove: command not found" in person.do(commands[mended - 1])
        site = person.folder / "mirror/report"
        assert eventually(lambda: WRONG.partition(": ")[2] in read(site / "causes.html"), LIMIT_S)
        assert person.generations() == 1
        for command in commands[mended:]:
            if command.startswith("stagefarm release list"):
                assert eventually(lambda: person.generations() == 2, LIMIT_S), person.farm.logs()
                assert eventually(lambda: len(people.got) == 3, LIMIT_S), person.farm.logs()
            person.do(command)
        assert titles()[2:] == [f"fixed: {WRONG}"]


def read(page: Path) -> str:
    return page.read_text() if page.exists() else ""
