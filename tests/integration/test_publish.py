"""From builds on a farm to a mirror: by hand, after a batch, and by the supervisor."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.model import Build
from tests.farm import Farm
from tests.redis_server import RedisServer, free_port
from tests.registry_server import docker_registry, without_tls
from tests.waiting import eventually

pytestmark = [
    pytest.mark.redis,
    pytest.mark.root,
    pytest.mark.usefixtures("host_unchanged"),
]

SPECS = """
jobs:
  - name: stage3
    options: {{arch: x86-64bit, subarch: generic_64, flavour: minimal}}
    workspacedir: {folder}/workspace
    source: {{type: file, path: {seed}}}
    output: {{type: file, name: "stage3-{{{{ .Values.flavour }}}}.tar.zst", dir: out}}
    hooks_files: [hooks.yml]
"""
HOOKS = """
hooks:
  - name: work
    commands: ["test {{ .Values.flavour }} != broken"]
"""
BATCH = """
name: nightly
release: {release}
builds:
  - specfile: specs.yaml
    matrix: {{flavour: {flavours}}}
"""
RELEASE = """
stages:
  - {{jobs: ["{jobs}"], product: stage3, variant: {variant}}}
targets:
  - to: {mirror}
keep: {{newest: 2}}
"""


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory, seed: Path, can_isolate: None) -> Iterator[Farm]:
    folder = tmp_path_factory.mktemp("farm")
    farm = Farm(folder, seed, RedisServer(folder / "redis"))
    farm.redis.start()
    (folder / "specs.yaml").write_text(SPECS.format(folder=folder, seed=seed))
    (folder / "hooks.yml").write_text(HOOKS)
    try:
        farm.worker("one", slots=2)
        yield farm
    finally:
        farm.end()


def release_file(farm: Farm, name: str, jobs: str = "stage3", variant: str = "$flavour") -> Path:
    file, mirror = farm.folder / f"{name}.yaml", farm.folder / f"mirror-{name}"
    file.write_text(RELEASE.format(mirror=mirror, jobs=jobs, variant=variant))
    return file


def batch_file(farm: Farm, *flavours: str, release: str = "") -> Path:
    file = farm.folder / "nightly.yaml"
    file.write_text(BATCH.format(release=release, flavours=json.dumps(flavours)))
    return file


def told(farm: Farm, *arguments: object, code: int = 0) -> Any:
    """What a command answers as JSON."""
    done = farm.command(*map(str, arguments), "--json")
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def built(farm: Farm, name: str, content: str) -> Build:
    (build,) = farm.submit(farm.build(f"echo {content} > /file", name=name))
    farm.wait(build)
    return build


def test_builds_of_the_ledger_are_published_verified_and_rolled_back(farm: Farm) -> None:
    file = release_file(farm, "byhand", "job-a", "plain")
    one = built(farm, "job-a", "one")
    first = told(farm, "publish", file)
    assert (first["version"], first["stages"], first["failed"]) == (1, 1, {})
    assert not told(farm, "publish", file)["new"]
    two = built(farm, "job-a", "two")
    assert told(farm, "publish", file, "--dry-run")["version"] == 2
    assert told(farm, "publish", file)["stages"] == 2
    bodies = [path.name for path in (farm.folder / "mirror-byhand/stages").glob("*/*.*.json")]
    assert {"job-a.tar.cdx.json", "job-a.tar.spdx.json"} <= set(bodies)
    shown = told(farm, "release", "show", file)
    assert [stage["build"] for stage in shown["stages"]] == [two.id, one.id]
    listed = told(farm, "release", "list", file)
    assert [(one["version"], one["stages"]) for one in listed] == [(2, 2), (1, 1)]
    assert told(farm, "release", "rollback", file, "1")["version"] == 3
    assert not told(farm, "publish", file)["new"], "what was withdrawn stays away"
    assert told(farm, "publish", file, two.id)["stages"] == 2
    assert told(farm, "release", "pin", file, one.id)["version"] == 5
    done = farm.command("release", "show", str(file))
    assert "pinned" in done.stdout
    (aged,) = told(farm, "freshness", file)
    assert (aged["freshness"], aged["next"]["what"]) == ("no contract", "nothing")
    key = (farm.folder / "hosts/tester/keys/release.key.pub").read_text().strip()
    url = (farm.folder / "mirror-byhand" / "stable.json").as_uri()
    checked = told(farm, "release", "verify", url, "--key", key)
    assert (checked["version"], checked["fetched"]) == (5, True)


def test_builds_are_published_from_the_store_alone(farm: Farm) -> None:
    build = built(farm, "job-b", "one")
    file = release_file(farm, "alone", "job-b", "plain")
    environment = farm.environment("tester") | {"STAGEFARM_REDIS_URL": "redis://127.0.0.1:1/0"}
    import subprocess
    import sys

    def publish(*more: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "orchestrator", "publish", str(file), *more]
        return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)

    assert publish(build.id).returncode == 4
    done = publish(build.id, "--store-only", "--json")
    assert json.loads(done.stdout)["stages"] == 1, done.stderr
    done = publish("job-b-9", "--store-only")
    assert (done.returncode, "has no signed stage of job-b-9" in done.stderr) == (2, True)
    done = publish("--store-only")
    assert (done.returncode, "takes the builds that are named" in done.stderr) == (2, True)


def test_a_build_whose_result_was_replaced_is_not_published(farm: Farm) -> None:
    good, bad = built(farm, "job-c", "good"), built(farm, "job-c", "bad")
    file = release_file(farm, "forged", "job-c", "plain")
    store = farm.folder / "store"
    (good_job,) = store.glob(f"*/{good.id}/1/*.job.json")
    (bad_job,) = store.glob(f"*/{bad.id}/1/*.job.json")
    bad_job.write_text(good_job.read_text())
    done = farm.command("publish", str(file), good.id, bad.id, "--json")
    assert json.loads(done.stdout)["stages"] == 1
    assert f"{bad.id} is not published: {bad.id} has the signed job of another" in done.stderr
    done = farm.command("publish", str(file), bad.id)
    assert (done.returncode, "has the signed job of another build" in done.stderr) == (7, True)


def test_a_batch_ends_published(farm: Farm) -> None:
    file = release_file(farm, "batch")
    batch = batch_file(farm, "minimal", "systemd")
    done = farm.command("submit", "--batch", str(batch), "--publish", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "generation 1 of stable, 2 stages: published" in done.stdout
    batch = batch_file(farm, "minimal", "broken")
    done = farm.command("submit", "--batch", str(batch), "--publish", str(file))
    assert done.returncode == 1
    assert "generation 2 of stable, 3 stages: published" in done.stdout
    assert "1 of 2 builds did not succeed" in done.stderr


def test_a_mistake_in_the_release_file_is_told_before_anything_is_built(farm: Farm) -> None:
    file = farm.folder / "wrong.yaml"
    file.write_text("stages: []\ntargets: []\n")
    batch = batch_file(farm, "minimal")
    before = farm.ledger.builds(0)
    done = farm.command("submit", "--batch", str(batch), "--publish", str(file))
    assert (done.returncode, "`stages` is empty" in done.stderr) == (2, True)
    assert farm.ledger.builds(0) == before


def test_the_supervisor_publishes_a_batch_that_names_a_release(
    farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    release_file(farm, "night")
    monkeypatch.setenv("STAGEFARM_RELEASE_DIR", str(farm.folder))
    farm.start(["supervisor"])
    batch = batch_file(farm, "minimal", "systemd", "broken", release="night")
    done = farm.command("submit", "--batch", str(batch))  # and nobody watches
    assert done.returncode == 0, done.stderr
    mirror = farm.folder / "mirror-night"
    assert eventually((mirror / "stable.json").exists, 60.0), farm.logs()
    shown = told(farm, "release", "show", farm.folder / "night.yaml")
    variants = [stage["variant"] for stage in shown["stages"]]
    assert sorted(set(variants)) == ["minimal", "systemd"]
    assert all(stage["options"]["flavour"] == stage["variant"] for stage in shown["stages"])
    builds = {stage["build"] for stage in shown["stages"]}
    assert len(builds & set(farm.ledger.batch(farm.ledger.batches(1)[0]))) == 2
    marks = farm.folder / "hosts/tester/releases/batches"
    assert eventually(lambda: [mark.read_text() for mark in marks.iterdir()] == ["2"])


def test_a_batch_cannot_name_a_file_elsewhere(farm: Farm) -> None:
    batch = batch_file(farm, "minimal", release="../night")
    done = farm.command("submit", "--batch", str(batch))
    assert (done.returncode, "'../night' is not a name" in done.stderr) == (2, True)
    from tasks.errors import BadInput

    with pytest.raises(BadInput, match="its release is not a valid name"):
        farm.submit(replace(farm.build(), release="../night"))


def tarballs(mirror: Path) -> set[str]:
    found = mirror.glob("stages/*/*.tar")
    return {f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}" for file in found}


def layers(image: str) -> set[str]:
    argv = ["skopeo", "inspect", "--tls-verify=false", image]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout)["Layers"])


@pytest.mark.skipif(
    not (shutil.which("skopeo") and shutil.which("docker-registry")),
    reason="needs skopeo, docker-registry",
)
def test_a_registry_gets_what_is_new_and_what_it_missed(
    farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv(
        "CONTAINERS_REGISTRIES_CONF", str(without_tls(tmp_path, f"127.0.0.1:{port}"))
    )
    url = f"docker://127.0.0.1:{port}/exampleos/stages"
    file = release_file(farm, "pushed", "job-r", "plain")
    file.write_text(f"{file.read_text()}views: [oci]\nregistries: ['{url}']\n")
    latest = ["stage3-amd64-plain", "stage3-plain"]

    built(farm, "job-r", "one")
    dead = told(farm, "publish", file, code=3)
    assert (dead["version"], dead["published"], list(dead["failed"])) == (
        1,
        [str(farm.folder / "mirror-pushed")],
        [url],
    )
    assert "refused" in dead["failed"][url]
    with docker_registry(tmp_path, port):
        up = told(farm, "publish", file)
        assert (up["new"], up["failed"]) == (False, {})
        assert set(latest) < set(up["pushed"][url])
        first = tarballs(farm.folder / "mirror-pushed")
        assert layers(f"{url}:stage3-amd64-plain") == first
    again = told(farm, "publish", file)
    assert (again["new"], again["pushed"], again["failed"]) == (False, {}, {}), "it is not asked"

    built(farm, "job-r", "two")
    assert list(told(farm, "publish", file, code=3)["failed"]) == [url]
    with docker_registry(tmp_path, port):
        pushed = told(farm, "publish", file)["pushed"][url]
        second = tarballs(farm.folder / "mirror-pushed") - first
        assert layers(f"{url}:stage3-amd64-plain") == second
    assert (len(pushed), set(latest) < set(pushed)) == (3, True), "what it has stays"
