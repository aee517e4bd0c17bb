"""The OCI layout of real tarballs: layers that are the tarballs, digests, tags."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.release.catalog import Stage
from orchestrator.release.registry import tags_of
from orchestrator.release.views.oci import Oci
from orchestrator.release.views.view import ViewFile
from tasks.archive.decompress import decompress
from tasks.archive.formats import by_name
from tasks.errors import BadInput
from tests import trees
from tests.mirrors import BUILT_AT, DAY_S, Mirror, a_file, a_stage, catalog_of


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    trees.plain(tmp_path / "rootfs")
    return Mirror(tmp_path)


def view(mirror: Mirror, *stages: Stage) -> dict[str, ViewFile]:
    files = Oci(mirror.facts).files(catalog_of(*stages), mirror.read, None)
    return {file.path: file for file in files}


def tags(files: dict[str, ViewFile]) -> dict[str, dict[str, Any]]:
    index = json.loads(files["oci/index.json"].content)
    key = "org.opencontainers.image.ref.name"
    return {one["annotations"][key]: one for one in index["manifests"]}


def blob(files: dict[str, ViewFile], descriptor: dict[str, Any]) -> Any:
    content = files[f"oci/blobs/{descriptor['digest'].replace(':', '/')}"].content
    assert descriptor["digest"] == "sha256:" + hashlib.sha256(content).hexdigest()
    assert descriptor["size"] == len(content)
    return json.loads(content)


@pytest.mark.parametrize(
    ("ending", "kind"), [(".tar.zst", "tar+zstd"), (".tar.gz", "tar+gzip"), (".tar", "tar")]
)
def test_the_layer_is_the_tarball(mirror: Mirror, tmp_path: Path, ending: str, kind: str) -> None:
    stage = mirror.add(tmp_path / "rootfs", ending)
    files = view(mirror, stage)
    manifest = blob(files, tags(files)["stage3-amd64-systemd"])
    (layer,) = manifest["layers"]
    assert layer == {
        "mediaType": f"application/vnd.oci.image.layer.v1.{kind}",
        "digest": f"sha256:{stage.tarball.sha256}",
        "size": stage.tarball.size_bytes,
    }
    assert files[f"oci/blobs/sha256/{stage.tarball.sha256}"].body == stage.tarball
    with (mirror.root / stage.tarball.path).open("rb") as opened:
        tar = b"".join(decompress(opened.read, by_name(ending)))
    config = blob(files, manifest["config"])
    assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(tar).hexdigest()]
    assert (config["architecture"], config["os"]) == ("amd64", "linux")
    assert config["created"] == "2026-11-22T04:04:05Z"
    assert manifest["annotations"] == config["config"]["Labels"]
    assert manifest["annotations"]["org.opencontainers.image.version"] == "20261122T040405Z"
    assert manifest["annotations"]["stagefarm.build"] == f"{stage.build}.1"


def test_tags_are_for_builds_for_the_latest_and_for_all_architectures(
    mirror: Mirror, tmp_path: Path
) -> None:
    stage = mirror.add(tmp_path / "rootfs", ".tar.zst")
    older = replace(stage, built_at=BUILT_AT - DAY_S)
    arm = replace(stage, arch="arm", subarch="armv7a_hardfp")
    native = replace(stage, subarch="intel64-skylake")
    files = view(mirror, stage, older, arm, native)
    known = tags(files)
    assert sorted(known) == [
        "stage3-amd64-systemd",
        "stage3-amd64-systemd-20261121T040405Z",
        "stage3-amd64-systemd-20261122T040405Z",
        "stage3-armv7a_hardfp-systemd",
        "stage3-armv7a_hardfp-systemd-20261122T040405Z",
        "stage3-intel64-skylake-systemd",
        "stage3-intel64-skylake-systemd-20261122T040405Z",
        "stage3-systemd",
    ]
    assert (
        known["stage3-amd64-systemd"]["digest"]
        == (known["stage3-amd64-systemd-20261122T040405Z"]["digest"])
    )
    index = blob(files, known["stage3-systemd"])
    assert [(one["platform"], one["digest"]) for one in index["manifests"]] == [
        (
            {"architecture": "amd64", "os": "linux"},
            known["stage3-amd64-systemd"]["digest"],
        ),
        (
            {"architecture": "arm", "os": "linux", "variant": "v7"},
            known["stage3-armv7a_hardfp-systemd"]["digest"],
        ),
    ]


def test_what_runs_on_some_processors_only_is_not_offered_to_all(
    mirror: Mirror, tmp_path: Path
) -> None:
    native = mirror.add(tmp_path / "rootfs", ".tar.zst", subarch="intel64-skylake")
    assert "stage3-systemd" not in tags(view(mirror, native))


def test_of_two_for_one_platform_the_generic_one_is_in_the_index(
    mirror: Mirror, tmp_path: Path
) -> None:
    hard = mirror.add(tmp_path / "rootfs", ".tar.zst", arch="arm", subarch="armv7a_hardfp")
    soft = replace(hard, subarch="armv7a")
    files = view(mirror, hard, soft)
    (one,) = blob(files, tags(files)["stage3-systemd"])["manifests"]
    assert one["digest"] == tags(files)["stage3-armv7a-systemd"]["digest"]


def test_the_tar_is_hashed_once(mirror: Mirror, tmp_path: Path) -> None:
    stage = mirror.add(tmp_path / "rootfs", ".tar.zst")
    first = view(mirror, stage)
    read = mirror.read_bytes
    assert (
        view(mirror, stage, replace(stage, variant="other")).items()
        >= {path: file for path, file in first.items() if "blobs" in path}.items()
    )
    assert view(mirror, stage) == first
    assert mirror.read_bytes == read == stage.tarball.size_bytes


def test_a_damaged_tarball_is_named(mirror: Mirror, tmp_path: Path) -> None:
    stage = mirror.add(tmp_path / "rootfs", ".tar.zst")
    body = mirror.content(stage.tarball)[:-9]
    cut = a_file("cut.tar.zst", hashlib.sha256(body).hexdigest(), len(body))
    (mirror.root / cut.path).parent.mkdir()
    (mirror.root / cut.path).write_bytes(body)
    with pytest.raises(BadInput, match=r"cut\.tar\.zst: it ends too early"):
        view(mirror, replace(stage, tarball=cut))


def test_what_oci_has_no_name_for_is_left_out(mirror: Mirror) -> None:
    stages = [
        a_stage(build="xz"),
        a_stage(tarball=a_file("a.tar.gz"), arch="hppa", build="old"),
        a_stage(tarball=a_file("a.tar.gz"), product="p" * 90, variant="v" * 90, build="long"),
    ]
    assert list(view(mirror, *stages)) == ["oci/oci-layout", "oci/index.json"]
    lines = list(Oci(mirror.facts).left_out(catalog_of(*stages)))
    assert [line.split(": ")[0] for line in lines] == ["xz", "old", "long"]
    assert "OCI has no architecture hppa" in lines[1]
    assert "too long for a tag" in lines[2]


def test_a_folder_without_a_layout_has_no_tags(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is not an OCI image layout"):
        tags_of(tmp_path)
    (tmp_path / "index.json").write_text('{"manifests": [{"annotations": 7}]}')
    with pytest.raises(BadInput, match="is not an OCI image layout"):
        tags_of(tmp_path)
