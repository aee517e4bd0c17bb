"""The supervisor keeps the web site up to date, whatever happens to it, to Redis, to the disk."""

from __future__ import annotations

import html
import json
import os
import re
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from orchestrator.farm.site_reports import SiteReports
from orchestrator.report.folder import OWN
from tasks.host.locks import is_exclusive
from tasks.settings import Settings
from tests.farm import LIMIT_S, Farm
from tests.gating import write_key
from tests.ledgers import a_build
from tests.releases import Shop
from tests.reports import a_shop
from tests.waiting import eventually

pytestmark = pytest.mark.redis

RELEASE = "stages: [{variant: $flavour, max_age: 7d}]\ntargets: [{to: mirror}]\nkey: release.key\n"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A release that is published, and its file in a folder of such."""
    made = a_shop(tmp_path / "releases")
    made.put("a-1")
    made.publish("a-1")
    write_key(made.folder / "release.key", "release")
    (made.folder / "nightly.yaml").write_text(RELEASE)
    return made


@pytest.fixture
def site(farm: Farm, shop: Shop) -> Path:
    """Where the supervisors of the farm write the site."""
    folder = shop.folder / "site"
    farm.quick |= {"report_dir": str(folder), "report_s": 0.1, "release_dir": str(shop.folder)}
    return folder


def status(site: Path) -> dict[str, Any]:
    return dict(json.loads((site / "status.json").read_text()))


def is_true(condition: Callable[[], bool]) -> bool:
    """Whether `condition` becomes true; while there is no such file, it is not."""

    def holds() -> bool:
        try:
            return condition()
        except FileNotFoundError:
            return False

    return eventually(holds, LIMIT_S)


def words(page: Path) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page.read_text())).split())


def test_the_site_follows_the_farm_and_redis(farm: Farm, site: Path) -> None:
    farm.ledger.submit([a_build("b-1", environment={"flavour": "minimal"})])
    farm.start(["supervisor"])
    page = site / "build/b-1.html"
    assert is_true(lambda: "… waiting" in words(page)), farm.logs()
    farm.ledger.cancel("b-1", "enough of it")
    assert is_true(lambda: "enough of it" in words(page)), farm.logs()
    farm.redis.kill()
    assert is_true(lambda: not status(site)["farm"]["current"]), farm.logs()
    index = words(site / "index.html")
    assert "The farm does not answer" in index
    assert "stage3 minimal ● fresh" in index
    assert "enough of it" in words(page)
    farm.redis.start()
    assert is_true(lambda: bool(status(site)["farm"]["current"])), farm.logs()
    assert "The farm does not answer" not in words(site / "index.html")
    assert "report:" not in farm.logs(), "no failure was said"


def test_a_killed_supervisor_leaves_a_whole_site(farm: Farm, site: Path) -> None:
    """A disk that takes nothing is a pipe that nobody reads, in the place of a page."""
    farm.ledger.submit([a_build(f"b-{n}", environment={"flavour": "x"}) for n in range(20)])
    first = farm.start(["supervisor"])
    assert is_true(lambda: bool(status(site)["farm"]["current"])), farm.logs()
    stuck = site / ".status.json.partial"
    assert is_true(lambda: made_pipe(stuck))
    written_at = status(site)["written_at"]
    assert is_true(lambda: is_exclusive(site / OWN / "lock")), farm.logs()
    scanned = last_scan(farm)
    assert is_true(lambda: last_scan(farm) > scanned + 1), "a slow disk delays no scan"
    first.send_signal(signal.SIGKILL)
    assert is_true(lambda: not is_exclusive(site / OWN / "lock")), "its report ends with it"
    stuck.unlink()
    for file in site.rglob("*.html"):
        assert file.read_text().endswith("</html>"), file
    assert status(site)["written_at"] == written_at
    farm.start(["supervisor"])
    assert is_true(lambda: status(site)["written_at"] > written_at), farm.logs()
    assert len(list((site / "build").iterdir())) == 20


def last_scan(farm: Farm) -> float:
    with farm.redis.client() as client:
        return float(str(client.hget(f"{farm.prefix}:watch", "last") or 0))


def made_pipe(path: Path) -> bool:
    """Whether a pipe could be made there; not while a report is just writing that file."""
    with suppress(FileExistsError):
        os.mkfifo(path)
        return True
    return False


def test_a_failure_is_said_once(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    values = {
        "report_dir": str(tmp_path), "release_dir": str(shop.folder), "report_s": 60.0,
        "state_dir": str(tmp_path / "state"), "redis_url": "redis://127.0.0.1:1/0",
    }  # fmt: skip
    for name, value in values.items():
        monkeypatch.setenv(f"STAGEFARM_{name.upper()}", str(value))
    said: list[str] = []
    reports = SiteReports(Settings(**values), said.append)  # type: ignore[arg-type]
    reports.write()
    reports.write()
    assert len(said) == 1
    assert said[0].startswith(f"report: error: {tmp_path} is not empty, and no report;")
    (tmp_path / OWN).mkdir()
    reports.write()
    assert said[1:] == [f"report: {tmp_path} is written again"]
    assert not status(tmp_path)["farm"]["current"]


def test_without_release_files_there_is_no_site(tmp_path: Path) -> None:
    said: list[str] = []
    settings = Settings(report_dir=str(tmp_path / "site"), release_dir=str(tmp_path))
    reports = SiteReports(settings, said.append)
    reports.write()
    reports.write()
    assert said == [f"report: there are no release files (*.yaml) in {tmp_path}"]
    assert not (tmp_path / "site").exists()
