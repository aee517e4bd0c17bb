"""The users of Flower's page: what a file of them may hold, and where a login is wanted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.cli import run
from orchestrator.farm.flower_users import is_loopback, read_users
from tasks.errors import BadInput


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "users"
    file.touch(mode=0o600)
    return file


def test_a_line_is_a_user(file: Path) -> None:
    file.write_text("# who may look\n\nada:pass word:with,signs \r\nbob:x\n")
    assert read_users(file) == ("ada:pass word:with,signs ", "bob:x")
    file.chmod(0o640)
    assert read_users(file)[1] == "bob:x"


@pytest.mark.parametrize("mode", [0o644, 0o620, 0o604, 0o602, 0o666])
def test_a_file_that_others_can_read_or_change_is_refused(file: Path, mode: int) -> None:
    file.write_text("ada:secret\n")
    file.chmod(mode)
    with pytest.raises(BadInput, match=f"mode {mode:04o}") as caught:
        read_users(file)
    assert caught.value.hint.startswith(f"chmod 600 {file}")


@pytest.mark.parametrize(
    "line", ["ada", ":secret", "ada:", "ada:gehe\u00edm", "ada:se\x00cret", "ada:se\tcret"]
)
def test_a_line_that_is_no_user_is_named_but_not_shown(file: Path, line: str) -> None:
    file.write_text(f"bob:x\n{line}\n")
    with pytest.raises(BadInput, match=f"^{re.escape(str(file))}:2: not a user") as caught:
        read_users(file)
    assert "secret" not in str(caught.value)


def test_a_user_can_be_there_only_once(file: Path) -> None:
    file.write_text("ada:one\nada:two\n")
    with pytest.raises(BadInput, match=":2: ada is there twice"):
        read_users(file)


def test_a_file_that_has_no_user_is_not_taken_for_no_login(file: Path) -> None:
    file.write_text("# none yet\n")
    with pytest.raises(BadInput, match="has no user"):
        read_users(file)
    with pytest.raises(BadInput, match="No such file"):
        read_users(file.with_name("none"))


@pytest.mark.parametrize(
    ("address", "alone"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("localhost", True),
        ("", False),
        ("0.0.0.0", False),  # that is what is asked about
        ("::", False),
        ("0", False),
        ("192.0.2.7", False),
    ],
)
def test_which_addresses_are_this_machine_alone(address: str, alone: bool) -> None:
    assert is_loopback(address) is alone


@pytest.mark.parametrize("address", ["0.0.0.0", "", "::"])
def test_others_are_let_in_only_by_a_login_or_an_option(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["flower", "--address", address]) == 2
    said = capsys.readouterr().err
    assert "the page would be open to all who can reach it" in said
    assert "--auth-file FILE" in said


def test_a_login_and_none_exclude_each_other(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["flower", "--auth-file", str(file), "--no-auth"]) == 2
    assert "exclude each other" in capsys.readouterr().err
