"""Publishing to a folder: what is taken, what is written, what readers and rollbacks see."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from packageurl import PackageURL
from securesystemslib.dsse import Envelope

from orchestrator.release.mirror import mirror_at
from orchestrator.release.verify import Seen, check_content, current_pointer, fetch_catalog
from tasks.errors import BadInput, HostUnfit, Stale, Untrusted
from tasks.reporting import Silent
from tests.publishing import ByName
from tests.releases import DAY_S, Served, Shop
from tests.trusted import key

KEYS = [key("release").public]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def read(shop: Shop, channel: str = "stable") -> list[str]:
    """The builds that a client gets, which has verified all of it."""
    with mirror_at(shop.target.url) as mirror:
        pointer = current_pointer(mirror, channel, KEYS, now=shop.now, seen=Seen())
        catalog = fetch_catalog(mirror, pointer)
        check_content(mirror, list(catalog.files), Silent())
    return [stage.build for stage in catalog.stages]


def test_a_stage_is_published_with_what_its_host_signed(shop: Shop) -> None:
    shop.put("a-1")
    outcome = shop.publish("a-1")
    (stage,) = outcome.catalog.stages
    assert stage.key == ("stage3", "x86-64bit", "generic_64", "minimal")
    assert [file.name for file in stage.files] == [
        "stage3-generic_64.tar.zst",
        "stage3-generic_64.tar.zst.sha256",
        "stage3-generic_64.tar.zst.job.json",
        "stage3-generic_64.tar.zst.intoto.jsonl",
        "stage3-generic_64.tar.zst.release.intoto.jsonl",
    ]
    assert read(shop) == ["a-1"]
    assert not list(shop.mirror.rglob("build.log"))


def test_the_release_says_that_a_stage_is_part_of_it(shop: Shop) -> None:
    """In the words of in-toto's predicate, and of its first generation for good."""
    shop.put("a-1", at=1_764_212_645.0)
    shop.publish("a-1")
    shop.put("a-2")
    stage = shop.publish("a-2").catalog.stages[-1]
    (file,) = (one for one in stage.files if one.name.endswith(".release.intoto.jsonl"))
    envelope = Envelope.from_dict(json.loads((shop.mirror / file.path).read_text()))
    (public,) = KEYS
    envelope.verify([public.verifier], threshold=1)
    said = json.loads(envelope.payload)
    assert said["predicateType"] == "https://in-toto.io/attestation/release/v0.1"
    assert said["subject"] == [
        {"name": stage.tarball.name, "digest": {"sha256": stage.tarball.sha256}}
    ]
    assert said["predicate"]["releaseId"] == "nightly/stable/1"
    purl = PackageURL.from_string(said["predicate"]["purl"])
    assert (purl.type, purl.name, purl.version) == ("generic", "stage3", "20251127T030405Z")
    assert purl.qualifiers["variant"] == "minimal"


def test_versions_rise_and_nothing_new_is_no_generation(shop: Shop) -> None:
    shop.put("a-1")
    shop.put("a-2", at=shop.now + 60)
    assert shop.publish("a-1").catalog.version == 1
    assert shop.publish("a-2").catalog.version == 2
    assert read(shop) == ["a-2", "a-1"]
    before = sorted(shop.mirror.rglob("*"))
    assert not shop.publish("a-2").new
    assert sorted(shop.mirror.rglob("*")) == before


def test_a_generation_is_made_anew_before_it_expires(shop: Shop) -> None:
    shop.put("a-1")
    shop.publish("a-1")
    shop.now += 8 * DAY_S
    assert shop.publish().catalog.version == 2
    assert read(shop) == ["a-1"]


@pytest.mark.parametrize("who", [{"by": "eve"}, {"built_by": "eve"}], ids=["job", "result"])
def test_what_is_not_signed_by_whom_is_trusted_is_not_taken(
    shop: Shop, who: dict[str, str]
) -> None:
    shop.put("a-1")
    shop.put("a-2", **who)
    taken = shop.take("a-1", "a-2")
    assert [stage.build for stage in taken.stages] == ["a-1"]
    ((build, error),) = taken.refused
    assert build == "a-2"
    assert isinstance(error, Untrusted)


def test_a_tarball_that_was_changed_in_the_store_is_not_published(shop: Shop) -> None:
    shop.put("a-1")
    shop.publish("a-1")
    shop.put("a-2")
    tarball = next(shop.store.glob("a-2/a-2/1/*.tar.zst"))
    tarball.write_bytes(tarball.read_bytes()[::-1])
    with pytest.raises(Untrusted, match="is not what was built"):
        shop.publish("a-2")
    assert read(shop) == ["a-1"]
    assert not list(shop.mirror.rglob("*.partial"))


def test_an_option_that_the_build_has_not_is_told(shop: Shop) -> None:
    shop.put("a-1", options={"other": "x"})
    shop.put("a-2")
    taken = shop.take("a-1", "a-2")
    assert [stage.build for stage in taken.stages] == ["a-2"]
    assert [str(error) for _, error in taken.refused] == [
        "a-1 has no option 'flavour', which the release file names"
    ]


def test_an_older_build_is_dropped_and_its_files_go_after_the_grace(shop: Shop) -> None:
    for number in (1, 2, 3):
        shop.put(f"a-{number}", at=shop.now + 60 * number)
        shop.publish(f"a-{number}")
    assert read(shop) == ["a-3", "a-2"]
    old = shop.take("a-1").stages[0]
    assert (shop.mirror / old.tarball.path).exists()
    shop.now += 4 * DAY_S
    shop.put("a-4", at=shop.now)
    foreseen = shop.publish("a-4", dry_run=True).removed
    outcome = shop.publish("a-4")
    assert foreseen == outcome.removed
    assert {file.path for file in old.files} <= set(outcome.removed)
    assert not (shop.mirror / old.tarball.path).parent.exists()
    assert read(shop) == ["a-4", "a-3"]
    assert sorted(path.name for path in (shop.mirror / "catalogs").iterdir()) == sorted(
        f"{sha256}.json" for sha256 in [outcome.catalog.sha256, outcome.catalog.earlier[0].sha256]
    )


def test_a_dry_run_writes_nothing(shop: Shop) -> None:
    shop.put("a-1")
    outcome = shop.publish("a-1", dry_run=True)
    assert outcome.new
    assert outcome.written_bytes == sum(file.size_bytes for file in outcome.catalog.files)
    assert not shop.mirror.exists()


def test_the_last_stage_of_a_variant_stays(shop: Shop) -> None:
    shop.put("a-1", "systemd")
    shop.publish("a-1")
    for number in (2, 3, 4, 5):
        shop.now += 30 * DAY_S
        shop.put(f"a-{number}", at=shop.now)
        shop.publish(f"a-{number}")
    assert read(shop) == ["a-5", "a-4", "a-1"]


def test_a_rollback_goes_forward_and_what_it_removed_stays_away(shop: Shop) -> None:
    shop.put("a-1")
    shop.put("a-2", at=shop.now + 60)
    shop.publish("a-1")
    shop.publish("a-2")
    shop.now += 3600
    outcome = shop.publisher().roll_back(1)
    assert (outcome.catalog.version, outcome.catalog.reason) == (3, "rolled back to 1")
    assert outcome.written_bytes == len(outcome.catalog.content)
    assert outcome.catalog.withdrawn == ("a-2",)
    assert read(shop) == ["a-1"]
    shop.put("a-3", at=shop.now)
    assert shop.publish("a-3").catalog.withdrawn == ("a-2",)
    assert shop.publish("a-2").catalog.withdrawn == ()
    with pytest.raises(BadInput, match="no earlier generation 17"):
        shop.publisher().roll_back(17)


def test_a_pinned_build_stays_until_it_is_unpinned(shop: Shop) -> None:
    shop.put("a-1")
    shop.publish("a-1")
    shop.publisher().pin("a-1", remove=False)
    for number in (2, 3, 4):
        shop.put(f"a-{number}", at=shop.now + 60)
        shop.publish(f"a-{number}")
    assert read(shop) == ["a-4", "a-3", "a-1"]
    shop.publisher().pin("a-1", remove=True)
    shop.publish()
    assert read(shop) == ["a-4", "a-3"]
    with pytest.raises(BadInput, match="has no build 'b'"):
        shop.publisher().pin("b", remove=False)


def test_two_channels_of_one_mirror_share_files_and_neither_removes_those_of_the_other(
    shop: Shop,
) -> None:
    shop.put("a-1")
    testing = shop.release()
    object.__setattr__(testing, "channel", "testing")
    shop.publish("a-1")
    shop.publish("a-1", release=testing)
    for number in (2, 3, 4):
        shop.put(f"a-{number}", at=shop.now)
        shop.publish(f"a-{number}")
        shop.now += 4 * DAY_S
    shop.publish()
    assert read(replace(shop, now=0.0), "testing") == ["a-1"]
    assert read(shop) == ["a-4", "a-3"]


def test_a_mirror_that_was_put_back_in_time_is_not_published_to_by_accident(shop: Shop) -> None:
    shop.put("a-1")
    shop.put("a-2", at=shop.now + 60)
    shop.publish("a-1")
    old = (shop.mirror / "stable.json").read_bytes()
    shop.publish("a-2")
    (shop.mirror / "stable.json").write_bytes(old)
    with pytest.raises(Untrusted, match="version 1, but version 2 was seen") as failed:
        shop.publish("a-2")
    assert "--recover" in failed.value.hint
    assert shop.publish("a-2", recover=True).catalog.version == 3
    assert read(shop) == ["a-2", "a-1"]
    (shop.mirror / "stable.json").unlink()
    with pytest.raises(Untrusted, match="emptied"):
        shop.publish("a-2")


def test_a_mirror_of_another_key_is_not_published_to(shop: Shop) -> None:
    shop.put("a-1")
    shop.publish("a-1")
    with pytest.raises(Untrusted, match="is not signed with"):
        shop.publish("a-1", key=key("other"))
    release = shop.release()
    object.__setattr__(release, "former_keys", (str(key("release").public),))
    shop.put("a-2")
    assert shop.publish("a-2", key=key("other"), release=release).catalog.version == 2


def test_a_clock_that_is_behind_is_told(shop: Shop) -> None:
    shop.put("a-1")
    shop.publish("a-1")
    shop.now -= DAY_S
    with pytest.raises(HostUnfit, match="set the clock|it is .* here") as failed:
        shop.publish("a-1")
    assert failed.value.hint == "set the clock of this machine"


def test_a_second_publisher_says_that_another_is_at_work(shop: Shop) -> None:
    shop.put("a-1")
    with shop.target.exclusive(), pytest.raises(Stale, match="another publisher is at work"):
        shop.publish("a-1")


def test_the_pointer_moves_only_from_what_was_seen(shop: Shop) -> None:
    shop.put("a-1")
    shop.publish("a-1")
    with pytest.raises(Stale):
        shop.target.switch("stable.json", b"mine", b"not what is there")
    assert read(shop) == ["a-1"]


def test_one_mirror_that_fails_does_not_hold_up_the_others(shop: Shop, tmp_path: Path) -> None:
    shop.put("a-1")
    other = Shop(tmp_path / "other")
    (tmp_path / "blocked").write_text("no folder")
    blocked = Shop(tmp_path / "blocked")
    outcome = shop.publish("a-1", targets=[blocked.target, shop.target, other.target])
    assert outcome.published == (str(shop.mirror), str(other.mirror))
    assert list(outcome.failed) == [str(blocked.mirror)]
    assert read(shop) == read(Shop(tmp_path / "other", now=shop.now)) == ["a-1"]


def test_a_new_mirror_gets_what_was_published_elsewhere_before(shop: Shop, tmp_path: Path) -> None:
    shop.put("a-1")
    shop.publish("a-1")
    other = Shop(tmp_path / "other")
    outcome = shop.publish(targets=[shop.target, other.target])
    assert outcome.catalog.version == 2
    assert read(Shop(tmp_path / "other", now=shop.now)) == ["a-1"]


def test_a_journal_that_names_other_peoples_files_removes_nothing_of_them(
    shop: Shop, tmp_path: Path
) -> None:
    shop.put("a-1")
    shop.publish("a-1")
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("mine")
    (shop.mirror / "way").symlink_to(precious)
    journal = shop.mirror / ".publisher/stable.json"
    forged = json.loads(journal.read_text()) | {"garbage": {"way/file": 0.0}}
    journal.write_text(json.dumps(forged))
    shop.put("a-2")
    shop.publish("a-2")
    forged = json.loads(journal.read_text()) | {"garbage": {"../precious/file": 0.0}}
    journal.write_text(json.dumps(forged))
    shop.put("a-3")
    assert shop.publish("a-3").failed == {}
    assert (precious / "file").exists()


def test_what_is_asked_of_a_mirror_depends_on_what_is_new(shop: Shop) -> None:
    """One new stage: its five files, the catalog, the pointer, and a list of the view."""
    names = [f"a-{number}" for number in range(20)]
    for name in names:
        shop.put(name, flavour=name)
    shop.publish(*names, views=[ByName()])
    with Served(shop.mirror) as served:
        shop.url = served.url
        shop.put("b-1", flavour=names[0], at=shop.now)
        shop.publish("b-1", views=[ByName()])
        asked = [(method, path.split("/")[1]) for method, path in served.requests]
    assert sorted(asked) == [
        ("GET", "by-name"),
        ("GET", "by-name"),
        ("GET", "catalogs"),
        ("GET", "stable.json"),
        *[("GET", "stages")] * 5,
        ("HEAD", "by-name"),
    ]
