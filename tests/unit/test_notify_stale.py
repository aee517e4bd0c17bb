"""What is older than its contract, as the mirrors show it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from orchestrator.farm.observer import RELEASES_S, Observer
from orchestrator.notify.incidents import Situation
from orchestrator.notify.memory import Memory
from tasks.ledger.builds import Ledger
from tasks.settings import Settings
from tests.gating import write_key
from tests.releases import DAY_S, Shop
from tests.reports import a_shop

RELEASE = """
stages: [{variant: $flavour, max_age: 7d}]
targets: [{to: %s}]
key: release.key
"""


@dataclass
class NoFarm:
    """Nothing has ended, nobody is there."""

    connection: object = None


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = a_shop(tmp_path)
    shop.put("old-1")
    shop.publish("old-1")
    (tmp_path / "releases").mkdir()
    write_key(tmp_path / "releases/release.key", "release")
    (tmp_path / "releases/nightly.yaml").write_text(RELEASE % (tmp_path / "mirror"))
    return shop


def observer(shop: Shop, said: list[str]) -> Observer:
    settings = Settings(
        state_dir=str(shop.folder / "state"), release_dir=str(shop.folder / "releases")
    )
    return Observer(settings, cast(Ledger, NoFarm()), lambda _, text: said.append(text))


def names(found: dict[str, Situation]) -> dict[str, list[str]]:
    return {key: [member.name for member in one.members] for key, one in found.items()}


def test_what_is_older_than_its_contract_is_seen(shop: Shop) -> None:
    said: list[str] = []
    looking = observer(shop, said)
    looking.look_at_releases(shop.now + 6 * DAY_S)
    assert (said, names(looking.releases)) == ([], {"nightly stable": []})
    late = shop.now + 8 * DAY_S
    looking.look_at_releases(late)
    assert names(looking.releases) == {"nightly stable": ["stage3 minimal x86-64bit.generic_64"]}
    (member,) = looking.releases["nightly stable"].members
    assert member.last
    assert member.last.build == "old-1"
    assert member.since == member.last.at + 7 * DAY_S
    shop.now = late
    shop.put("new-1")
    shop.publish("new-1")
    looking.look_at_releases(late + RELEASES_S - 1)
    assert names(looking.releases) != {"nightly stable": []}, "mirrors are not read so often"
    looking.look_at_releases(late + RELEASES_S)
    assert names(looking.releases) == {"nightly stable": []}
    assert (said, Memory().incidents) == ([], {})


def test_of_a_mirror_that_cannot_be_read_what_was_known_stays(shop: Shop) -> None:
    said: list[str] = []
    looking = observer(shop, said)
    looking.look_at_releases(shop.now + 8 * DAY_S)
    before = names(looking.releases)
    assert before["nightly stable"]
    pointer = next((shop.folder / "mirror").glob("*.json"))
    pointer.write_text("{")
    looking.look_at_releases(shop.now + 9 * DAY_S)
    assert names(looking.releases) == before
    assert len(said) == 1
    assert said[0].startswith("notifications: nightly.yaml: ")


def test_a_release_that_this_machine_could_not_verify_is_left_alone(shop: Shop) -> None:
    file = shop.folder / "releases/nightly.yaml"
    file.write_text(file.read_text().replace("key: release.key", ""))
    said: list[str] = []
    looking = observer(shop, said)
    looking.look_at_releases(shop.now + 8 * DAY_S)
    assert (looking.releases, said) == ({}, [])
    assert not (shop.folder / "state").exists(), "no key is made"
