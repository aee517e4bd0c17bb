"""A store in a bucket: what is put there, what counts, what is swept. On two real servers."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.artifacts.provenance import rebuilds_beside, record_rebuild
from tasks.errors import Altered, HostUnfit, PackFailed, Stale
from tasks.model import Build
from tasks.results import Artifact, Checkpoint
from tasks.settings import Settings
from tasks.store import s3, s3_reading
from tasks.store.objects import Objects
from tasks.store.opening import file_at, open_store, stored_file
from tasks.store.s3 import S3Store
from tests.builds import any_build
from tests.fault_proxy import How, Proxy
from tests.s3_servers import BUCKET, S3Server

DAY_S = 24 * 3600.0
PART_BYTES = 100_000
CONTENT = os.urandom(2 * PART_BYTES + 1000)
PART = r"PUT .*partNumber="


@pytest.fixture
def store(s3_server: S3Server, s3_proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """A store of its own, with a prefix."""
    monkeypatch.setattr(s3_reading, "PAUSE_MAX_S", 0.01)
    place = f"s3://{BUCKET}/farm {os.urandom(4).hex()}"
    return S3Store(
        replace(Objects.at(place, s3_server.access(s3_proxy.endpoint)), part_bytes=PART_BYTES)
    )


@pytest.fixture
def build() -> Build:
    return any_build()


@pytest.fixture
def made(tmp_path: Path) -> Artifact:
    (tmp_path / "a.tar").write_bytes(CONTENT)
    return artifact_of(tmp_path / "a.tar")


def artifact_of(file: Path) -> Artifact:
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    return Artifact(name=file.name, path=str(file), size_bytes=file.stat().st_size, sha256=sha256)


def names(store: S3Store, prefix: str = "") -> list[str]:
    return [found.path for found in store.objects.list(prefix)]


def settings_for(store: S3Store) -> Settings:
    access = store.objects.access
    return Settings(
        store_url=store.objects.url,
        s3_endpoint=access.endpoint,
        s3_credentials_file=access.credentials_file,
    )


# Artifacts


def test_an_attempt_is_stored_whole_with_what_is_beside_it(
    store: S3Store, build: Build, made: Artifact, tmp_path: Path
) -> None:
    (tmp_path / "log").write_text("a line\n")
    extras = {"build.log": tmp_path / "log", "none": tmp_path / "none", "a.tar.sha256": b"sum"}
    told: list[int] = []
    (stored,) = store.put(build, 3, "host", [made], extras, on_bytes=told.append)
    assert stored == replace(made, path=f"{store.objects.url}/job-1/job-1/3/a.tar")
    assert store.place(build, 3) == f"{store.objects.url}/job-1/job-1/3"
    assert sorted(told) == [1000, PART_BYTES, PART_BYTES]
    file = stored_file(stored.path, settings_for(store))
    assert (file.name, file.url, file.size()) == ("a.tar", stored.path, len(CONTENT))
    assert b"".join(file.pieces()) == CONTENT
    assert [sidecar.name for sidecar in file.sidecars()] == ["a.tar.sha256"]
    assert file.sibling("build.log").read(100) == b"a line\n"
    with file.fetched(made.sha256) as copy:
        assert copy.read_bytes() == CONTENT
    assert not copy.exists()
    assert len(names(store)) == 3


def test_what_is_known_later_is_added_beside_it(
    store: S3Store, build: Build, made: Artifact
) -> None:
    again = replace(build, id="job-2", rebuild_of=build.id)
    files = [
        stored_file(
            store.put(one, 1, "host", [made], {"a.tar.intoto.jsonl": b"signed"})[0].path,
            settings_for(store),
        )
        for one in (build, again)
    ]
    for _ in range(2):
        record_rebuild(*files, host="builder 2/x")
    assert rebuilds_beside(files[0]) == [b"signed\n"]
    assert "job-1/job-1/1/a.tar.rebuild-builder-2-x.intoto.jsonl" in names(store)


def test_what_a_failed_try_stored_is_not_sent_again(
    store: S3Store, build: Build, made: Artifact, s3_proxy: Proxy
) -> None:
    s3_proxy.say(503, "SlowDown", "PUT .*record.json", times=3)
    extras = {"record.json": b"{}"}
    with pytest.raises(HostUnfit, match="the server is busy"):
        store.put(build, 1, "host", [made], extras)
    s3_proxy.lines.clear()
    told: list[int] = []
    store.put(build, 1, "host", [made], extras, on_bytes=told.append)
    assert s3_proxy.asked(PART) == []
    assert told == [len(CONTENT)]
    s3_proxy.lines.clear()
    Path(made.path).write_bytes(b"other" * 50_000)
    store.put(build, 1, "host", [artifact_of(Path(made.path))], extras)
    assert len(s3_proxy.asked(PART)) == 3


def test_a_file_that_changed_since_it_was_packed_is_not_stored(
    store: S3Store, build: Build, made: Artifact, s3_server: S3Server
) -> None:
    for content in (b"x" * len(CONTENT), b"few", b"x" * PART_BYTES):
        Path(made.path).write_bytes(content)
        with pytest.raises(PackFailed, match="a.tar is not what was packed"):
            store.put(build, 1, "host", [made], {})
    assert names(store) == []
    assert s3_server.uploads() == []
    Path(made.path).unlink()
    with pytest.raises(PackFailed, match="a.tar is not where it was packed to"):
        store.put(build, 1, "host", [made], {})


def test_what_the_ledger_accepted_is_never_touched_again(store: S3Store, build: Build) -> None:
    store.put(build, 2, "host", (), {"build.log": b"first"}, counted={1})
    with pytest.raises(Stale, match="attempt 2 has ended"):
        store.put(build, 2, "host", (), {"build.log": b"second"}, counted={1, 2})
    store.withdraw(build, 2, counted={1, 2})
    assert store.objects.read("job-1/job-1/2/build.log", 9) == b"first"
    store.withdraw(build, 2, counted={1})
    assert names(store) == []


def test_a_sweep_takes_what_did_not_count_before_the_attempt(
    store: S3Store, build: Build, made: Artifact, s3_proxy: Proxy
) -> None:
    for attempt in (1, 2, 3, 4, 10):
        store.put(build, attempt, "host", (), {"build.log": b""})
    for attempt in (1, 4):
        s3_proxy.will(How.CUT_REQUEST, f"{PART}3", times=3)
        with pytest.raises(HostUnfit):
            store.put(build, attempt, "host", [made], {})
    store.put(replace(build, id="job-10"), 1, "host", (), {"build.log": b""})
    store.sweep(build, 4, counted={2, 9})
    assert [path.split("/")[-2] for path in names(store, "job-1/")] == ["10", "2", "4"]
    assert [upload.path for upload in store.objects.uploads()] == ["job-1/job-1/4/a.tar"]
    assert names(store, "job-10/") == ["job-10/job-10/1/build.log"]
    store.withdraw(build, 4)
    assert list(store.objects.uploads()) == []


def test_uploads_that_nobody_takes_up_go_after_a_week(
    store: S3Store, build: Build, made: Artifact, s3_proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3_proxy.will(How.CUT_REQUEST, f"{PART}3", times=3)
    with pytest.raises(HostUnfit):
        store.put(build, 1, "host", [made], {})
    other = replace(build, id="other-1")
    store.sweep(other, 1, counted=())
    assert len(list(store.objects.uploads())) == 1, "whatever the server says of its beginning"
    monkeypatch.setattr(s3, "UPLOADS_KEPT_S", -DAY_S)
    store.sweep(other, 1, counted=())
    assert list(store.objects.uploads()) == []


def test_what_cannot_be_swept_now_is_no_failure(
    store: S3Store, build: Build, s3_proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    store.put(build, 1, "host", (), {"build.log": b""})
    s3_proxy.say(403, "AccessDenied", "DELETE")
    store.withdraw(build, 1)
    assert "left in the store: s3://" in caplog.text
    assert len(names(store)) == 1


# Checkpoints


def keep(store: S3Store, build: Build, attempt: int, step: int) -> Checkpoint:
    with store.new_checkpoint(build, attempt, step, "host") as folder:
        for name in ("rootfs.tar.zst", "workspace.tar.zst"):
            (folder / name).write_bytes(name.encode())
        parts = [artifact_of(file) for file in sorted(folder.iterdir())]
    return Checkpoint(attempt=attempt, step=step, lineage="", rootfs=parts[0], workspace=parts[1])


def test_a_checkpoint_comes_back_as_it_was(store: S3Store, build: Build) -> None:
    kept = keep(store, build, 1, 2)
    told: list[int] = []
    with store.kept_checkpoint(build, kept, told.append) as folder:
        assert folder
        found = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert found == {name: name.encode() for name in ("rootfs.tar.zst", "workspace.tar.zst")}
    assert sum(told) == len("rootfs.tar.zst" + "workspace.tar.zst")
    with store.kept_checkpoint(build, replace(kept, step=3)) as folder:
        assert folder is None
    spoiled = replace(kept, rootfs=replace(kept.rootfs, sha256="0" * 64))
    with pytest.raises(Altered), store.kept_checkpoint(build, spoiled):
        pass


def test_a_checkpoint_that_fails_leaves_nothing(
    store: S3Store, build: Build, s3_proxy: Proxy
) -> None:
    s3_proxy.say(403, "AccessDenied", "PUT .*workspace")
    with pytest.raises(HostUnfit):
        keep(store, build, 1, 0)
    assert names(store) == []


def test_checkpoints_are_dropped_and_swept(store: S3Store, build: Build) -> None:
    other = replace(build, id="job-10", batch="night")
    for one, step in ((build, 0), (build, 1), (build, 10), (other, 0)):
        keep(store, one, 1, step)
    store.drop_checkpoint(build, 1, 1)
    assert len(names(store)) == 6
    store.put(build, 1, "host", (), {"build.log": b""})
    store.drop_checkpoints(build)
    assert [path.split("/")[1] for path in names(store, ".checkpoints/")] == ["job-10"] * 2
    store.sweep_checkpoints(DAY_S)
    assert len(names(store)) == 3
    store.sweep_checkpoints(-DAY_S)
    assert names(store) == ["job-1/job-1/1/build.log"]


# Reading


def test_what_is_changed_on_its_way_down_is_fetched_again(
    store: S3Store, build: Build, made: Artifact, s3_proxy: Proxy
) -> None:
    (stored,) = store.put(build, 1, "host", [made], {})
    file = file_at(stored.path, settings_for(store))
    s3_proxy.will(How.CHANGE_ANSWER, "GET .*a.tar", times=2)
    with file.fetched(made.sha256) as copy:
        assert copy.read_bytes() == CONTENT
    s3_proxy.will(How.CHANGE_ANSWER, "GET .*a.tar", times=3)
    with pytest.raises(Altered, match="is not what was built"), file.fetched(made.sha256):
        pass


def test_the_ledger_cannot_send_this_machine_to_another_bucket(store: S3Store) -> None:
    with pytest.raises(HostUnfit, match="is not in the store of this machine"):
        stored_file("s3://other/job/a.tar", settings_for(store))
    with pytest.raises(HostUnfit, match="is not in the store of this machine"):
        stored_file("s3://other/job/a.tar", Settings())


# Fitness


def test_a_store_is_tried_before_builds_are_taken(
    store: S3Store, s3_proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3_proxy.say(403, "AccessDenied", "PUT")
    said = store.unfit()
    assert said.startswith("cannot use the store: s3://")
    assert "these credentials may not do that here; they have to list, read" in said
    assert store.unfit() == ""
    assert names(store) == []
    asked = len(s3_proxy.lines)
    assert store.unfit() == ""
    assert len(s3_proxy.lines) == asked, "it was looked at just now"
    monkeypatch.setattr(s3, "CHECK_EVERY_S", 0.0)
    s3_proxy.say(404, "NoSuchBucket", "GET")
    assert "there is no such bucket; check store_url and s3_endpoint" in store.unfit()
    assert store.unfit() == ""


def test_a_server_without_conditional_writes_is_remarked_on(
    store: S3Store, request: pytest.FixtureRequest
) -> None:
    said = "accepts conditional writes and overwrites all the same"
    assert (said in store.remark()) == ("rclone" in request.node.name)
    assert names(store) == []


def test_the_settings_name_the_store(store: S3Store, build: Build) -> None:
    settings = settings_for(store)
    opened = open_store(settings)
    opened.put(build, 1, "host", (), {"build.log": b"a line"})
    assert opened.place(build, 1) == store.place(build, 1)
    assert stored_file(f"{opened.place(build, 1)}/build.log", settings).read(9) == b"a line"
