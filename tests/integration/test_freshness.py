"""Contracts from a release file and its mirror: the order of what is submitted, and what
`stagefarm freshness` shows of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import run
from orchestrator.farm.contracts import find_orders
from orchestrator.farm.submit import submit
from tasks.app import make_app
from tasks.ledger.answers import ClaimedAttempt
from tasks.ledger.builds import Ledger
from tasks.ledger.hosts import Hosts
from tasks.ledger.order import FAR_S, UNKNOWN_S, patience_s
from tasks.ledger.queues import Queues
from tasks.ledger.schedules import Schedules
from tasks.model import Build
from tasks.settings import Settings, current
from tests.gating import write_key
from tests.ledgers import LONG_S, ONE, QUEUE, a_build
from tests.redis_server import RedisServer
from tests.releases import DAY_S, Shop
from tests.reports import CONTRACT

pytestmark = pytest.mark.redis

RELEASE = """
name: nightly
stages:
  - {variant: $flavour, max_age: 7d}
targets:
  - to: ../mirror
key: ../release.key
"""


@dataclass(frozen=True, slots=True)
class Scene:
    """A release whose mirror shows two stages: one is a day old, one is eight days old."""

    shop: Shop
    settings: Settings
    ledger: Ledger

    @property
    def file(self) -> Path:
        return Path(self.settings.release_dir, "nightly.yaml")

    def orders(self, *builds: Build) -> dict[str, Any]:
        return find_orders(builds, self.ledger, self.settings)


@pytest.fixture
def scene(
    tmp_path: Path, server: RedisServer, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    shop = Shop(tmp_path, stages=(CONTRACT,), now=time.time() - 3600.0)
    shop.put("b-young", "young", at=shop.now - DAY_S)
    shop.put("b-old", "old", at=shop.now - 8 * DAY_S)
    shop.publish("b-young", "b-old")
    (tmp_path / "releases").mkdir()
    (tmp_path / "releases/nightly.yaml").write_text(RELEASE)
    write_key(tmp_path / "release.key", "release")
    given = {
        "redis_url": server.url,
        "key_prefix": "t",
        "state_dir": str(tmp_path / "state"),
        "release_dir": str(tmp_path / "releases"),
        "store_url": shop.store.as_uri(),
    }
    for name, value in given.items():
        monkeypatch.setenv(f"STAGEFARM_{name.upper()}", value)
    current.cache_clear()
    yield Scene(shop, Settings(**given), ledger)  # type: ignore[arg-type]
    current.cache_clear()


def of(flavour: str, **changes: object) -> Build:
    given = {"job": "stage3", "release": "nightly", **changes}
    environment = {"flavour": flavour} if flavour else {}
    return a_build(f"new-{flavour}", environment=environment, **given)


# The order of what is submitted


def test_what_users_have_and_the_contract_give_the_latest_start(scene: Scene) -> None:
    orders = scene.orders(of("young"), of("old"), of("new"))
    ages = {"young": 1, "old": 8}
    for flavour, days in ages.items():
        order = orders[f"new-{flavour}"]
        built_at = scene.shop.now - 3600.0 - days * DAY_S
        assert (round(order.published_at - built_at), order.max_age_s) == (0, 7 * DAY_S)
        assert order.latest == order.published_at + 7 * DAY_S - UNKNOWN_S
        assert order.patience_s == FAR_S
    assert orders["new-new"].published_at == 0.0
    assert orders["new-new"].latest == 7 * DAY_S - UNKNOWN_S


def test_a_batch_is_queued_by_slack(scene: Scene) -> None:
    """The one that is late first, though it was named last."""
    builds = [of("plain", release="", batch="b"), of("young", batch="b"), of("old", batch="b")]
    app = make_app(lambda: scene.settings)
    done = submit(builds, ledger=scene.ledger, app=app, settings=scene.settings)
    by_slack = ["new-old", "new-plain", "new-young"]  # without contract two days of patience
    assert [one.build for one in Queues(scene.ledger.connection).waiting(QUEUE)] == by_slack
    assert [build.id for build in done] == ["new-old", "new-young", "new-plain"]


def test_a_batch_may_have_a_contract_of_its_own(scene: Scene) -> None:
    order = scene.orders(of("young", max_age_s=DAY_S))["new-young"]
    assert order.max_age_s == DAY_S
    assert round(order.published_at - scene.shop.now + 3600.0 + DAY_S) == 0


def test_without_a_release_what_succeeded_last_is_what_users_have(scene: Scene) -> None:
    done = of("plain", release="")
    scene.ledger.submit([done])
    claim = ClaimedAttempt(done.id, 1, ONE)
    scene.ledger.claim(claim, LONG_S)
    scene.ledger.finish(claim, (), "")
    orders = scene.orders(of("plain", release="", max_age_s=DAY_S))
    assert abs(orders["new-plain"].published_at - scene.ledger.now()) < 60
    assert scene.orders(of("plain", release=""))["new-plain"].max_age_s == 0


@pytest.mark.parametrize("broken", ["mirror", "key", "file", "no option"])
def test_what_cannot_be_known_presses_nobody(
    scene: Scene, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    match broken:
        case "mirror":
            (scene.shop.mirror / "stable.json").write_text("{}")
        case "key":
            scene.file.write_text(RELEASE.replace("key: ../release.key", ""))
        case "file":
            scene.file.write_text("stages: 5")
    order = scene.orders(of("" if broken == "no option" else "old"))
    (found,) = order.values()
    assert (found.max_age_s, found.latest) == (0, FAR_S)
    assert found.patience_s == patience_s(0)
    warned = "builds are queued as without contract: nightly.yaml: " in caplog.text
    assert warned is (broken != "no option")
    assert not list(Path(scene.settings.state_dir).rglob("release.key")), "no key is made"


def test_a_release_that_is_not_here_and_a_rebuild_have_none(scene: Scene) -> None:
    elsewhere = of("old", release="elsewhere")
    again = replace(of("young", rebuild_of="b-young"), id="again")
    assert [order.max_age_s for order in scene.orders(elsewhere, again).values()] == [0, 0]


def test_the_slots_of_hosts_that_are_there_share_the_cost(scene: Scene) -> None:
    hosts = Hosts(scene.ledger.connection)
    hosts.register(ONE, 3, {"queues": QUEUE, "slots": 3})
    hosts.register(replace(ONE, host="two"), 3, {"queues": f"{QUEUE} other", "slots": 2})
    hosts.register(replace(ONE, host="gone"), 3, {"queues": QUEUE, "slots": 9})
    hosts.mark_left(replace(ONE, host="gone"))
    assert scene.orders(of("old"))["new-old"].cost_s == UNKNOWN_S / 5


# What is shown


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run(["freshness", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_stages_are_shown_by_slack_with_what_comes_next(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    queued = replace(of("old", variant="flavour=old"), id="stage3-old-1")
    orders = scene.orders(queued)
    scene.ledger.submit([a_build("first", batch="x"), queued], orders=orders)
    night = replace(of("young", batch="night-20261127T0130Z"), id="stage3-young-1")
    scene.ledger.submit([night])
    scene.ledger.cancel(night.id, "enough")
    lines = '[{"cron": "30 1 * * *"}]'
    Schedules(scene.ledger.connection).see("nightly", {"batch": "night", "lines": lines})
    code, out, err = shown(capsys)
    assert (code, err) == (0, "")
    titles, old, young = out.splitlines()
    assert titles.split()[:3] == ["stage", "queue", "state"]
    assert old.startswith(f"stage3 old    {QUEUE}  ▲ stale")
    age, max_age, slack = old.split()[5:8]
    assert (age, max_age, slack[:4]) == ("8d01h", "7d00h", "-26h")
    assert old.rstrip().endswith("stage3-old-1 is queued, the next to start")
    assert "● fresh" in young
    assert ", due 20" in young
    assert "T0130Z" in young


def test_a_broken_contract_fails_the_check_alone(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(capsys, str(scene.file))[0] == 0
    assert shown(capsys, "--check")[0] == 1
    scene.shop.put("b-new", "old")
    scene.shop.publish("b-new")
    code, out, _ = shown(capsys, "--check", "--json")
    assert code == 0
    found = {one["variant"]: one for one in json.loads(out)}
    assert [found[name]["is_broken"] for name in ("old", "young")] == [False, False]
    assert found["young"]["slack_s"] == pytest.approx(6 * DAY_S - 2 * 3600, abs=600)
    assert found["young"]["next"] == {"what": "nothing", "name": "", "at": 0.0}


def test_without_redis_the_mirrors_are_shown(
    scene: Scene, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAGEFARM_REDIS_URL", "redis://127.0.0.1:1/0")
    current.cache_clear()
    code, out, err = shown(capsys, "--check")
    assert code == 1
    assert "what comes next is not known" in err
    assert len(out.splitlines()) == 3


def test_no_release_file_is_one_clear_error(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    scene.file.unlink()
    code, _, err = shown(capsys)
    assert (code, "has no release file" in err) == (2, True)
