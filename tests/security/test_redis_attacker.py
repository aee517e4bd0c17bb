"""An attacker with every right on the farm's Redis can delay and delete, not run or publish.

Each test attacks a farm of one host in one way; honest builds beside it end well.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from orchestrator.farm.context import bundle
from orchestrator.farm.submit import submit
from tasks.model import Bind, Build, BuildState, Hook, HookType, Source, SourceType, encode
from tasks.settings import Settings
from tasks.trust.keys import new_key
from tasks.worker.messages import send
from tests.farm import QUEUE, Farm, entry
from tests.farm_builds import go
from tests.redis_server import RedisServer
from tests.trusted import signed_by
from tests.waiting import eventually

pytestmark = [pytest.mark.redis, pytest.mark.root, pytest.mark.slow]
SH = ("/bin/bash", "-c")
HASWELL = "x86-64bit.haswell"


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory, seed: Path, can_isolate: None) -> Iterator[Farm]:
    """A host that serves one queue, a second host that serves another."""
    folder = tmp_path_factory.mktemp("farm")
    farm = Farm(folder, seed, RedisServer(folder / "redis"))
    farm.redis.start()
    try:
        farm.worker("one")
        farm.worker("two", HASWELL)
        yield farm
    finally:
        farm.end()


@pytest.fixture(autouse=True)
def honest_builds_end_well(farm: Farm, host_unchanged: None) -> Iterator[None]:
    """Beside each attack."""
    (beside,) = farm.submit(farm.build("true", name="beside"))
    yield
    (record,) = farm.wait(beside)
    assert record.state is BuildState.SUCCEEDED, farm.logs()
    assert not proof(farm).exists(), "the attacker's command ran"


def proof(farm: Farm) -> Path:
    """The file that the attacker's commands make on the host."""
    return farm.folder / "pwned"


def evil(farm: Farm, kind: HookType = HookType.OUTER_PRE_CHROOT) -> Hook:
    return Hook(name="evil", type=kind, commands=(f"touch {proof(farm)}",), entrypoint=SH)


def evil_build(farm: Farm, **changes: object) -> Build:
    return farm.build_of((evil(farm),), name="evil", **changes)


def raw(farm: Farm) -> Any:
    """The attacker's connection."""
    return farm.ledger.connection.client


def plant(farm: Farm, build: Build, spec: str = "", signatures: str = "") -> None:
    """Put a build into the ledger, and send its messages, as `submit` does."""
    farm.ledger.submit([build], {build.id: signatures})
    if spec:
        raw(farm).hset(f"test:build:{build.id}", "spec", spec)
    send(farm.app, build, 1)


def refusal(farm: Farm, build: Build) -> str:
    """Why a host refused the build, once it did."""

    def found() -> str:
        return next((why for _, why in farm.ledger.refusals(build.id).values()), "")

    assert eventually(lambda: bool(found()), 30.0), farm.logs()
    assert farm.record(build).state is BuildState.QUEUED
    return found()


def give_up(farm: Farm, *builds: Build) -> None:
    for build in builds:
        farm.ledger.cancel(build.id, "end of the test")


# Running a command


def test_a_build_without_signatures_is_refused(farm: Farm) -> None:
    build = evil_build(farm)
    plant(farm, build)
    assert "it is not signed" in refusal(farm, build)
    assert "it is not signed" in farm.command("why", build.id).stdout
    give_up(farm, build)


def test_a_build_signed_with_the_attackers_own_key_is_refused(farm: Farm) -> None:
    build = evil_build(farm)
    spec, signatures = signed_by(build, "mallory")
    plant(farm, build, spec, signatures)
    reason = refusal(farm, build)
    assert "not signed with a key that this machine trusts" in reason
    assert "stagefarm keys trust submitter KEY" in reason
    give_up(farm, build)


@pytest.mark.parametrize("where", ["hooks", "environment", "context", "source", "binds"])
def test_a_signed_build_that_was_changed_is_refused(farm: Farm, where: str) -> None:
    build = farm.build("true")
    _, signatures = signed_by_tester(farm, build)
    changed = {
        "hooks": replace(build, steps=evil_build(farm).steps),
        "environment": replace(build, environment={"BASH_ENV": "/evil"}),
        "context": replace(build, context="0" * 64),
        "source": replace(build, source=Source(type=SourceType.FILE, path="/etc/passwd")),
        "binds": replace(build, chroot_binds=(Bind(source="/", target="/host"),)),
    }[where]
    plant(farm, build, encode(changed).decode(), signatures)
    assert "not signed with a key that this machine trusts" in refusal(farm, build)
    give_up(farm, build)


def test_a_build_replayed_under_another_id_is_refused(farm: Farm) -> None:
    (build,) = farm.submit(farm.build("true"))
    farm.wait(build)
    spec, signatures = farm.ledger.signed(build.id)
    again = replace(build, id="replayed-0001")
    plant(farm, again, spec, signatures)
    assert "has the signed job of another build" in refusal(farm, again)
    give_up(farm, again)


def test_a_build_sent_to_another_queue_is_refused(farm: Farm) -> None:
    build = farm.build("true")
    spec, signatures = signed_by_tester(farm, build)
    plant(farm, replace(build, subarch="haswell"), spec, signatures)
    assert f"it was signed for {QUEUE}, which this host does not serve" in refusal(farm, build)
    give_up(farm, build)


def signed_by_tester(farm: Farm, build: Build, valid_s: float = 3600.0) -> tuple[str, str]:
    """As `submit` signs, without putting it into the ledger."""
    import time

    from tasks.trust.builds import sign
    from tasks.trust.policy import submit_key

    now = time.time()
    done, signatures = sign(
        build, submit_key(farm.settings), submitter="tester", now=now, valid_s=valid_s
    )
    return encode(done).decode(), signatures


def test_a_build_is_refused_after_its_time(farm: Farm) -> None:
    build = farm.build("true")
    spec, signatures = signed_by_tester(farm, build, valid_s=-301.0)
    plant(farm, build, spec, signatures)
    assert "its time has passed" in refusal(farm, build)
    give_up(farm, build)


@pytest.mark.parametrize(
    "words",
    [
        ("../../../../tmp/x", 1, 0), ("/tmp/x", 1, 0), ("job", "1/../../x", 0), ("job", -1, 0),
        ("job", 1, -1), ("job", 1, 99), (["job"], 1, 0), ({"a": 1}, 1, 1), (None, None, None),
    ],
    ids=str,
)  # fmt: skip
def test_messages_whose_words_are_no_build_are_dropped(farm: Farm, words: Any) -> None:
    above = sorted(farm.folder.parent.iterdir())
    for name in ("source", "hooks", "pack", "publish"):
        farm.app.send_task(f"stagefarm.{name}", args=words, queue="host.one")
    (build,) = farm.submit(farm.build("true"))
    farm.wait(build)
    assert sorted(farm.folder.parent.iterdir()) == above
    assert not Path("/tmp/x.1").exists()
    homes = {path.name for path in (farm.folder / "hosts/one/builds").iterdir()}
    assert homes <= {f"{build}.1" for build in farm.ledger.builds(0)}


# Changing what a running build does


def test_steps_cannot_be_left_out(farm: Farm) -> None:
    """The ledger says that the hooks are done; the host's journal does not."""
    waits = Hook(name="wait", type=HookType.OUTER_PRE_CHROOT, commands=(until_go(farm),))
    harden = Hook(name="harden", commands=("touch /hardened",), entrypoint=SH)
    (build,) = farm.submit(farm.build_of((replace(waits, entrypoint=SH),), (harden,)))
    farm.wait_step(build, 1)
    raw(farm).hset(f"test:build:{build.id}:steps", mapping={"1.2.ended": "1.0", "1.2.result": "{}"})
    go(farm)
    reason = unfit_reason(farm, build)
    assert "the journal of this host does not have step 3" in reason
    assert not list((farm.store).rglob(f"{build.id}/*/job.tar"))
    give_up(farm, build)
    (farm.folder / "go").unlink()
    forgive(farm)


def until_go(farm: Farm) -> str:
    return f"until test -e {farm.folder}/go; do sleep 0.1; done"


def unfit_reason(farm: Farm, build: Build) -> str:
    """Why the host handed the build back."""

    def found() -> str:
        return " ".join(attempt.reason for attempt in farm.ledger.attempts(build.id))

    assert eventually(lambda: bool(found()), 30.0), farm.logs()
    return found()


def forgive(farm: Farm) -> None:
    """The hosts take builds of the job again, as they would after the pause."""
    for host in ("one", "two"):
        raw(farm).delete(f"test:host:{host}:unfit")


def test_a_step_does_not_run_twice(farm: Farm) -> None:
    count = f"echo x >> {farm.folder}/count"
    counts = Hook(name="n", type=HookType.OUTER_PRE_CHROOT, commands=(count,), entrypoint=SH)
    waits = Hook(
        name="wait", type=HookType.OUTER_POST_CHROOT, commands=(until_go(farm),), entrypoint=SH
    )
    (build,) = farm.submit(farm.build_of((counts,), (waits,)))
    farm.wait_step(build, 2)
    raw(farm).hdel(
        f"test:build:{build.id}:steps", "1.1.ended", "1.1.token", "1.1.result", "1.1.began"
    )
    farm.app.send_task("stagefarm.hooks", args=(build.id, 1, 1), queue="host.one")
    go(farm)
    (record,) = farm.wait(build)
    assert record.state is BuildState.SUCCEEDED, farm.logs()
    assert (farm.folder / "count").read_text() == "x\n"
    (farm.folder / "go").unlink()


def test_what_the_ledger_says_was_packed_is_not_published(farm: Farm) -> None:
    """Neither another file of the host, nor another digest."""
    secret = farm.folder / "secret"
    secret.write_text("of the host")
    waits = Hook(
        name="wait", type=HookType.OUTER_POST_OUTPUT, commands=(until_go(farm),), entrypoint=SH
    )
    (build,) = farm.submit(farm.build_of((waits,)))
    farm.wait_step(build, 2)
    steps = f"test:build:{build.id}:steps"
    told = json.loads(raw(farm).hget(steps, "1.1.result"))
    forged = {
        "name": "job.tar", "path": str(secret), "size_bytes": 11,
        "sha256": hashlib.sha256(secret.read_bytes()).hexdigest(),
    }  # fmt: skip
    sidecar = {**forged, "name": "job.tar.secret"}
    raw(farm).hset(
        steps, "1.1.result", json.dumps({**told, "artifacts": [forged], "sidecars": [sidecar]})
    )
    go(farm)
    (record,) = farm.wait(build)
    (artifact,) = record.artifacts
    stored = Path(urlsplit(artifact.path).path)
    assert tarfile.is_tarfile(stored)
    assert not stored.with_name("job.tar.secret").exists()
    (farm.folder / "go").unlink()


# Publishing


def test_a_tarball_that_no_host_built_is_not_fetched(farm: Farm, tmp_path: Path) -> None:
    (build,) = farm.submit(farm.build("true"))
    (record,) = farm.wait(build)
    fake = tmp_path / "job.tar"
    fake.write_bytes(b"evil")
    point_to(farm, build, fake)
    assert_not_fetched(farm, build, "is missing: the tarball is not signed")
    real = Path(urlsplit(record.artifacts[0].path).path)
    for sidecar in ("job.json", "intoto.jsonl"):
        shutil.copy(f"{real}.{sidecar}", f"{fake}.{sidecar}")
    assert_not_fetched(farm, build, "is not what was built: its sha256 differs", code=3)


def test_the_result_of_another_build_is_not_fetched(farm: Farm, tmp_path: Path) -> None:
    first, second = farm.submit(farm.build("true"), farm.build("echo old > /version"))
    _, other = farm.wait(first, second)
    raw(farm).hset(f"test:build:{first.id}", "artifacts", encode(other.artifacts).decode())
    assert_not_fetched(farm, first, "has the signed job of another build")


def point_to(farm: Farm, build: Build, file: Path) -> None:
    """Let the ledger say that `build` made `file`."""
    told = json.loads(raw(farm).hget(f"test:build:{build.id}", "artifacts"))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    forged = {**told[0], "path": file.as_uri(), "sha256": digest}
    raw(farm).hset(f"test:build:{build.id}", "artifacts", json.dumps([forged]))


def assert_not_fetched(farm: Farm, build: Build, reason: str, code: int = 7) -> None:
    into = farm.folder / "fetched"
    done = farm.command("fetch", build.id, "--into", str(into))
    assert (done.returncode, reason in done.stderr) == (code, True), done.stderr
    assert not list(into.rglob("*.tar"))


def test_a_job_whose_output_goes_elsewhere_is_not_fetched(farm: Farm, tmp_path: Path) -> None:
    """The folder that `fetch` writes to is the signed job's."""
    (build,) = farm.submit(farm.build("true"))
    farm.wait(build)
    moved = replace(build, output=replace(build.output, dir=str(tmp_path / "elsewhere")))
    raw(farm).hset(f"test:build:{build.id}", "spec", encode(moved).decode())
    assert farm.command("fetch", build.id).returncode == 0
    assert not (tmp_path / "elsewhere").exists()
    assert (Path(build.output.dir) / "job.tar").is_file()


# Contexts, seeds, checkpoints


def test_a_context_that_was_swapped_is_not_used(farm: Farm, tmp_path: Path) -> None:
    (farm.folder / "submitter").mkdir(exist_ok=True)
    (farm.folder / "submitter/script").write_text("true")
    (tmp_path / "script").write_text(f"touch {proof(farm)}")
    hook = Hook(name="s", type=HookType.OUTER_PRE_CHROOT, commands=("bash script",), entrypoint=SH)
    (first,) = farm.submit(farm.build_of((hook,), name="first"))
    farm.wait(first)
    swapped = bundle(tmp_path, set(), 1 << 20)
    raw(farm).set(f"test:context:{first.context}", swapped.data)
    (again,) = farm.submit(farm.build_of((hook,), name="second"))
    assert again.context == first.context
    (record,) = farm.wait(again)
    assert record.state is BuildState.FAILED
    assert "the bundle of the submitter's folder is damaged" in record.reason
    raw(farm).delete(f"test:context:{first.context}")


def test_a_chain_does_not_start_from_another_tarball(farm: Farm, tmp_path: Path) -> None:
    """The ledger says that the build before made the attacker's tarball."""
    (base,) = farm.submit(farm.build("true", name="base"))
    farm.wait(base)
    evil_seed = tmp_path / "base.tar"
    shutil.copy(farm.seed, evil_seed)
    point_to(farm, base, evil_seed)
    source = Source(type=SourceType.FILE, path=str(Path(base.output.dir, "base.tar")))
    (full,) = farm.submit(farm.build("true", name="full", source=source, after=base.id))
    assert "is missing: the tarball is not signed" in unfit_reason(farm, full)
    give_up(farm, full)
    forgive(farm)


def test_a_checkpoint_that_was_swapped_is_not_resumed(farm: Farm) -> None:
    failing = f"test -e {farm.folder}/mended"
    first = Hook(name="first", commands=("touch /first",), entrypoint=SH)
    second = Hook(name="second", type=HookType.OUTER_CHROOT, commands=(failing,), entrypoint=SH)
    build = farm.build_of((first,), (second,))
    steps = tuple(replace(s, checkpoint=s.number == 1) for s in build.steps)
    (done,) = farm.submit(replace(build, steps=steps))
    (record,) = farm.wait(done)
    assert record.state is BuildState.FAILED
    name, told = checkpoint_of(farm, done)
    for change, reason in (
        ({"signed": ""}, "the checkpoint is not signed"),
        ({"signed": forged_checkpoint(done, told)}, "not signed by a host that this machine trust"),
    ):
        forged = {**told, "checkpoint": {**told["checkpoint"], **change}}
        raw(farm).hset(f"test:build:{done.id}:steps", name, json.dumps(forged))
        assert farm.command("retry", done.id, "--from", "last").returncode == 0
        (record,) = farm.wait(done)
        assert record.state is BuildState.FAILED
        assert reason in record.reason
    other = {**told["checkpoint"], "rootfs": {**told["checkpoint"]["rootfs"], "sha256": "0" * 64}}
    raw(farm).hset(f"test:build:{done.id}:steps", name, json.dumps({**told, "checkpoint": other}))
    (farm.folder / "mended").touch()
    assert farm.command("retry", done.id, "--from", "last").returncode == 0
    (record,) = farm.wait(done)  # what the host signed counts, not what the ledger says beside it
    assert record.state is BuildState.SUCCEEDED, record.reason


def checkpoint_of(farm: Farm, build: Build) -> tuple[str, dict[str, Any]]:
    found = raw(farm).hgetall(f"test:build:{build.id}:steps")
    return next(
        (name, json.loads(text))
        for name, text in found.items()
        if name.endswith(".result") and json.loads(text).get("checkpoint")
    )


def forged_checkpoint(build: Build, told: dict[str, Any]) -> str:
    from tasks.results import Checkpoint
    from tasks.trust.statements import sign_checkpoint
    from tests.trusted import key

    kept = msgspec.convert({**told["checkpoint"], "signed": ""}, Checkpoint)
    return sign_checkpoint(build.id, kept, key("mallory")).signed


def test_what_was_changed_is_not_signed_again(farm: Farm) -> None:
    """`retry` and `rebuild` sign what they find in the ledger: only if it was signed before."""
    (build,) = farm.submit(farm.build("true"))
    farm.wait(build)
    changed = replace(build, steps=evil_build(farm).steps)
    raw(farm).hset(f"test:build:{build.id}", "spec", encode(changed).decode())
    for command in (("retry", build.id), ("rebuild", build.id)):
        done = farm.command(*command)
        assert done.returncode == 7, done.stderr
        assert "not signed with a key that this machine trusts" in done.stderr


# A submitter's key


@pytest.fixture(scope="module")
def anna(farm: Farm, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The settings of a submitter who may use one queue, and nothing of the host."""
    file = tmp_path_factory.mktemp("anna") / "submit.key"
    rights = {"queues": [QUEUE], "paths": [str(farm.folder / "workspace"), str(farm.seed)]}
    with farm.trust_file.open("a") as trust:
        trust.write(entry("submitter", "anna", new_key(file).public, **rights))
    return replace(farm.settings, submit_key_file=str(file))


def as_anna(farm: Farm, anna: Settings, build: Build) -> Build:
    (done,) = submit([build], ledger=farm.ledger, app=farm.app, settings=anna)
    return done


def test_a_submitter_builds_what_they_may(farm: Farm, anna: Settings) -> None:
    (record,) = farm.wait(as_anna(farm, anna, farm.build("true")))
    assert record.state is BuildState.SUCCEEDED, farm.logs()


@pytest.mark.parametrize("what", ["queue", "outer hook", "bind"])
def test_a_submitter_gets_nothing_else(farm: Farm, anna: Settings, what: str) -> None:
    bind = (Bind(source="/", target="/host"),)
    build, reason = {
        "queue": (farm.build("true", subarch="haswell"), f"anna may not submit to {HASWELL}"),
        "outer hook": (evil_build(farm), "anna may not use hooks that run on the host"),
        "bind": (farm.build("true", chroot_binds=bind), "anna may not use the host's /"),
    }[what]
    done = as_anna(farm, anna, build)
    assert reason in refusal(farm, done)
    give_up(farm, done)


def test_a_revoked_key_submits_nothing(farm: Farm, tmp_path: Path) -> None:
    file = tmp_path / "bob.key"
    public = new_key(file).public
    with farm.trust_file.open("a") as trust:
        trust.write(entry("submitter", "bob", public, outer_hooks=True))
    bob = replace(farm.settings, submit_key_file=str(file))
    (record,) = farm.wait(as_anna(farm, bob, farm.build("true")))
    assert record.state is BuildState.SUCCEEDED
    done = farm.command("keys", "revoke", "bob")
    assert (done.returncode, str(public) in done.stdout) == (0, True), done.stderr
    refused = as_anna(farm, bob, farm.build("true"))
    assert "the key of bob was revoked" in refusal(farm, refused)
    give_up(farm, refused)
