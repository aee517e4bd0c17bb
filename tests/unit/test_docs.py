"""What the documents promise is there, and what is there is in the documents."""

from __future__ import annotations

import re
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import click
import pytest

from orchestrator.cli import SECTIONS, cli
from tasks.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
COMMANDS = {name: place for section in SECTIONS.values() for name, place in section.items()}


@pytest.mark.parametrize("setting", [item.name for item in fields(Settings)])
def test_every_setting_is_in_the_readme(setting: str) -> None:
    assert f"`{setting}`" in README


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_readme_and_explains_itself(name: str) -> None:
    assert re.search(rf"`{name}[ `]", README)
    place, line = COMMANDS[name]
    module, _, attribute = place.partition(":")
    command = getattr(import_module(module), attribute)
    assert command.get_short_help_str(200) == line
    with click.Context(cli) as context:
        help_text = command.get_help(click.Context(command, parent=context))
    if not isinstance(command, click.Group):
        assert "Example" in help_text, f"{name} --help has no example"


def options_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))


def test_every_option_that_the_readme_names_is_there() -> None:
    known = {"--bind", "--directory", "--dir"}  # of python3 -m http.server, and redis-server
    for place, _ in COMMANDS.values():
        module, _, attribute = place.partition(":")
        command = getattr(import_module(module), attribute)
        known |= {name for option in command.params for name in option.opts}
    assert options_in(README) - known == {"--help"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []
