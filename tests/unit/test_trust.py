"""Keys, signed builds, checkpoints and results, and whom a machine trusts."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tasks.errors import BadInput, HostUnfit, StagefarmError, Untrusted
from tasks.model import (
    Bind,
    Build,
    ChrootKind,
    Hook,
    HookType,
    Output,
    Privileges,
    Source,
    SourceType,
    Step,
    StepKind,
    Tarformers,
    WriterRules,
    encode,
)
from tasks.results import Checkpoint, SeedOrigin
from tasks.settings import Settings
from tasks.trust.builds import sign, stored, verified
from tasks.trust.envelope import PayloadType, from_text, signed, signer_of, to_text
from tasks.trust.keys import PublicKey, new_key, public_file, read_key, read_or_make
from tasks.trust.policy import (
    NOT_REQUIRED,
    Trust,
    default_submit_key,
    host_key,
    read_trust,
    submit_key,
    trust_of,
)
from tasks.trust.statements import (
    Made,
    sign_checkpoint,
    sign_result,
    verified_checkpoint,
    verified_result,
)
from tasks.trust.trust_file import add, revoke
from tests.builds import any_build
from tests.ledgers import a_build
from tests.trusted import (
    DAY_S,
    NOW,
    an_artifact,
    host,
    job_of,
    key,
    signed_by,
    submitter,
    trusting,
    with_hook,
)

QUEUE = "x86-64bit.generic_64"


def accept(build: Build, *who: Any, build_id: str = "", at: float | None = NOW) -> Build:
    """What a machine that trusts `who` makes of `build`, signed by anna."""
    envelope = stored(*signed_by(build))
    return verified(
        envelope, trusting(*(who or (submitter(),))), build_id or build.id, at=at, queues=(QUEUE,)
    ).build


# Keys


def test_a_key_is_read_back_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "k.key"
    made = new_key(file)
    assert read_key(file).public == made.public
    assert public_file(file).read_text() == f"{made.public}\n"
    assert PublicKey.parse(str(made.public)) == made.public
    assert oct(file.stat().st_mode)[-3:] == "600"
    assert sorted(path.name for path in file.parent.iterdir()) == ["k.key", "k.key.pub"]
    assert oct(file.parent.stat().st_mode)[-3:] == "700"
    assert made.public.short == f"{made.public}"[:20] + "…"
    for mode in (0o640, 0o604, 0o601):
        file.chmod(mode)
        with pytest.raises(BadInput, match="others may read the key") as caught:
            read_key(file)
        assert caught.value.hint == f"chmod 600 {file}"


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    first = new_key(tmp_path / "k.key")
    with pytest.raises(BadInput, match="exists"):
        new_key(tmp_path / "k.key")
    assert read_or_make(tmp_path / "k.key").public == first.public


def test_a_passphrase_opens_a_key_and_another_does_not(tmp_path: Path) -> None:
    file = tmp_path / "k.key"
    made = new_key(file, "open sesame")
    assert b"ENCRYPTED" in file.read_bytes()
    assert read_key(file, "open sesame").public == made.public
    new_key(tmp_path / "plain.key")
    for name, wrong, message, hint in (
        ("k.key", "", "is encrypted", "set key_passphrase_file"),
        ("k.key", "other", "the passphrase is wrong", "stagefarm keys new"),
        ("plain.key", "open sesame", "is not encrypted", "unset key_passphrase_file"),
    ):
        with pytest.raises(BadInput, match=message) as caught:
            read_key(tmp_path / name, wrong)
        assert caught.value.hint == hint


def test_what_is_no_key_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot read the key"):
        read_key(tmp_path / "none")
    (tmp_path / "k").touch(0o600)
    (tmp_path / "k").write_text("no key")
    with pytest.raises(BadInput, match="is not a private key"):
        read_key(tmp_path / "k")


@pytest.mark.parametrize(
    "text",
    [
        *("", "ed25519:", "ed25519:####", "ed25519:YWJj", "rsa:" + "A" * 43 + "=", "A" * 44),
        "ed25519:" + "A" * 43 + "=!",
    ],
)
def test_what_is_no_public_key_is_told(text: str) -> None:
    with pytest.raises(BadInput, match="is not a public key"):
        PublicKey.parse(text)


# Signed builds


def test_a_signed_build_is_accepted_as_it_was_signed() -> None:
    build = accept(a_build())
    assert replace(build, submitter="", not_before=0.0, not_after=0.0) == a_build()
    assert (build.submitter, build.not_before, build.not_after) == ("anna", NOW, NOW + DAY_S)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in JSON that is no list and no object."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield from leaves(one, (*path, name))
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from leaves(one, (*path, number))
    else:
        yield path


def everything() -> Build:
    """A build in which every kind of value is set."""
    rules = Tarformers(match_prefix=("/a",), writer=WriterRules(dirs=("/d",)))
    return replace(
        with_hook(HookType.OUTER_CHROOT, context="c" * 64, environment={"A": "1"}, after="b-0"),
        chroot_binds=(Bind(source="/s", target="/t"),),
        source=Source(type=SourceType.FILE, path="/seed", sha256="a" * 64, tarformers=rules),
    )


def test_no_value_of_a_build_can_be_changed_after_it_was_signed() -> None:
    spec, signatures = signed_by(everything())
    told = msgspec.json.decode(spec)
    paths = list(leaves(told))
    assert len(paths) > 50
    for path in paths:
        changed = msgspec.json.decode(spec)
        place = changed
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = f"{place[path[-1]]}x"
        with pytest.raises(Untrusted):
            verified(
                stored(msgspec.json.encode(changed).decode(), signatures),
                trusting(submitter()), everything().id, at=NOW,
            )  # fmt: skip


@pytest.mark.parametrize(
    ("signatures", "message"),
    [
        ("", "it is not signed"),
        ("[]", "it is not signed"),
        ("{", "the signature is malformed"),
        ("7", "the signature is malformed"),
        ('[{"keyid": 1}]', "the signature is malformed"),
        ('[{"keyid": "a", "sig": "###"}]', "the signature is malformed"),
        (
            '[{"keyid": "a", "sig": "YQ=="}, {"keyid": "a", "sig": "Yg=="}]',
            "is malformed: Multiple",
        ),
        ("[7]", "the signature is malformed"),
        ('{"a": 1}', "the signature is malformed"),
        ("[" * 100_000, "the signature is malformed"),
        ('[{"keyid": "a", "sig": "YWJj"}]', "not signed with a key .* trusts, but by anna"),
    ],
)
def test_malformed_signatures_are_refused(signatures: str, message: str) -> None:
    spec, _ = signed_by(a_build())
    with pytest.raises(Untrusted, match=message):
        verified(stored(spec, signatures), trusting(submitter()), "b-1", at=NOW)


def test_a_signature_of_another_key_under_the_id_of_a_trusted_one_is_refused() -> None:
    spec, signatures = signed_by(a_build(), "mallory")
    (one,) = json.loads(signatures)
    forged = json.dumps([{**one, "keyid": key("anna").public.id}])
    with pytest.raises(Untrusted, match="not signed with a key that this machine trusts"):
        verified(stored(spec, forged), trusting(submitter()), "b-1", at=NOW)


def test_a_signature_is_of_one_kind_only() -> None:
    """A host's signature of a result does not make a job."""
    payload = encode(a_build())
    envelope = signed(payload, PayloadType.STATEMENT, key("anna"))
    assert signer_of(envelope, PayloadType.BUILD, [key("anna").public]) is None
    assert signer_of(envelope, PayloadType.STATEMENT, [key("anna").public]) == key("anna").public
    envelope.payload_type = PayloadType.BUILD
    assert signer_of(envelope, PayloadType.BUILD, [key("anna").public]) is None


@pytest.mark.parametrize(
    ("add_to", "name"), [((), "sudo"), (("source",), "mirror"), (("steps", 0), "container")]
)
def test_what_this_version_does_not_understand_is_refused(
    add_to: tuple[Any, ...], name: str
) -> None:
    """A newer submitter's restriction must not be ignored by an older host."""
    told = msgspec.json.decode(encode(everything()))
    place = told
    for part in add_to:
        place = place[part]
    place[name] = "x"
    envelope = signed(msgspec.json.encode(told), PayloadType.BUILD, key("anna"))
    with pytest.raises(Untrusted, match=f"unknown field .*{name}"):
        verified(envelope, trusting(submitter()), everything().id, at=NOW)


def test_an_unknown_kind_of_step_is_refused() -> None:
    told = msgspec.json.decode(encode(a_build()))
    told["steps"][0]["kind"] = "exec"
    envelope = signed(msgspec.json.encode(told), PayloadType.BUILD, key("anna"))
    with pytest.raises(Untrusted, match="cannot read what was signed.*exec"):
        verified(envelope, trusting(submitter()), "b-1", at=NOW)


def test_a_build_replayed_under_another_id_is_refused() -> None:
    with pytest.raises(Untrusted, match="b-2 has the signed job of another build, b-1"):
        accept(a_build(), build_id="b-2")


def test_a_build_for_a_queue_that_the_host_does_not_serve_is_refused() -> None:
    with pytest.raises(Untrusted, match="it was signed for x86-64bit.haswell, which this host"):
        accept(a_build(subarch="haswell"))


@pytest.mark.parametrize(
    ("after_s", "message"),
    [(-301.0, "it is valid only in 301 s"), (DAY_S + 301, "its time has passed")],
)
def test_a_build_is_refused_before_and_after_its_time(after_s: float, message: str) -> None:
    with pytest.raises(Untrusted, match=message):
        accept(a_build(), at=NOW + after_s)
    accept(a_build(), at=None)


@pytest.mark.parametrize("after_s", [-300.0, DAY_S + 300.0])
def test_clocks_may_differ_a_little(after_s: float) -> None:
    accept(a_build(), at=NOW + after_s)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "-x", "a b", "a\n", "x" * 201])
def test_ids_that_would_be_other_paths_are_refused(name: str) -> None:
    for changes in ({"id": name}, {"batch": name or "/"}):
        with pytest.raises(Untrusted, match="is not a valid name"):
            sign(any_build(**changes), key("anna"), submitter="", now=NOW, valid_s=1.0)
        envelope = signed(encode(any_build(**changes)), PayloadType.BUILD, key("anna"))
        with pytest.raises(Untrusted, match="is not a valid name"):
            verified(envelope, NOT_REQUIRED, any_build(**changes).id, at=NOW)


def test_an_output_elsewhere_and_disordered_steps_are_refused() -> None:
    for build, message in (
        (any_build(output=Output(name="../a.tar", dir="/out")), "its output is not a file name"),
        (any_build(steps=(Step(number=1, kind=StepKind.PACK),)), "not numbered in order"),
        (any_build(steps=()), "its last step, and only that, must publish"),
        (any_build(steps=(Step(number=0, kind=StepKind.PACK),)), "must publish"),
        (any_build(steps=(Step(number=0, kind=StepKind.PUBLISH), *a_build().steps[1:])), "publish"),
    ):
        with pytest.raises(Untrusted, match=message):
            accept(build)


# Rights


def test_rights_end_with_the_queue() -> None:
    assert accept(a_build(), submitter(queues=("x86-64bit.*",))).id == "b-1"
    with pytest.raises(Untrusted, match="anna may not submit to x86-64bit.generic_64"):
        accept(a_build(), submitter(queues=("arm.*",)))


ON_HOST = [kind for kind in HookType if kind.startswith("outer-")]


@pytest.mark.parametrize("kind", ON_HOST)
def test_hooks_of_the_host_need_the_right(kind: HookType) -> None:
    build = with_hook(kind, workspacedir="/workspace", source=Source(type=SourceType.HTTP))
    assert accept(build) == accept(build, submitter(host_privileges=False))
    with pytest.raises(Untrusted, match=f"anna may not use hooks that run on the host .{kind}"):
        accept(build, submitter(outer_hooks=False))


def test_a_hook_of_the_host_does_not_hide_in_a_step_of_another_phase() -> None:
    build = with_hook(HookType.OUTER_CHROOT, workspacedir="/workspace")
    step, publish = build.steps
    for phase in (HookType.INNER_CHROOT, None):
        hidden = replace(build, steps=(replace(step, phase=phase), publish))
        with pytest.raises(Untrusted, match="hooks that run on the host"):
            accept(hidden, submitter(outer_hooks=False))


def with_tests(*hooks: Hook, **changes: Any) -> Build:
    """A build with a step that tests."""
    steps = (
        Step(number=0, kind=StepKind.PACK),
        Step(number=1, kind=StepKind.GATE, hooks=hooks, **changes),
        Step(number=2, kind=StepKind.PUBLISH),
    )
    return replace(inner(), steps=steps)


def test_tests_of_a_stage_need_no_right_and_have_none() -> None:
    few = submitter(outer_hooks=False, host_privileges=False)
    hook = Hook(name="h", type=HookType.GATE, commands=("true",))
    build = accept(with_tests(hook, privileges=Privileges.HOST), few)
    assert build.privileges_of(build.steps[1]) is Privileges.CONTAINED
    fchroot = replace(build, chroot=ChrootKind.FCHROOT)
    assert fchroot.privileges_of(fchroot.steps[1]) is Privileges.CONTAINED
    bound = replace(hook, chroot_binds=(Bind(source="/root", target="/mnt"),))
    with pytest.raises(Untrusted, match="the host's /root .only /workspace"):
        accept(with_tests(bound), few)


def test_nothing_hides_in_the_step_that_tests() -> None:
    hook = Hook(name="h", type=HookType.GATE, commands=("true",))
    for build, message in (
        (with_tests(replace(hook, type=HookType.OUTER_CHROOT)), "hooks of another type"),
        (with_tests(replace(hook, type=HookType.INNER_CHROOT)), "hooks of another type"),
        (with_tests(hook, phase=HookType.OUTER_CHROOT), "hooks of another type"),
        (with_hook(HookType.GATE), "outside of the step that tests"),
    ):
        with pytest.raises(Untrusted, match=message):
            accept(build)


@pytest.mark.parametrize("kinds", ["gate pack publish", "gate publish", "pack gate gate publish"])
def test_a_stage_is_tested_once_after_it_was_packed(kinds: str) -> None:
    steps = tuple(Step(number=n, kind=StepKind(kind)) for n, kind in enumerate(kinds.split()))
    with pytest.raises(Untrusted, match="tested once, after it was packed"):
        accept(replace(inner(), steps=steps))


def inner(**changes: object) -> Build:
    source = Source(type=SourceType.HTTP, uri="http://x", target="/workspace/seeds/s.tar")
    return with_hook(
        HookType.INNER_CHROOT, **{"workspacedir": "/workspace", "source": source, **changes}
    )


def test_inner_hooks_below_the_workspace_need_no_right() -> None:
    assert accept(inner(), submitter(outer_hooks=False, host_privileges=False)).id == "job-1"


@pytest.mark.parametrize(
    "changes",
    [
        {"workspacedir": "/usr"},
        {"workspacedir": "/workspace/../usr"},
        {"workspacedir": "workspace"},
        {"chroot_binds": (Bind(source="/", target="/host"),)},
        {"source": Source(type=SourceType.FILE, path="/etc/shadow")},
        {"source": Source(type=SourceType.HTTP, target="/etc/cron.d/x")},
        {"source": Source(type=SourceType.ANISE, anise_config="c.yaml")},
        {
            "output": Output(
                name="a.tar", dir="/o", tarformers=Tarformers(writer=WriterRules(files=("/x",)))
            )
        },
        {
            "output": Output(
                name="a.tar", dir="/o", tarformers=Tarformers(writer=WriterRules(dirs=("/etc",)))
            )
        },
    ],
    ids=str,
)
def test_the_host_outside_the_allowed_paths_needs_the_right(changes: dict[str, Any]) -> None:
    accept(inner(**changes))
    with pytest.raises(Untrusted, match="anna may not use"):
        accept(inner(**changes), submitter(outer_hooks=False))


def test_a_bind_of_a_hook_needs_the_right_too() -> None:
    build = inner()
    step, publish = build.steps
    hook = replace(step.hooks[0], chroot_binds=(Bind(source="/root", target="/mnt"),))
    bound = replace(build, steps=(replace(step, hooks=(hook,)), publish))
    with pytest.raises(Untrusted, match="the host's /root .only /workspace"):
        accept(bound, submitter(outer_hooks=False))
    accept(bound, submitter(outer_hooks=False, paths=("/workspace", "/root")))


def test_fchroot_needs_the_right() -> None:
    build = inner(chroot=ChrootKind.FCHROOT)
    accept(build)
    with pytest.raises(Untrusted, match="anna may not use fchroot"):
        accept(build, submitter(host_privileges=False))


def test_hooks_that_are_not_contained_need_the_right() -> None:
    build = inner()
    step, publish = build.steps
    build = replace(build, steps=(replace(step, privileges=Privileges.HOST), publish))
    accept(build)
    with pytest.raises(Untrusted, match="anna may not use hooks with `privileges: host`"):
        accept(build, submitter(host_privileges=False))


def test_hooks_without_a_phase_need_the_right_too() -> None:
    build = inner()
    step, publish = build.steps
    build = replace(build, steps=(replace(step, phase=None), publish))
    with pytest.raises(Untrusted, match="anna may not use hooks that run on the host"):
        accept(build, submitter(outer_hooks=False))


def test_keys_end_by_date_and_by_revocation() -> None:
    last_day = datetime.fromtimestamp(NOW, UTC).date()
    accept(a_build(), submitter(until=last_day))
    with pytest.raises(Untrusted, match="was valid until"):
        accept(a_build(), submitter(until=last_day - timedelta(days=1)))
    for rights, message in (
        ({"until": date(2020, 1, 1)}, "the key of anna was valid until 2020-01-01"),
        ({"revoked": True}, "the key of anna was revoked"),
    ):
        with pytest.raises(Untrusted, match=message):
            accept(a_build(), submitter(**rights))


# What hosts sign

KEPT = Checkpoint(attempt=1, step=2, lineage="l", rootfs=an_artifact(), workspace=an_artifact())


def test_a_checkpoint_is_taken_as_its_host_signed_it() -> None:
    job, trust = job_of(), trusting(submitter(), host())
    kept = sign_checkpoint(job.build.id, KEPT, key("one"))
    swapped = replace(kept, step=7, rootfs=an_artifact(sha256="0" * 64), lineage="m")
    assert verified_checkpoint(swapped, job, trust) == KEPT


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (KEPT, "is not signed"),
        (sign_checkpoint("b-1", KEPT, key("mallory")), "not signed by a host that this machine"),
        (sign_checkpoint("b-2", KEPT, key("one")), "of another build, b-2"),
        (replace(KEPT, signed="{}"), "malformed"),
    ],
)
def test_other_checkpoints_are_refused(kept: Checkpoint, message: str) -> None:
    with pytest.raises(Untrusted, match=message):
        verified_checkpoint(kept, job_of(), trusting(submitter(), host()))


def a_result(by: str = "one") -> str:
    return sign_result(job_of(), 2, "one", [an_artifact()], "5" * 64, NOW, key(by))


def test_a_result_names_its_files_its_seed_and_its_job() -> None:
    result = verified_result(a_result(), job_of(), trusting(submitter(), host()))
    assert (result.build, result.attempt, result.host) == ("b-1", 2, "one")
    assert (result.files, result.seed) == ({"a.tar": "ab" * 32}, "5" * 64)
    assert result.finished == pytest.approx(NOW, abs=0.001)
    statement = json.loads(base64.b64decode(json.loads(a_result())["payload"]))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert statement["predicate"]["buildDefinition"]["resolvedDependencies"] == [
        {"name": "job", "digest": {"sha256": job_of().digest}},
        {"name": "seed", "digest": {"sha256": "5" * 64}},
    ]


def test_a_result_says_what_it_was_made_of_and_where() -> None:
    build = replace(with_hook(HookType.INNER_CHROOT, environment={"release": "next"}), context="c0")
    origin = SeedOrigin(uri="https://x/seed.tar", verified=("openpgp ABCD", "sha256"))
    made = Made(origin=origin, recipe="r", machine="m")
    job = job_of(build)
    text = sign_result(job, 2, "one", [an_artifact()], "5" * 64, NOW, key("one"), made)
    result = verified_result(text, job, trusting(submitter(), host()))
    assert (result.origin, result.recipe, result.machine) == (origin, "r", "m")
    assert (result.key, result.job) == (str(key("one").public), job.digest)
    definition = json.loads(from_text(text).payload)["predicate"]["buildDefinition"]
    assert definition["externalParameters"] == {
        "build": "job-1", "job": "job", "queue": "x86-64bit.generic_64", "specfile": "/s.yaml",
        "submitter": "anna", "options": {"release": "next"},
    }  # fmt: skip
    named = {one["name"]: one for one in definition["resolvedDependencies"]}
    assert list(named) == ["job", "context", "seed", "hooks:0:h.yml"]
    assert named["seed"]["uri"] == "https://x/seed.tar"
    assert named["seed"]["annotations"] == {"verified": ["openpgp ABCD", "sha256"]}
    digest = hashlib.sha256(encode(build.steps[0].hooks)).hexdigest()
    assert named["hooks:0:h.yml"]["digest"] == {"sha256": digest}


def test_provenance_is_no_larger_than_it_should_be() -> None:
    (step, publish) = with_hook(HookType.INNER_CHROOT).steps
    many = (
        *(replace(step, number=number) for number in range(1000)),
        replace(publish, number=1000),
    )
    build = any_build(steps=many, environment={f"A{n}": "x" * 100 for n in range(1000)})
    text = sign_result(job_of(build), 1, "one", [an_artifact()], "", NOW, key("one"))
    assert len(text) < 100_000


def test_a_result_of_an_earlier_version_is_read() -> None:
    said = json.loads(from_text(a_result()).payload)
    definition = said["predicate"]["buildDefinition"]
    del definition["internalParameters"]
    definition["externalParameters"] = {"build": "b-1", "job": "j", "queue": "q"}
    text = to_text(signed(json.dumps(said).encode(), PayloadType.STATEMENT, key("one")))
    result = verified_result(text, job_of(), trusting(submitter(), host()))
    assert (result.seed, result.recipe) == ("5" * 64, "")
    assert result.key == str(key("one").public), "known by who signed"


@pytest.mark.parametrize(
    ("trust", "message"),
    [
        (trusting(host("two")), "not signed by a host that this machine trusts"),
        (trusting(submitter("one")), "not signed by a host that this machine trusts"),
        (trusting(host(revoked=True)), "signed with a revoked key of one"),
        (trusting(host(queues=("arm.*",))), "the host one is not trusted for x86-64bit.generic_64"),
        (trusting(host(until=date(2020, 1, 1))), "the host one was valid until"),
    ],
)
def test_results_of_others_are_refused(trust: Trust, message: str) -> None:
    with pytest.raises(Untrusted, match=message):
        verified_result(a_result(), job_of(), trust)


def test_a_result_of_another_job_is_refused() -> None:
    other = job_of(a_build(job="other"))
    with pytest.raises(Untrusted, match="the result is of another job"):
        verified_result(a_result(), other, trusting(host()))


@pytest.mark.parametrize("payload", [b"{}", b"[]", b"\xff", b'{"_type": "x"}'])
def test_a_signed_result_that_is_none_is_refused(payload: bytes) -> None:
    text = to_text(signed(payload, PayloadType.STATEMENT, key("one")))
    with pytest.raises(Untrusted, match="cannot read the signed result"):
        verified_result(text, job_of(), trusting(host()))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("finishedOn", "yesterday", "no valid time: 'yesterday'"), ("invocationId", "b-1.x", "")],
)
def test_a_result_says_when_and_of_which_attempt(field: str, value: str, message: str) -> None:
    statement = json.loads(base64.b64decode(json.loads(a_result())["payload"]))
    statement["predicate"]["runDetails"]["metadata"][field] = value
    payload = json.dumps(statement).encode()
    text = to_text(signed(payload, PayloadType.STATEMENT, key("one")))
    if message:
        with pytest.raises(Untrusted, match=message):
            verified_result(text, job_of(), trusting(host()))
    else:
        assert verified_result(text, job_of(), trusting(host())).attempt == 0


def test_envelopes_are_read_back() -> None:
    envelope = signed(b"x", PayloadType.BUILD, key("anna"))
    assert from_text(to_text(envelope)) == envelope


# Whom a machine trusts


def settings(folder: Path, **values: Any) -> Settings:
    return Settings(
        state_dir=str(folder / "state"), trust_file=str(folder / "trust.toml"), **values
    )


def test_without_a_file_a_machine_trusts_its_own_keys(tmp_path: Path) -> None:
    here = settings(tmp_path)
    assert trust_of(here) == Trust()
    own = host_key(here).public
    new_key(here.keys / "submit.key")
    trust = trust_of(here)
    assert [entry.public for entry in trust.hosts] == [own]
    (mine,) = trust.submitters
    assert mine.outer_hooks
    assert mine.host_privileges


def test_with_a_file_it_trusts_what_stands_there_and_its_own_host_key(tmp_path: Path) -> None:
    here = settings(tmp_path)
    host_key(here)
    new_key(here.keys / "submit.key")
    add(Path(here.trust_file), "submitter", "anna", str(key("anna").public), {})
    trust = trust_of(here)
    assert [entry.name for entry in trust.submitters] == ["anna"]
    assert [entry.name for entry in trust.hosts] == ["this machine"]


def test_redis_can_be_trusted_on_demand(tmp_path: Path) -> None:
    assert trust_of(settings(tmp_path, trust="redis")) == NOT_REQUIRED
    assert verified(stored(*signed_by(a_build())), NOT_REQUIRED, "b-1", at=NOW).build.id == "b-1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[submitter]", "Expected"),
        ("[[submiter]]\nname = 'x'", "unknown field `submiter`"),
        ("[[submitter]]\nname = 'x'", "missing required field `key`"),
        ("[[host]]\nname = 'x'\nkey = 'y'", "'y' is not a public key"),
        (f"[[host]]\nname = 'x'\nkey = '{key('one').public}'\nouter_hooks = true", "unknown field"),
        (f"[[submitter]]\nname = 'x'\nkey = '{key('one').public}'\nqueues = 'a'", "queues"),
        (f"[[submitter]]\nname = 'x'\nkey = '{key('one').public}'\ncolour = 1", "field `colour`"),
        ("name = '\udcff'", "can't decode"),
    ],
)
def test_a_trust_file_with_errors_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "trust.toml").write_text(text, errors="surrogateescape")
    with pytest.raises(BadInput, match=message) as caught:
        trust_of(settings(tmp_path))
    assert str(tmp_path / "trust.toml") in str(caught.value)


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_trust_file_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "trust.toml"
    file.touch(0o644)
    read_trust(file)
    file.chmod(mode)
    with pytest.raises(BadInput, match="others than root can write"):
        read_trust(file)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file away")
def test_a_trust_file_belongs_to_root_or_to_its_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "trust.toml"
    file.touch(0o644)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    read_trust(file)
    os.chown(file, 1000, 1000)
    read_trust(file)
    monkeypatch.undo()
    with pytest.raises(BadInput, match="others than root can write"):
        read_trust(file)


def test_a_trust_file_that_is_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "trust.toml").mkdir(0o755)
    with pytest.raises(BadInput, match="cannot read .*trust.toml: Is a directory"):
        read_trust(tmp_path / "trust.toml")


def test_an_own_key_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "state/keys/host.key.pub").mkdir(parents=True)
    with pytest.raises(HostUnfit, match="cannot read .*host.key.pub: Is a directory"):
        trust_of(settings(tmp_path))


def test_keys_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for make in (
        lambda: new_key(tmp_path / "file/keys/k.key"),
        lambda: add(tmp_path / "file/etc/trust.toml", "host", "one", str(key("one").public), {}),
    ):
        with pytest.raises(HostUnfit, match=r"exists|Not a directory"):
            make()


def test_changes_of_the_trust_file_keep_what_people_wrote(tmp_path: Path) -> None:
    file = tmp_path / "etc" / "trust.toml"
    add(file, "submitter", "anna", str(key("anna").public), {"queues": ["a.*"]})
    file.write_text(f"# the night's key\n{file.read_text()}")
    add(file, "submitter", "anna", str(key("new").public), {})
    add(file, "host", "one", str(key("one").public), {"until": date(2030, 1, 1)})
    assert file.read_text().startswith("# the night's key\n# Whom this machine trusts")
    trust = read_trust(file)
    assert [(one.name, one.queues) for one in trust.submitters] == [
        ("anna", ("a.*",)), ("anna", ("*",))
    ]  # fmt: skip
    assert trust.hosts[0].until == date(2030, 1, 1)
    assert oct(file.stat().st_mode)[-3:] == "644"
    assert [path.name for path in file.parent.iterdir()] == ["trust.toml"]


def test_two_keys_of_a_name_are_valid_until_one_is_revoked(tmp_path: Path) -> None:
    file = tmp_path / "trust.toml"
    for name in ("anna", "new"):
        add(file, "submitter", "anna", str(key(name).public), {"outer_hooks": True})

    def accepted(by: str) -> bool:
        try:
            verified(stored(*signed_by(a_build(), by)), read_trust(file), "b-1", at=NOW)
        except Untrusted:
            return False
        return True

    assert accepted("anna")
    assert accepted("new")
    assert revoke(file, str(key("anna").public)) == [f"{key('anna').public} of anna"]
    assert not accepted("anna")
    assert accepted("new")
    with pytest.raises(BadInput, match="is revoked"):
        add(file, "submitter", "anna", str(key("anna").public), {})
    with pytest.raises(BadInput, match="has no key or name bob") as caught:
        revoke(file, "bob")
    assert caught.value.hint == "there are: anna"
    assert len(revoke(file, "anna")) == 2
    file.write_text("[[submitter")
    with pytest.raises(BadInput, match="Expected"):
        revoke(file, "anna")


def test_a_change_that_cannot_be_made_leaves_the_file(tmp_path: Path) -> None:
    file = tmp_path / "trust.toml"
    add(file, "host", "one", str(key("one").public), {})
    before = file.read_bytes()
    with pytest.raises(BadInput, match="is trusted already"):
        add(file, "submitter", "one", str(key("one").public), {})
    assert file.read_bytes() == before


def test_a_submitter_who_is_not_root_has_a_key_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    here = settings(tmp_path)
    made = submit_key(here)
    assert default_submit_key(here) == tmp_path / "config/stagefarm/submit.key"
    assert submit_key(here).public == made.public


def test_a_named_key_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StagefarmError, match="cannot read the key"):
        submit_key(settings(tmp_path, submit_key_file=str(tmp_path / "no.key")))
