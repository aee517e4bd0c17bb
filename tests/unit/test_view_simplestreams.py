"""simplestreams of real tarballs: what Incus needs, and fingerprints."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.release.views.simplestreams import Simplestreams
from orchestrator.release.views.view import ViewFile
from tests import trees
from tests.mirrors import BUILT_AT, DAY_S, Mirror, Stamp, a_file, a_stage, catalog_of


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    trees.plain(tmp_path / "rootfs")
    return Mirror(tmp_path)


def test_an_image_is_the_stage_and_its_metadata(mirror: Mirror, tmp_path: Path) -> None:
    stage = mirror.add(tmp_path / "rootfs", arch="x86-64bit", subarch="generic_64")
    found = files(mirror, stage)
    images = json.loads(found["streams/v1/images.json"].content)
    product = images["products"]["exampleos:stage3:systemd:amd64"]
    assert (product["aliases"], product["arch"]) == ("exampleos/stage3/systemd", "amd64")
    items = product["versions"]["20261122T040405Z"]["items"]
    meta = found[items["incus.tar.xz"]["path"]].content
    assert items["root.tar.xz"] == {
        "ftype": "root.tar.xz",
        "path": stage.tarball.path,
        "sha256": stage.tarball.sha256,
        "size": stage.tarball.size_bytes,
    }
    fingerprint = hashlib.sha256(meta + mirror.content(stage.tarball)).hexdigest()
    assert items["incus.tar.xz"]["combined_rootxz_sha256"] == fingerprint
    assert items["incus.tar.xz"]["sha256"] == hashlib.sha256(meta).hexdigest()
    assert items["lxd.tar.xz"] == items["incus.tar.xz"] | {"ftype": "lxd.tar.xz"}
    assert not [file for file in found.values() if file.body], "no second copy of the stage"


def files(mirror: Mirror, *stages: object, signer: Stamp | None = None) -> dict[str, ViewFile]:
    catalog = catalog_of(*stages)  # type: ignore[arg-type]
    made = list(Simplestreams(mirror.facts).files(catalog, mirror.read, signer))
    return {file.path: file for file in made}


def test_the_metadata_is_a_small_tarball(mirror: Mirror, tmp_path: Path) -> None:
    hostile = 'x"\n  evil: true'
    stage = mirror.add(tmp_path / "rootfs", arch="arm64", variant=hostile)
    (path,) = [path for path in files(mirror, stage) if path.endswith(".incus.tar.xz")]
    content = files(mirror, stage)[path].content
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        (member,) = tar.getmembers()
        assert (member.name, member.mtime, member.uid) == ("metadata.yaml", int(BUILT_AT), 0)
        opened = tar.extractfile(member)
        assert opened
        about = json.loads(opened.read())
    assert (about["architecture"], about["creation_date"]) == ("aarch64", int(BUILT_AT))
    assert about["properties"]["variant"] == "x-evil-true"
    assert set(about["properties"]) >= {"architecture", "description", "os", "release", "variant"}


def test_the_index_names_the_products_and_is_clear_signed_too(
    mirror: Mirror, tmp_path: Path
) -> None:
    stage = mirror.add(tmp_path / "rootfs")
    found = files(mirror, stage, signer=Stamp())
    assert [path for path in found if found[path].is_index] == [
        "streams/v1/images.json",
        "streams/v1/images.sjson",
        "streams/v1/index.json",
        "streams/v1/index.sjson",
    ]
    entry = json.loads(found["streams/v1/index.json"].content)["index"]["images"]
    assert entry["path"] == "streams/v1/images.json"
    assert entry["products"] == ["exampleos:stage3:systemd:amd64"]
    assert b'"path": "streams/v1/images.sjson"' in found["streams/v1/index.sjson"].content
    assert found["streams/v1/images.sjson"].content.startswith(b"<signed>\n")


def test_builds_of_one_stage_are_versions_of_one_product(mirror: Mirror, tmp_path: Path) -> None:
    stage = mirror.add(tmp_path / "rootfs")
    older = replace(stage, built_at=BUILT_AT - DAY_S)
    openrc = replace(stage, variant="", subarch="x86-64-v3")
    found = json.loads(files(mirror, stage, older, openrc)["streams/v1/images.json"].content)
    assert {name: sorted(about["versions"]) for name, about in found["products"].items()} == {
        "exampleos:stage3:systemd:amd64": ["20261121T040405Z", "20261122T040405Z"],
        "exampleos:stage3:x86-64-v3:amd64": ["20261122T040405Z"],
    }


def test_the_same_catalog_gives_the_same_bytes_without_another_look_at_bodies(
    mirror: Mirror, tmp_path: Path
) -> None:
    stage = mirror.add(tmp_path / "rootfs")
    first = files(mirror, stage, signer=Stamp())
    read = mirror.read_bytes
    assert files(mirror, stage, signer=Stamp()) == first
    assert mirror.read_bytes == read


def test_a_tarball_whose_name_means_something_in_a_url_is_shown_under_another(
    mirror: Mirror, tmp_path: Path
) -> None:
    stage = mirror.add(tmp_path / "rootfs", name="a?b#c.tar.xz")
    found = files(mirror, stage)
    path = "images/stage3-amd64-systemd-20261122T040405Z.root.tar.xz"
    assert found[path].body == stage.tarball
    assert f'"path": "{path}"'.encode() in found["streams/v1/images.json"].content


def test_what_incus_cannot_start_is_left_out_and_named(mirror: Mirror) -> None:
    stages = [
        a_stage(tarball=a_file("a.tar.zst"), build="zst"),
        a_stage(arch="hppa", build="old"),
    ]
    assert files(mirror, *stages).keys() == {"streams/v1/images.json", "streams/v1/index.json"}
    assert list(Simplestreams(mirror.facts).left_out(catalog_of(*stages))) == [
        "zst: 'a.tar.zst' does not end with .tar.xz",
        "old: Incus has no architecture hppa",
    ]
