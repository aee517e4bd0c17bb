"""The files in deploy/: units that systemd takes, commands and settings that are there."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import click
import pytest
import yaml

from orchestrator.cli import SECTIONS
from tasks.settings import PREFIX, Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted(DEPLOY.glob("systemd/*.service"))


def check_words(words: list[str]) -> None:
    """That `words`, after `stagefarm`, are a command and its options."""
    places = {name: place for section in SECTIONS.values() for name, (place, _) in section.items()}
    module, _, attribute = places[words[0]].partition(":")
    command: click.Command = getattr(import_module(module), attribute)
    known = {name for option in command.params for name in option.opts}
    assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_starts_a_command_that_is_there(unit: Path) -> None:
    (line,) = re.findall(r"^ExecStart=/usr/bin/stagefarm (.+)$", unit.read_text(), re.MULTILINE)
    check_words(shlex.split(line))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_takes_the_unit(unit: Path, tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze")
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/usr/bin/stagefarm", "/bin/true"))
    words = ["systemd-analyze", "verify", "--man=no", str(copy)]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stderr
    unknown = [line for line in said.splitlines() if copy.name in line]
    assert [line for line in unknown if "DelegateSubgroup" not in line] == []  # systemd 254


def test_the_compose_file_runs_commands_and_settings_that_are_there() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    ours = {name: service for name, service in services.items() if "build" in service}
    assert ours.keys() == {"supervisor", "flower", "worker"}
    known = {PREFIX + item.name.upper() for item in fields(Settings)}
    for service in ours.values():
        check_words(service["command"])
        assert service["environment"].keys() <= known
