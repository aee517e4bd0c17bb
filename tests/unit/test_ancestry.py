"""Published stages carry where they come from, whatever happened to their ancestors since."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.origin.attestation import Why
from orchestrator.origin.chain import Lineage, carried_chain
from orchestrator.origin.evidence import lineage_name, read_lineage
from orchestrator.origin.gathering import found_beside
from orchestrator.origin.ring import Ring
from orchestrator.release.ancestry import Ancestry
from orchestrator.release.catalog import Catalog, Stage
from orchestrator.release.lineages import lineage_beside
from orchestrator.release.targets.folder import FolderTarget
from orchestrator.release.views.sums import Sums, file_name
from tasks.artifacts.provenance import job_name, record_rebuild, result_name
from tasks.errors import Untrusted
from tasks.results import SeedOrigin
from tasks.settings import Settings
from tasks.store.folder import FolderFile
from tests.releases import Served, Shop
from tests.trusted import host, key, submitter, trusting

RING = Ring(trusting(submitter(), host("one"), host("two")), (key("release").public,))
SEED = "5" * 64


class Nights(Shop):
    """A shop whose stages are each built from the last published one, as the sums view shows it."""

    seeds = ""

    def night(self, build: str, *, gone: bool = False) -> Catalog:
        """Build from the newest stage and publish; with `gone` the store forgets it then."""
        origin, seed = SeedOrigin(uri=f"{self.seeds}/seed.tar", verified=("sha256",)), SEED
        if catalog := self.publisher().current():
            parent = catalog.latest[0]
            seed = parent.tarball.sha256
            origin = SeedOrigin(uri=f"{self.url}/files/{file_name(parent)}")
        self.put(build, seed=seed, origin=origin)
        made = self.publish(build, ancestry=self.ancestry, views=[Sums()]).catalog
        if gone:
            shutil.rmtree(self.store / build)
        return made

    @property
    def ancestry(self) -> Ancestry:
        return Ancestry(
            ring=RING, key=key("release"), store=self.shelves, mirrors=(self.url,),
            say=self.said.append,
        )  # fmt: skip

    def read(self, stage: Stage, name: str) -> bytes | None:
        for file in stage.sidecars:
            if file.name == name:
                return (self.mirror / file.path).read_bytes()
        return None

    def lineage(self, stage: Stage, ring: Ring = RING) -> Lineage:
        name = stage.tarball.name
        found = found_beside(name, stage.tarball.sha256, lambda one: self.read(stage, one))
        assert found
        return carried_chain(
            found.evidence, read_lineage(self.read(stage, lineage_name(name)) or b""), ring
        )

    def rebuild(self, build: str, by: str = "two", content: bytes = b"") -> None:
        """Another host builds it once more; what it signed is put beside the original."""
        tarball = next((self.store / build).rglob("*.tar.zst"))
        self.put(
            f"{build}-again", content=content or tarball.read_bytes(), built_by=by,
            rebuild_of=build, seed=self.seed_of[build],
        )  # fmt: skip
        again = next((self.store / f"{build}-again").rglob("*.tar.zst"))
        record_rebuild(FolderFile(tarball), FolderFile(again), by)

    @property
    def seed_of(self) -> dict[str, str]:
        found = {}
        catalog = self.publisher().current()
        for stage in catalog.stages if catalog else ():
            found[stage.build] = self.lineage(stage).generations[0].seed
        return found


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Nights]:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "seeds").mkdir()
    with Served(tmp_path / "mirror") as served, Served(tmp_path / "seeds") as seeds:
        shop = Nights(tmp_path, url=served.url)
        shop.seeds = seeds.url
        yield shop


def newest(catalog: Catalog) -> Stage:
    return catalog.latest[0]


def test_a_nightly_stage_carries_all_nights(shop: Nights) -> None:
    """Also those that the release does not keep any more, and that the store has forgotten."""
    catalog = shop.night("night-0", gone=True)
    for number in range(1, 5):
        catalog = shop.night(f"night-{number}", gone=True)
    assert len(catalog.stages) == 2
    found = shop.lineage(newest(catalog))
    assert found.broken is None
    assert [one.build for one in found.generations] == [f"night-{n}" for n in (4, 3, 2, 1, 0)]
    assert (found.end.why, found.end.seed) == (Why.ROOT, SEED)
    assert found.origin == SeedOrigin(uri=f"{shop.seeds}/seed.tar", verified=("sha256",))
    assert found.is_shown
    assert shop.said == []
    only_release = Ring(trusting(), (key("release").public,))
    assert [one.host.name for one in shop.lineage(newest(catalog), only_release).generations] == [
        "one"
    ] * 5


def test_the_evidence_is_beside_the_stage_in_views(shop: Nights) -> None:
    stage = newest(shop.night("night-0"))
    shown = shop.mirror / "files" / file_name(stage)
    for name in (job_name(""), result_name(""), lineage_name("")):
        assert shown.with_name(f"{shown.name}{name}").is_file()


def test_a_copied_mirror_shows_it_without_a_network(shop: Nights, tmp_path: Path) -> None:
    """The body itself and a view of it; the pointer and its signature are not needed for that."""
    shop.night("night-0")
    stage = newest(shop.night("night-1"))
    copy = tmp_path / "copy"
    shutil.copytree(shop.mirror, copy, symlinks=True)
    body, view = copy / stage.tarball.path, copy / "files" / file_name(stage)
    for path in (body, view):
        found = lineage_beside(path, stage.tarball.sha256, RING, Settings(state_dir=str(tmp_path)))
        assert [one.build for one in found.generations] == ["night-1", "night-0"]
        assert found.is_shown
    changed = hashlib.sha256(b"changed").hexdigest()
    with pytest.raises(Untrusted, match="nothing beside"):
        lineage_beside(body, changed, RING, Settings(state_dir=str(tmp_path)))


def test_a_mirror_that_was_away_gets_it_from_another(shop: Nights, tmp_path: Path) -> None:
    away = tmp_path / "away"
    away.touch()  # where a folder should be
    other = FolderTarget(away / "mirror", (tmp_path / "away/mirror").as_uri())
    both = {"targets": [other, shop.target], "ancestry": shop.ancestry}
    shop.put("night-0", seed="", flavour="minimal")
    outcome = shop.publish("night-0", **both)
    assert list(outcome.failed) == [other.label]
    away.unlink()
    assert not shop.publish(**both).failed
    for stage in outcome.catalog.stages:
        for file in stage.files:
            assert (other.root / file.path).read_bytes() == (shop.mirror / file.path).read_bytes()


def test_nothing_is_made_anew_without_a_reason(shop: Nights) -> None:
    shop.night("night-0")
    shop.night("night-1")
    outcome = shop.publish(ancestry=shop.ancestry, views=[Sums()])
    assert not outcome.new


def test_a_rebuild_is_published_with_the_next_generation(shop: Nights) -> None:
    shop.night("night-0")
    shop.night("night-1")
    shop.rebuild("night-0")
    outcome = shop.publish(ancestry=shop.ancestry, views=[Sums()])
    assert outcome.new
    by_build = {stage.build: shop.lineage(stage) for stage in outcome.catalog.stages}
    assert [one.reproduced for one in by_build["night-0"].generations] == [True]
    assert [one.reproduced for one in by_build["night-1"].generations] == [False, True]
    assert by_build["night-1"].is_shown
    found = shop.lineage(newest(shop.night("night-2")))
    assert (found.reproduced, len(found.generations)) == (1, 3)
    assert not shop.publish(ancestry=shop.ancestry, views=[Sums()]).new


def test_a_rebuild_that_differs_is_published_too(shop: Nights) -> None:
    shop.night("night-0")
    shop.rebuild("night-0", content=b"something else")
    catalog = shop.publish(ancestry=shop.ancestry).catalog
    (first,) = shop.lineage(newest(catalog)).generations
    assert [one.outcome for one in first.rebuilds] == ["differs"]
    assert not first.reproduced


def test_rebuilds_of_unknown_hosts_are_not_published(shop: Nights) -> None:
    shop.night("night-0")
    shop.rebuild("night-0", by="mallory")
    assert not shop.publish(ancestry=shop.ancestry).new


def test_a_rebuild_is_not_published_itself(shop: Nights) -> None:
    shop.put("again", rebuild_of="night-0")
    ((build, error),) = shop.take("again").refused
    assert (build, str(error)) == ("again", "again only repeats night-0")


def test_a_rebuild_that_was_changed_in_the_store_holds_nothing_up(shop: Nights) -> None:
    shop.night("night-0")
    shop.rebuild("night-0")
    (file,) = shop.store.rglob("*.rebuild-two.intoto.jsonl")
    file.write_text(file.read_text().replace("a", "b"))
    shop.put("other", flavour="other")
    catalog = shop.publish("other", ancestry=shop.ancestry).catalog
    assert {stage.build for stage in catalog.stages} == {"night-0", "other"}
    assert "night-0: its origin is not shown" in shop.said[0]


# Ancestors that lie elsewhere


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Nights]:
    """Another farm's mirror, with three nights."""
    folder = tmp_path / "elsewhere"
    (folder / "mirror").mkdir(parents=True)
    with Served(folder / "mirror") as served:
        other = Nights(folder, url=served.url)
        other.seeds = served.url
        yield other


def from_elsewhere(shop: Nights, other: Nights, stage: Stage, build: str = "ours") -> Lineage:
    uri = f"{other.url}/files/{file_name(stage)}"
    shop.put(build, seed=stage.tarball.sha256, origin=SeedOrigin(uri=uri))
    catalog = shop.publish(build, ancestry=shop.ancestry).catalog
    return shop.lineage(next(one for one in catalog.stages if one.build == build))


def test_the_ancestors_of_a_foreign_stage_are_fetched_from_beside_it(
    shop: Nights, elsewhere: Nights
) -> None:
    elsewhere.night("theirs-0")
    stage = newest(elsewhere.night("theirs-1"))
    found = from_elsewhere(shop, elsewhere, stage)
    assert [one.build for one in found.generations] == ["ours", "theirs-1", "theirs-0"]
    assert found.end.why is Why.ROOT
    assert found.is_shown


def test_what_a_foreign_mirror_has_changed_is_not_carried(shop: Nights, elsewhere: Nights) -> None:
    stage = newest(elsewhere.night("theirs-0"))
    (result,) = (elsewhere.mirror / "files").glob("*.intoto.jsonl")
    text = result.read_text()
    result.unlink()
    result.write_text(text.replace('"payload": "ey', '"payload": "eyA'))
    found = from_elsewhere(shop, elsewhere, stage)
    assert found.end.why is Why.LOST
    assert [one.build for one in found.generations] == ["ours"]


def test_what_cannot_be_fetched_is_recorded_and_holds_nothing_up(
    shop: Nights, elsewhere: Nights
) -> None:
    stage = newest(elsewhere.night("theirs-0"))
    uri = f"{elsewhere.url}/files/{file_name(stage)}"
    with Served(elsewhere.mirror) as down:
        down.down = True
        shop.put("ours", seed=SEED, origin=SeedOrigin(uri=uri.replace(elsewhere.url, down.url)))
        catalog = shop.publish("ours", ancestry=shop.ancestry).catalog
    found = shop.lineage(newest(catalog))
    assert found.end.why is Why.LOST
    assert "cannot fetch" in found.end.reason
    assert found.is_shown, "the stage itself is signed, and the release says what is not shown"


def test_a_stage_of_ours_that_is_gone_is_no_root(shop: Nights) -> None:
    shop.put("b", seed=SEED, origin=SeedOrigin(uri=f"{shop.url}/files/gone.tar"))
    found = shop.lineage(newest(shop.publish("b", ancestry=shop.ancestry).catalog))
    assert found.end.why is Why.LOST
    assert "not published any more" in found.end.reason
    shop.put("old", flavour="old", seed=SEED)
    catalog = shop.publish("old", ancestry=shop.ancestry).catalog
    found = shop.lineage(next(stage for stage in catalog.stages if stage.build == "old"))
    assert found.end.reason == "its host has not said where the seed came from"


def test_the_parent_of_a_chain_is_found_in_the_store(shop: Nights) -> None:
    shop.put("parent", batch="nightly-1", flavour="minimal")
    tarball = next((shop.store / "nightly-1" / "parent").rglob("*.tar.zst"))
    sha256 = hashlib.sha256(tarball.read_bytes()).hexdigest()
    origin = SeedOrigin(uri="urn:stagefarm:build:parent", verified=("stagefarm parent",))
    shop.put("child", batch="nightly-1", seed=sha256, origin=origin)
    found = shop.lineage(newest(shop.publish("child", ancestry=shop.ancestry).catalog))
    assert [one.build for one in found.generations] == ["child", "parent"]
    assert found.end.why is Why.PACKAGES
    shop.put("orphan", flavour="x", seed=sha256, origin=SeedOrigin(uri="urn:stagefarm:build:none"))
    catalog = shop.publish("orphan", ancestry=shop.ancestry).catalog
    found = shop.lineage(next(stage for stage in catalog.stages if stage.build == "orphan"))
    assert found.end.why is Why.LOST
