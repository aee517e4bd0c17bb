"""`stagefarm lineage`, as people use it: beside a file, on a copied mirror, at an address."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from orchestrator.cli import cli
from tasks.errors import HostUnfit, StagefarmError, Untrusted
from tasks.results import SeedOrigin
from tasks.settings import current
from tasks.trust.trust_file import add
from tests.origins import ROOT, ROOT_ORIGIN, STAGES_AT, Family, a_job, a_result, digest, with_line
from tests.releases import Served
from tests.trusted import key

RELEASE = str(key("release").public)


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing on it yet."""
    monkeypatch.setenv("STAGEFARM_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("STAGEFARM_TRUST_FILE", str(tmp_path / "trust.toml"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("STAGEFARM_REDIS_URL", "redis://127.0.0.1:1/0")
    current.cache_clear()
    return tmp_path


def lineage(*words: object) -> Result:
    return CliRunner().invoke(cli, ["lineage", *map(str, words)])


def error_of(done: Result) -> StagefarmError:
    assert isinstance(done.exception, StagefarmError), done.exception
    return done.exception


def values(done: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_with_the_release_key_a_file_shows_where_it_comes_from(tmp_path: Path) -> None:
    tarball = Family(rebuilt=(1, 2)).put(tmp_path / "download")
    done = lineage(tarball, "--key", RELEASE)
    assert done.exit_code == 0, done.exception
    rows = done.stdout.splitlines()
    assert len([row for row in rows if "one (says the release)" in row]) == 4
    assert "same bytes on two (says the release)" in rows[2]
    assert "passed" in rows[1]
    assert rows[-2] == f"its job is from {STAGES_AT}"
    assert rows[-1] == (
        "2 of 4 generations reproduced independently; "
        "root seed from https://seeds.example.org/seed.tar.xz, signed by OpenPGP key ABCD"
    )


def test_a_trust_file_says_whose_keys_they_are(tmp_path: Path) -> None:
    tarball = Family(rebuilt=(1,)).put(tmp_path / "download")
    for role, name in (("host", "one"), ("host", "two"), ("submitter", "anna")):
        add(tmp_path / "mine.toml", role, name, str(key(name).public), {})
    done = lineage(tarball, "--trust", tmp_path / "mine.toml", "--key", RELEASE)
    assert done.exit_code == 0
    assert "says the release" not in done.stdout
    assert "1 of 4 generations reproduced" in done.stdout


def test_who_knows_no_key_sees_the_chain_and_is_told_that_it_proves_nothing(tmp_path: Path) -> None:
    done = lineage(Family(rebuilt=(1,)).put(tmp_path / "download"))
    assert "its origin is not shown by signatures that are known here" in str(error_of(done))
    assert error_of(done).exit_code == 7
    assert f"one? ({str(key('one').public)[:20]}…, not known here)" in done.stdout
    assert "0 of 4 generations reproduced independently" in done.stdout


def test_json_says_all_that_the_table_says(tmp_path: Path) -> None:
    done = lineage(Family(rebuilt=(1,)).put(tmp_path / "download"), "--key", RELEASE, "--json")
    found = values(done)
    assert (found["shown"], found["reproduced"], found["broken"]) == (True, 1, None)
    assert [one["number"] for one in found["generations"]] == [0, 1, 2, 3]
    second = found["generations"][1]
    assert second["host"] == {
        "name": "one", "key": str(key("one").public), "standing": "vouched",
    }  # fmt: skip
    assert second["gate"][0]["result"] == "PASSED"
    assert second["rebuilds"][0]["outcome"] == "same"
    assert second["commits"] == [STAGES_AT]
    assert found["end"]["why"] == "root"
    assert found["end"]["origin"] == {"uri": ROOT_ORIGIN.uri, "verified": ["openpgp ABCD"]}


@pytest.mark.parametrize("what", ["tarball", "result", "job", "gate", "rebuilds", "lineage"])
def test_a_changed_file_is_found_and_named(tmp_path: Path, what: str) -> None:
    tarball = Family(rebuilt=(0,)).put(tmp_path / "download")
    other = Family(name="other", rebuilt=(0,)).put(tmp_path / "other")
    endings = {
        "result": "intoto.jsonl", "job": "job.json", "gate": "gate.intoto.jsonl",
        "lineage": "lineage.jsonl",
    }  # fmt: skip
    if what == "tarball":
        tarball.write_bytes(b"changed")
    elif what == "rebuilds":
        file = tarball.with_name(f"{tarball.name}.rebuilds.intoto.jsonl")
        file.write_text(file.read_text().replace('"payload":"', '"payload":"IC'))
    else:
        name = f"{tarball.name}.{endings[what]}"
        shutil.copy(other.with_name(name), tarball.with_name(name))
    done = lineage(tarball, "--key", RELEASE)
    assert error_of(done).exit_code == 7
    number = 1 if what == "lineage" else 0
    assert f"generation {number}: " in str(error_of(done))
    assert f"broken at generation {number}: " in done.stdout


def test_four_generations_with_one_tampered(tmp_path: Path) -> None:
    tarball = Family().put(tmp_path / "download")
    file = tarball.with_name(f"{tarball.name}.lineage.jsonl")
    theirs = json.loads(bytes(Family(name="other").file.splitlines()[2]))
    file.write_bytes(with_line(file.read_bytes(), 2, lambda line: line.update(job=theirs["job"])))
    done = lineage(tarball, "--key", RELEASE, "--json")
    assert values(done)["broken"] == {
        "number": 2, "reason": "the job is not the one that the result is of",
    }  # fmt: skip
    assert len(values(done)["generations"]) == 2
    assert str(error_of(done)).startswith(f"{tarball}: generation 2: the job is not the one")


def test_a_file_without_a_lineage_says_so(tmp_path: Path) -> None:
    tarball = Family().put(tmp_path / "download")
    tarball.with_name(f"{tarball.name}.lineage.jsonl").unlink()
    done = lineage(tarball, "--key", str(key("one").public))
    assert error_of(done).exit_code == 7
    assert "what comes before is not shown: there is no lineage beside it" in done.stdout


def test_a_file_with_nothing_beside_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.tar").write_bytes(b"x")
    assert "nothing beside" in str(error_of(lineage(tmp_path / "s.tar")))


def test_an_address_is_looked_at_without_fetching_the_tarball(tmp_path: Path) -> None:
    Family(rebuilt=(1,)).put(tmp_path / "www/deep er", "shown under another name.tar")
    with Served(tmp_path / "www") as served:
        url = f"{served.url}/deep%20er/shown%20under%20another%20name.tar"
        done = lineage(url, "--key", RELEASE)
        assert done.exit_code == 0, done.exception
        assert "1 of 4 generations reproduced independently" in done.stdout
        assert all("name.tar." in path for _, path in served.requests)
        assert isinstance(error_of(lineage(f"{served.url}/gone.tar")), HostUnfit)
        served.down = True
        assert "cannot fetch" in str(error_of(lineage(url)))


def test_a_server_without_an_end_is_not_read_for_ever(tmp_path: Path) -> None:
    Family().put(tmp_path)
    with (tmp_path / "s.tar.lineage.jsonl").open("wb") as file:
        file.truncate(2**40)
    with Served(tmp_path) as served:
        done = lineage(f"{served.url}/s.tar", "--key", RELEASE)
        assert "larger than" in str(error_of(done))
    done = lineage(tmp_path / "s.tar", "--key", RELEASE)
    assert "has more than" in str(error_of(done))


def test_what_evidence_says_cannot_act_on_the_terminal(tmp_path: Path) -> None:
    family = Family(1)
    evil = "\x1b]0;owned\x07[red]x[/red]\x1b[2J\n"
    origin = SeedOrigin(uri=f"https://x/{evil}", verified=(f"checksums {evil}",))
    job = a_job(f"b-{1}", by="anna", job=evil)
    result = a_result(job, digest(family.contents[0]), seed=ROOT, origin=origin)
    tarball = family.put(tmp_path)
    tarball.with_name("s.tar.intoto.jsonl").write_text(result)
    tarball.with_name("s.tar.job.json").write_text(job.text)
    tarball.with_name("s.tar.lineage.jsonl").unlink()
    done = lineage(tarball)
    assert "\x1b" not in done.stdout
    assert isinstance(error_of(done), Untrusted)
