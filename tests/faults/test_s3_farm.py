"""Farms whose hosts share no folder, only a bucket of S3: whole builds on two real servers, and
what happens between the hosts and the store."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.errors import HostUnfit
from tasks.ledger.records import Record
from tasks.model import Build, BuildState, HookType
from tasks.store.objects import Objects
from tests.farm import Farm, lose_power, steps_of
from tests.farm_builds import hook
from tests.fault_proxy import How, Proxy
from tests.redis_server import RedisServer
from tests.s3_servers import BUCKET, SERVERS, S3Server
from tests.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.root, pytest.mark.slow]
PART = r"PUT .*partNumber="
LARGE = "head --bytes=9000000 /dev/urandom > /large"
"""Makes a tarball that goes up in two parts."""


both = pytest.mark.parametrize("s3_server", SERVERS, indirect=True, scope="module")
moto = pytest.mark.parametrize("s3_server", ["moto"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def shared(
    s3_server: S3Server,
    s3_line: Proxy,
    tmp_path_factory: pytest.TempPathFactory,
    seed: Path,
    can_isolate: None,
) -> Iterator[Farm]:
    """A farm with a supervisor, and no folder that its hosts share."""
    folder = tmp_path_factory.mktemp("farm")
    farm = Farm(folder, seed, RedisServer(folder / "redis"), store_url=f"s3://{BUCKET}/farm")
    farm.quick |= {
        "s3_endpoint": s3_line.endpoint,
        "s3_credentials_file": str(s3_server.credentials),
        "store_wait_s": 60.0,
    }
    farm.redis.start()
    try:
        farm.start(["supervisor"])
        yield farm
    finally:
        s3_line.go.set()
        farm.end()


@pytest.fixture(scope="module")
def hosts(shared: Farm) -> dict[str, subprocess.Popen[bytes]]:
    return {name: shared.worker(name) for name in ("one", "two")}


@pytest.fixture
def farm(shared: Farm, hosts: dict[str, subprocess.Popen[bytes]], s3_line: Proxy) -> Iterator[Farm]:
    yield shared
    s3_line.faults.clear()
    s3_line.lines.clear()


@pytest.fixture
def objects(s3_server: S3Server) -> Objects:
    return Objects.at(f"s3://{BUCKET}/farm", s3_server.access())


def published_once(farm: Farm, objects: Objects, build: Build) -> Record:
    """The record of a build that has one tarball, whole and at its last attempt, and of which
    nothing else is left."""
    (record,) = farm.wait(build)
    assert record.state is BuildState.SUCCEEDED, farm.logs()
    home = f"{record.batch or record.id}/{record.id}/"
    (artifact,) = record.artifacts
    tarball = f"{home}{record.attempt}/{build.job}.tar"
    assert artifact.path == objects.url_of(tarball)
    found = [one.path for one in objects.list(home)]
    assert [path for path in found if path.endswith(".tar")] == [tarball]
    attempts = {path.removeprefix(home).partition("/")[0] for path in found}
    assert attempts == {str(record.attempt)}
    assert [upload.path for upload in objects.uploads(home)] == []
    ends = farm.ledger.connection.client.xrange("test:events")
    assert [f["event"] for _, f in ends if f["build"] == build.id].count("succeeded") == 1
    return record


@both
def test_a_chain_is_built_fetched_and_compared(
    farm: Farm, objects: Objects, tmp_path: Path
) -> None:
    """The second build may be on the other host, and starts from what lies in the bucket."""
    out = f"{farm.folder}/submitter/output"
    first = farm.build("echo first > /told", name="base")
    second = farm.build("cat /told > /again", name="full", after=first.id)
    second = replace(second, source=replace(second.source, path=f"{out}/base.tar"))
    farm.submit(first, second)
    records = [published_once(farm, objects, build) for build in (first, second)]
    names = {one.path.rpartition("/")[2] for one in objects.list(f"{second.id}/")}
    assert {"full.tar.job.json", "full.tar.intoto.jsonl", "build.log", "record.json"} <= names

    said = farm.command("fetch", second.id, "--into", str(tmp_path), "--json")
    assert json.loads(said.stdout) == [str(tmp_path / "full.tar")], said.stderr
    with tarfile.open(tmp_path / "full.tar") as tarball:
        assert tarball.extractfile("./again").read() == b"first\n"  # type: ignore[union-attr]
    for named in ([record.id for record in records], [r.artifacts[0].path for r in records]):
        said = farm.command("diff", *named, "--json")
        assert said.returncode == 1, said.stderr
        assert json.loads(said.stdout)["files_added"] == ["/again"]

    objects.put(records[1].artifacts[0].path.removeprefix(f"{objects.url}/"), b"something else")
    said = farm.command("fetch", second.id, "--into", str(tmp_path))
    assert said.returncode == 3
    assert "is not what was built" in said.stderr
    said = farm.command("diff", first.id, second.id)
    assert said.returncode == 3
    assert "is not what was built" in said.stderr


@both
def test_a_build_resumes_from_a_checkpoint_in_the_bucket(farm: Farm, objects: Objects) -> None:
    """On whichever host."""
    marker = farm.folder / f"fixed-{len(farm.ledger.builds(0))}"
    count = farm.folder / f"{marker.name}.count"
    outer = HookType.OUTER_CHROOT
    groups = (
        (hook(f"echo x >> {count}; echo kept > $MARKDEVKIT_ROOTFS/kept", kind=outer),),
        (hook(f"test -e {marker}", kind=outer),),
    )
    steps = tuple(replace(step, checkpoint=step.number == 1) for step in steps_of(*groups))
    build = replace(farm.build_of(*groups, name="resumes"), steps=steps)
    farm.submit(build)
    farm.wait(build, state=BuildState.FAILED)
    kept = [one.path for one in objects.list(f".checkpoints/{build.id}/")]
    assert [path.rpartition("/")[2] for path in kept] == ["rootfs.tar.zst", "workspace.tar.zst"]
    marker.touch()
    said = farm.command("retry", build.id, "--from", "last")
    assert said.returncode == 0, said.stderr
    record = farm.wait(build, state=BuildState.SUCCEEDED)[0]
    assert record.attempt == 2
    assert count.read_text() == "x\n", "the first hook ran once"
    assert eventually(lambda: not list(objects.list(f".checkpoints/{build.id}/")))


@moto
def test_a_rebuild_is_compared_in_the_bucket(farm: Farm, objects: Objects) -> None:
    build = farm.build("echo same > /told; touch --date=@0 /told /", name="again")
    farm.submit(build)
    published_once(farm, objects, build)
    said = farm.command("rebuild", build.id, "--ignore-times")
    assert "again.tar: identical" in said.stdout, said.stderr + farm.logs()


@both
def test_a_host_that_is_killed_while_it_uploads(
    farm: Farm, hosts: dict[str, subprocess.Popen[bytes]], s3_line: Proxy, objects: Objects
) -> None:
    """Three hosts: each build is published once, and nothing of the dead one is left."""
    hosts["three"] = farm.worker("three")
    s3_line.go.clear()
    builds = farm.submit(*[farm.build(LARGE, name="large") for _ in range(5)])
    fault = s3_line.will(How.HOLD, f"{PART}2")
    assert eventually(lambda: fault.hit, 60.0), farm.logs()
    victim = next(build for build in builds if build.id in fault.hit)
    uploads = lambda: '"upload"' in farm.record(victim).progress  # noqa: E731
    assert eventually(uploads, 60.0), farm.record(victim)
    host = farm.record(victim).host
    lose_power(hosts.pop(host))
    s3_line.go.set()
    records = [published_once(farm, objects, build) for build in builds]
    assert farm.record(victim).attempt == 2
    assert sum(record.attempt for record in records) == len(builds) + 1
    if host != "three":
        hosts[host] = farm.worker(host)


@moto
@pytest.mark.parametrize(("code", "times"), [("InternalError", 2), ("ExpiredToken", 2)])
def test_a_store_that_is_away_for_a_while_is_waited_for(
    farm: Farm, s3_line: Proxy, objects: Objects, code: str, times: int
) -> None:
    """The hooks ran once, and the parts that had arrived are not sent again."""
    s3_line.say(500 if code == "InternalError" else 400, code, f"{PART}2", times)
    build = farm.build(LARGE, name="waits")
    farm.submit(build)
    record = published_once(farm, objects, build)
    assert record.attempt == 1
    assert len(s3_line.asked(f"{PART}1&.*|{PART}1$")) == 1
    log = objects.read(f"{build.id}/{build.id}/1/build.log", 1 << 20).decode()
    assert ("the credentials have expired; trying again" in log) == (code == "ExpiredToken")


@moto
def test_a_cut_and_a_lost_answer_hurt_no_build(
    farm: Farm, s3_line: Proxy, objects: Objects
) -> None:
    s3_line.will(How.CUT_REQUEST, f"{PART}2")
    s3_line.will(How.LOSE_ANSWER, "POST .*uploadId=")
    s3_line.will(How.CHANGE_REQUEST, "PUT .*record.json")
    build = farm.build(LARGE, name="cut")
    farm.submit(build)
    assert published_once(farm, objects, build).attempt == 1


@moto
def test_a_cancelled_upload_leaves_nothing(farm: Farm, s3_line: Proxy, objects: Objects) -> None:
    s3_line.go.clear()
    fault = s3_line.will(How.HOLD, f"{PART}2")
    build = farm.build(LARGE, name="stopped")
    farm.submit(build)
    assert eventually(lambda: not fault.times, 60.0), farm.logs()
    farm.command("cancel", build.id)
    s3_line.go.set()
    farm.wait(build, state=BuildState.CANCELLED)
    assert eventually(lambda: not list(objects.list(f"{build.id}/"))), "an object"
    assert eventually(lambda: not list(objects.uploads())), "a part"


@moto
def test_no_hook_sees_how_the_store_is_reached(
    farm: Farm, monkeypatch: pytest.MonkeyPatch, objects: Objects
) -> None:
    given = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "not-a-secret"}
    words = [f"{name}={value}" for name, value in given.items()]
    worker = farm.worker("own", "x86-64bit.own", within=["env", *words])
    outer = hook("env > $MARKDEVKIT_ROOTFS/outer", kind=HookType.OUTER_CHROOT)
    build = farm.build_of((outer,), (hook("env > /inner"),), name="env", subarch="own")
    farm.submit(build)
    published_once(farm, objects, build)
    folder = farm.folder / "fetched"
    assert farm.command("fetch", build.id, "--into", str(folder)).returncode == 0
    with tarfile.open(folder / "env.tar") as tarball:
        for name in ("outer", "inner"):
            seen = tarball.extractfile(f"./{name}").read().decode()  # type: ignore[union-attr]
            assert "MARKDEVKIT_ROOTFS=" in seen
            assert "AWS" not in seen
            assert "S3" not in seen
    lose_power(worker)


@moto
def test_a_host_that_cannot_reach_the_store_takes_no_builds(
    farm: Farm, s3_line: Proxy, objects: Objects
) -> None:
    worker = farm.worker(
        "bad", "x86-64bit.bad", within=["env", f"STAGEFARM_STORE_URL=s3://nowhere/{BUCKET}"]
    )
    build = farm.build(name="patient", subarch="bad")
    farm.submit(build)
    said = "bad: takes no new builds: cannot use the store: s3://nowhere"
    assert eventually(lambda: said in farm.command("why", build.id).stdout, 60.0), farm.logs()
    assert "there is no such bucket" in farm.command("why", build.id).stdout
    with pytest.raises(HostUnfit, match="no such bucket"):
        Objects.at("s3://nowhere", objects.access).check()
    lose_power(worker)
    farm.command("cancel", build.id)
