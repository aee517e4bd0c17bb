"""Unpacking and packing what needs no root: formats, wholeness, limits, leftovers, progress."""

from __future__ import annotations

import os
import random
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import zstandard

from tasks.archive import compress, decompress
from tasks.archive.tarball import Limits, extract, pack
from tasks.errors import BadInput, PackFailed, SourceFailed
from tasks.reporting import Line, Progress
from tests import trees

ENDINGS = ["tar", "tar.zst", "tar.xz", "tar.gz", "tar.bz2"]


@dataclass
class Recorder:
    lines: list[str] = field(default_factory=list)
    steps: list[Progress] = field(default_factory=list)

    def line(self, line: Line) -> None:
        self.lines.append(line.text)

    def progress(self, progress: Progress) -> None:
        self.steps.append(progress)


@pytest.fixture
def report() -> Recorder:
    return Recorder()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    trees.plain(tmp_path / "tree")
    return tmp_path / "tree"


@pytest.fixture(params=["programs", "modules"])
def tools(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "modules":
        for module in (decompress, compress):
            monkeypatch.setattr(module, "which", lambda name: None)


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_tree_comes_back_as_it_was(
    tree: Path, tmp_path: Path, report: Recorder, ending: str
) -> None:
    artifact = pack(tree, tmp_path / "out" / f"stage.{ending}", report=report)
    extract(Path(artifact.path), tmp_path / "back", report=report)
    assert trees.listing(tmp_path / "back") == trees.listing(tree)
    assert artifact.size_bytes == Path(artifact.path).stat().st_size
    assert report.steps[-1].done == report.steps[-1].total == artifact.size_bytes


def test_the_same_tree_gives_the_same_bytes(tree: Path, tmp_path: Path, report: Recorder) -> None:
    again = tmp_path / "again"
    extract(Path(pack(tree, tmp_path / "a.tar.zst", report=report).path), again, report=report)
    digests = {
        pack(folder, tmp_path / f"{n}.tar.zst", report=report).sha256
        for n, folder in enumerate([tree, again])
    }
    assert len(digests) == 1


def test_times_are_clamped(tree: Path, tmp_path: Path, report: Recorder) -> None:
    pack(tree, tmp_path / "a.tar", report=report, source_date_epoch=1_000_000_000)
    with tarfile.open(tmp_path / "a.tar") as made:
        times = {member.name: int(member.mtime) for member in made}
    assert times["./file"] == 1_000_000_000
    assert times["./folder/deep"] == 981_173_106


def test_sockets_are_skipped_with_a_note(tree: Path, tmp_path: Path, report: Recorder) -> None:
    trees.add_socket(tree)
    pack(tree, tmp_path / "a.tar", report=report)
    assert any("socket ignored" in line for line in report.lines)


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("kept", [0.5, 0.999])
def test_a_truncated_tarball_is_refused(
    tree: Path, tmp_path: Path, report: Recorder, ending: str, kept: float
) -> None:
    (tree / "zz").write_bytes(random.Random(0).randbytes(1 << 20))
    made = Path(pack(tree, tmp_path / f"a.{ending}", report=report).path)
    data = made.read_bytes().rstrip(b"\0")
    made.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(SourceFailed, match="ends too early"):
        extract(made, tmp_path / "back", report=report)


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize("ending", ENDINGS)
def test_what_follows_the_end_is_refused(
    tree: Path, tmp_path: Path, report: Recorder, ending: str
) -> None:
    made = Path(pack(tree, tmp_path / f"a.{ending}", report=report).path)
    with made.open("ab") as file:
        file.write(b"<html>" * 100)
    with pytest.raises(SourceFailed, match=r"something else follows its end|data is corrupt"):
        extract(made, tmp_path / "back", report=report)


@pytest.mark.parametrize("ending", ["tar", "tar.zst"])
@pytest.mark.parametrize("end", ["none", "in a header", "junk", "another", "junk and zeros"])
def test_a_tar_stream_ends_where_it_says(
    tree: Path, tmp_path: Path, report: Recorder, ending: str, end: str
) -> None:
    """Also one that was cut, or added to, before it was compressed."""
    data = Path(pack(tree, tmp_path / "a.tar", report=report).path).read_bytes()
    used = data.rstrip(b"\0").ljust(-(-len(data.rstrip(b"\0")) // 512) * 512, b"\0")
    changed = {
        "none": used,
        "in a header": used + b"header",
        "junk": data + b"junk",
        "another": data + data,
        "junk and zeros": data + b"junk" + bytes(10_000),
    }[end]
    made = tmp_path / f"b.{ending}"
    made.write_bytes(zstandard.compress(changed) if ending == "tar.zst" else changed)
    with pytest.raises(SourceFailed, match=r"it ends too early|something else follows its end"):
        extract(made, tmp_path / "back", report=report)


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize("ending", ENDINGS[1:])
def test_damage_is_found(tree: Path, tmp_path: Path, report: Recorder, ending: str) -> None:
    made = Path(pack(tree, tmp_path / f"a.{ending}", report=report).path)
    data = bytearray(made.read_bytes())
    data[len(data) // 2] ^= 0xFF
    made.write_bytes(data)
    with pytest.raises(SourceFailed, match=r"damaged|ends too early"):
        extract(made, tmp_path / "back", report=report)


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", b"x" * 10_000])
def test_no_tarball_is_refused(tmp_path: Path, report: Recorder, content: bytes) -> None:
    (tmp_path / "a.tar.xz").write_bytes(content)
    with pytest.raises(SourceFailed, match=r"not a tarball|empty"):
        extract(tmp_path / "a.tar.xz", tmp_path / "back", report=report)


def test_content_decides_over_the_ending(tree: Path, tmp_path: Path, report: Recorder) -> None:
    made = Path(pack(tree, tmp_path / "a.tar.gz", report=report).path).rename(tmp_path / "a.tar.xz")
    extract(made, tmp_path / "back", report=report)
    assert trees.listing(tmp_path / "back") == trees.listing(tree)
    assert report.lines == ["a.tar.xz has gzip data, which does not match its name"]


def test_a_missing_tarball(tmp_path: Path, report: Recorder) -> None:
    with pytest.raises(SourceFailed, match="No such file"):
        extract(tmp_path / "none.tar", tmp_path / "back", report=report)


def test_an_unknown_ending_is_bad_input(tree: Path, tmp_path: Path, report: Recorder) -> None:
    with pytest.raises(BadInput, match="unknown extension") as caught:
        pack(tree, tmp_path / "stage.rar", report=report)
    assert ".zst" in caught.value.hint


@pytest.mark.parametrize(
    ("limits", "message"),
    [(Limits(size_bytes=1 << 20), "more than 1,048,576 bytes"), (Limits(free_bytes=0), "times")],
)
def test_a_bomb_is_refused(tmp_path: Path, report: Recorder, limits: Limits, message: str) -> None:
    bomb = tmp_path / "bomb.tar.zst"
    info = tarfile.TarInfo("zeros")
    info.size = 64 << 20
    zeros = info.tobuf() + bytes(info.size + 1024)
    bomb.write_bytes(zstandard.compress(zeros))
    with pytest.raises(SourceFailed, match=message):
        extract(bomb, tmp_path / "back", report=report, limits=limits)


def test_a_failed_pack_leaves_nothing(tmp_path: Path, report: Recorder) -> None:
    with pytest.raises(PackFailed):
        pack(tmp_path / "missing", tmp_path / "out" / "a.tar.zst", report=report)
    assert list((tmp_path / "out").iterdir()) == []


def test_what_a_killed_pack_left_is_cleaned(tree: Path, tmp_path: Path, report: Recorder) -> None:
    (tmp_path / ".a.tar.partial").write_text("left behind")
    pack(tree, tmp_path / "a.tar", report=report)
    assert not (tmp_path / ".a.tar.partial").exists()


def test_what_is_written_does_not_hang_on_the_number_of_cores(
    tree: Path, tmp_path: Path, report: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = {ending: set() for ending in ENDINGS}
    for cores in (1, 2, 5):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        for ending, found in digests.items():
            found.add(pack(tree, tmp_path / f"a.{ending}", report=report).sha256)
    assert {ending: len(found) for ending, found in digests.items()} == dict.fromkeys(ENDINGS, 1)
