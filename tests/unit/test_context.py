"""The bundle of a submitter's folder: what is in it, that it is always the same, and safe."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from pathlib import Path

import pytest
import zstandard

from orchestrator.farm import context
from orchestrator.farm.context import bundle, is_needed, written_by
from tasks.artifacts.context_bundle import digest_of, unpack
from tasks.errors import BadInput, BuildFailed
from tasks.model import Build, Hook, HookType, Output, Source, SourceType, Step, StepKind

LIMIT = 1024 * 1024


def names(folder: Path, *leave_out: Path) -> list[str]:
    data = bundle(folder, leave_out, LIMIT).data
    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)) as stream:
        return tarfile.open(fileobj=io.BytesIO(stream.read())).getnames()


def fill(folder: Path, *files: str) -> None:
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"this is {file}\n")


def test_the_same_content_is_the_same_bundle(tmp_path: Path) -> None:
    for name, order in (("one", ("b", "a/c", "a/b")), ("two", ("a/b", "b", "a/c"))):
        fill(tmp_path / name, *order)
    os.utime(tmp_path / "two/b", (1, 1))
    one, two = (bundle(tmp_path / name, (), LIMIT) for name in ("one", "two"))
    assert one == two
    assert one.digest == digest_of(one.data)
    (tmp_path / "two/b").write_text("other")
    assert bundle(tmp_path / "two", (), LIMIT).digest != one.digest


def test_what_is_unpacked_is_what_was_there(tmp_path: Path) -> None:
    there, back = tmp_path / "there", tmp_path / "back"
    fill(there, "run.sh", "deep/er/file")
    (there / "run.sh").chmod(0o755)
    (there / "link").symlink_to("deep/er/file")
    (there / "twice").hardlink_to(there / "run.sh")
    (there / "empty").mkdir()
    made = bundle(there, (), LIMIT)
    unpack(made.data, made.digest, back)
    found = sorted(str(path.relative_to(back)) for path in back.rglob("*"))
    assert found == ["deep", "deep/er", "deep/er/file", "empty", "link", "run.sh", "twice"]
    assert (back / "link").readlink() == Path("deep/er/file")
    assert (back / "twice").read_text() == "this is run.sh\n"
    assert (back / "run.sh").stat().st_mode & 0o777 == 0o755


def test_ignore_files_are_heeded_the_nearest_first(tmp_path: Path) -> None:
    fill(tmp_path, "keep.log", "drop.log", "sub/keep.log", "sub/own.txt", "cache/x", "a.tmp")
    (tmp_path / ".gitignore").write_text("*.log\n!keep.log\n/cache/\n")
    (tmp_path / ".stagefarmignore").write_text("*.tmp\n")
    (tmp_path / "sub/.gitignore").write_text("keep.log\n")
    assert names(tmp_path) == [
        *(".gitignore", ".stagefarmignore", "keep.log"),
        *("sub", "sub/.gitignore", "sub/own.txt"),
    ]


def test_left_out_is_what_no_hook_needs(tmp_path: Path) -> None:
    fill(tmp_path, ".git/config", "out/old.tar", "spec.yaml", "__pycache__/x.pyc")
    (tmp_path / "abroad").symlink_to("../elsewhere")
    (tmp_path / "absolute").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    assert names(tmp_path, tmp_path / "out") == ["spec.yaml"]


def test_too_large_names_the_largest_files_and_the_way_out(tmp_path: Path) -> None:
    fill(tmp_path, "small")
    (tmp_path / "huge.bin").write_bytes(os.urandom(2 * LIMIT))
    with pytest.raises(BadInput, match=r"more than 1 MiB compressed; largest are huge.bin \(2.0"):
        bundle(tmp_path, (), LIMIT)


def test_too_many_files_are_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "ENTRIES_MAX", 3)
    fill(tmp_path, "a", "b", "c", "d")
    with pytest.raises(BadInput, match="more than 3 files"):
        bundle(tmp_path, (), LIMIT)


def test_a_folder_that_is_gone_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot send along .*/gone: No such file"):
        bundle(tmp_path / "gone", (), LIMIT)


def evil(name: str, **changes: object) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        info = tarfile.TarInfo(name)
        for key, value in changes.items():
            setattr(info, key, value)
        tar.addfile(info)
    return zstandard.ZstdCompressor().compress(plain.getvalue())


@pytest.mark.parametrize(
    "data",
    [
        evil("../outside"),
        evil("hard", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
        b"no archive at all",
    ],
    ids=["path", "hardlink", "garbage"],
)
def test_a_bundle_that_would_leave_its_folder_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(BuildFailed, match="cannot be unpacked"):
        unpack(data, digest_of(data), tmp_path / "in")
    assert not (tmp_path / "outside").exists()


def test_a_bundle_that_is_gone_or_damaged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match="no longer kept"):
        unpack(None, "x", tmp_path)
    with pytest.raises(BuildFailed, match="is damaged"):
        unpack(b"x", digest_of(b"y"), tmp_path)


def a_build(source: SourceType, *phases: HookType) -> Build:
    steps = [
        Step(number=number, kind=StepKind.HOOKS, phase=phase, hooks=(Hook(name="h", type=phase),))
        for number, phase in enumerate(phases)
    ]
    return Build(
        id="b",
        job="j",
        specfile="s",
        folder="/here",
        source=Source(type=source, target="/here/seeds/x.tar"),
        output=Output(name="o.tar", dir="/here/out"),
        steps=tuple(steps),
        workspacedir="/here/work",
    )


def test_the_folder_goes_along_only_where_something_looks_at_it() -> None:
    assert not is_needed(a_build(SourceType.HTTP, HookType.INNER_CHROOT))
    assert is_needed(a_build(SourceType.HTTP, HookType.INNER_CHROOT, HookType.OUTER_CHROOT))
    assert is_needed(a_build(SourceType.ANISE))


def test_what_the_build_writes_stays_out() -> None:
    assert written_by(a_build(SourceType.HTTP)) == [
        *(Path("/here/work"), Path("/here/out"), Path("/here/seeds/x.tar")),
    ]


def test_what_redis_writes_in_a_checkout_does_not_go_along(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parents[2] / ".gitignore", tmp_path)
    (tmp_path / "appendonly.aof").touch()
    (tmp_path / "appendonlydir").mkdir()
    (tmp_path / "appendonlydir" / "appendonly.aof.1.incr.aof").touch()
    (tmp_path / "dump.rdb").touch()
    assert names(tmp_path) == [".gitignore"]
