"""The files in deploy/: units that systemd takes, commands and settings that are there."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import textwrap
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import click
import pytest
import yaml

from orchestrator.cli import SECTIONS
from tasks.settings import PREFIX, Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
SERVICES = sorted(DEPLOY.glob("systemd/*.service"))
TIMERS = sorted(DEPLOY.glob("systemd/*.timer"))
DOCUMENT = DEPLOY.parent / "docs" / "farm.md"
ACL_FILE = DEPLOY / "redis/stagefarm.acl"
ACL = ACL_FILE.read_text()
USERS = dict(re.findall(r"^user (\S+) (.+)$", ACL, re.MULTILINE))
PARTS = {"S": "submitter", "W": "worker", "V": "supervisor", "F": "flower", "M": "monitoring"}


def check_words(words: list[str]) -> None:
    """That `words`, after `stagefarm`, are a command and its options."""
    places = {name: place for section in SECTIONS.values() for name, (place, _) in section.items()}
    module, _, attribute = places[words[0]].partition(":")
    command: click.Command = getattr(import_module(module), attribute)
    known = {name for option in command.params for name in option.opts}
    assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_a_unit_starts_a_command_that_is_there(unit: Path) -> None:
    (line,) = re.findall(r"^ExecStart=/usr/bin/stagefarm (.+)$", unit.read_text(), re.MULTILINE)
    check_words(shlex.split(line))


def complaints(folder: Path, *names: str) -> list[str]:
    """What systemd has to say against the units in `folder` of these names."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze")
    for service in folder.glob("*.service"):
        service.write_text(service.read_text().replace("/usr/bin/stagefarm", "/bin/true"))
    words = ["systemd-analyze", "verify", "--man=no", *(str(folder / name) for name in names)]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stderr
    ours = [line for line in said.splitlines() if "stagefarm-" in line]
    return [line for line in ours if "DelegateSubgroup" not in line]  # since systemd 254


def as_started(unit: Path) -> str:
    """The name of `unit` as one starts it: a template, for something."""
    return unit.name.replace("@.", "@nightly.")


@pytest.mark.parametrize("unit", [*SERVICES, *TIMERS], ids=lambda unit: unit.name)
def test_systemd_takes_the_unit(unit: Path, tmp_path: Path) -> None:
    for file in (*SERVICES, *TIMERS):
        shutil.copy(file, tmp_path / as_started(file))
    assert complaints(tmp_path, as_started(unit)) == []


def test_systemd_takes_the_way_to_be_told_of_failures(tmp_path: Path) -> None:
    blocks = re.findall(r"(?:^    .*\n|^\n)+", DOCUMENT.read_text(), re.MULTILINE)
    edited, telling = (textwrap.dedent(block) for block in blocks if "    [Unit]\n" in block)
    batch = DEPLOY / "systemd" / "stagefarm-batch@.service"
    (tmp_path / "stagefarm-batch@nightly.service").write_text(edited + batch.read_text())
    (tmp_path / "stagefarm-failed@nightly.service").write_text(
        telling.replace("| mail", "| /bin/true")
    )
    names = ("stagefarm-batch@nightly.service", "stagefarm-failed@nightly.service")
    assert complaints(tmp_path, *names) == []


def test_a_timer_starts_a_service_that_is_there() -> None:
    assert {timer.stem for timer in TIMERS} <= {service.stem for service in SERVICES}
    assert [timer.stem for timer in TIMERS] == ["stagefarm-batch@"]


def test_only_the_worker_runs_as_root() -> None:
    as_root = {unit.stem for unit in SERVICES if "\nUser=stagefarm\n" not in unit.read_text()}
    assert as_root == {"stagefarm-worker"}


def rules_in(text: str) -> set[str]:
    """The rules of a user: those in brackets as they are, the others one by one."""
    brackets = re.findall(r"\([^)]+\)", text)
    return {*brackets, *re.sub(r"\([^)]+\)", "", text).split()}


def test_each_right_in_redis_is_explained() -> None:
    rows = re.findall(
        r"^\| `(.+)` \| ([SWVFM ]+) \| (.+) \|$",
        (DOCUMENT.parent / "redis.md").read_text(),
        re.MULTILINE,
    )
    explained: dict[str, set[str]] = {user: set() for user in PARTS.values()}
    for rule, who, why in rows:
        assert why
        for letter in who.split():
            explained[PARTS[letter]] |= rules_in(rule.replace("\\|", "|"))
    for user, rules in explained.items():
        (given,) = re.findall(r" resetkeys resetchannels (.+)", USERS[user])
        assert rules_in(given.replace("stagefarm:", "")) == rules, user


def test_nobody_comes_to_redis_without_a_name_and_a_password() -> None:
    assert USERS.keys() == {"default", "admin", *PARTS.values()}
    assert USERS.pop("default") == "off"
    passwords = [re.findall(r"^on >(change-\S+) ", rules) for rules in USERS.values()]
    assert len({password for (password,) in passwords}) == len(USERS)


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_a_unit_says_how_to_be_the_user_of_its_command(unit: Path) -> None:
    text = unit.read_text()
    (command,) = re.findall(r"^ExecStart=/usr/bin/stagefarm (\S+)", text, re.MULTILINE)
    user = {"submit": "submitter"}.get(command, command)
    assert f"#   STAGEFARM_REDIS_URL=rediss://{user}@" in text
    assert f"#   STAGEFARM_REDIS_PASSWORD_FILE=/etc/stagefarm-redis/{user}\n" in text
    assert re.search(r"^EnvironmentFile=-?/etc/default/stagefarm-", text, re.MULTILINE)


def test_the_compose_file_runs_commands_and_settings_that_are_there() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    ours = {name: service for name, service in services.items() if "build" in service}
    assert ours.keys() == {"supervisor", "flower", "worker"}
    known = {PREFIX + item.name.upper() for item in fields(Settings)}
    for service in ours.values():
        check_words(service["command"])
        assert service["environment"].keys() <= known
        user = service["command"][0]
        password = re.findall(r"^on >(\S+)", USERS[user])[0]
        url = f"redis://{user}:{password}@redis:6379/0"
        assert service["environment"]["STAGEFARM_REDIS_URL"] == url
    server = services["redis"]
    assert f"./redis/{ACL_FILE.name}:{server['command'][2]}:ro" in server["volumes"]
    assert server["command"][1] == "--aclfile"
