"""`stagefarm keys`, as people use it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli import cli
from tasks.errors import BadInput
from tasks.settings import current
from tasks.trust.keys import PublicKey, read_key
from tests.trusted import key

ANNA = str(key("anna").public)


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing on it yet."""
    monkeypatch.setenv("STAGEFARM_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("STAGEFARM_TRUST_FILE", str(tmp_path / "etc/trust.toml"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    current.cache_clear()
    return tmp_path


def keys(*words: str, **options: object) -> Result:
    return CliRunner().invoke(cli, ["keys", *words], catch_exceptions=False, **options)  # type: ignore[arg-type]


def test_keys_are_made_when_they_are_shown_and_stay(machine: Path) -> None:
    first, second = keys("show"), keys("show")
    assert first.output == second.output
    shown = dict(line.split() for line in first.output.splitlines())
    assert PublicKey.parse(shown["submitter"])
    assert json.loads(keys("show", "--json").output) == shown


def test_a_new_key_can_have_a_passphrase(machine: Path) -> None:
    file = machine / "my.key"
    done = keys("new", "--file", str(file), "--passphrase", input="sesame\nsesame\n")
    assert str(read_key(file, "sesame").public) in done.stdout
    assert f"the private key is in {file}" in done.stderr
    with pytest.raises(BadInput, match="exists"):
        keys("new", "--file", str(file))


def test_who_is_trusted_is_listed_with_rights_and_state(machine: Path) -> None:
    keys("trust", "submitter", ANNA, "--name", "anna", "--queue", "x86.*", "--outer-hooks",
         "--accept-findings", "--path", "/srv/work", "--until", "2020-01-31")  # fmt: skip
    done = keys("trust", "host", str(key("one").public), "--name", "builder7")
    assert done.output == f"builder7 is trusted as a host, see {machine}/etc/trust.toml\n"
    listed = keys("list").output
    for word in ("anna", "x86.*", "outer_hooks", "was valid until 2020-01-31", "builder7"):
        assert word in listed
    told = json.loads(keys("list", "--json").output)
    assert told["submitter"][0] == {
        "name": "anna", "key": ANNA, "queues": ["x86.*"], "until": "2020-01-31", "revoked": False,
        "outer_hooks": True, "host_privileges": False, "accept_findings": True,
        "paths": ["/srv/work"],
    }  # fmt: skip


def test_without_a_trust_file_the_list_says_so(machine: Path) -> None:
    keys("show")
    done = keys("list")
    assert "this machine trusts its own keys" in done.stderr
    assert "this machine" in done.stdout


def test_redis_is_said_to_be_trusted(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGEFARM_TRUST", "redis")
    current.cache_clear()
    assert "nothing is verified" in keys("list").output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("trust", "submitter", "ed25519:x", "--name", "a"), "is not a public key"),
        (("trust", "host", ANNA, "--name", "a", "--outer-hooks"), "--outer-hooks is a right of"),
        (("trust", "host", ANNA, "--name", "a", "--path", "/"), "--path is a right of submitters"),
        (("revoke", "nobody"), "has no key or name nobody"),
    ],
)
def test_mistakes_are_told(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        keys(*words)


def test_a_key_is_revoked_by_its_owners_name() -> None:
    keys("trust", "submitter", ANNA, "--name", "anna")
    assert keys("revoke", "anna").output == f"{ANNA} of anna is revoked\n"
    assert "was revoked" in keys("list").output
