"""Archives made to break out: each is unpacked inside the root filesystem, or refused.

A folder beside the root filesystem must be the same afterwards, and so must the host's files that
the archives aim at.
"""

from __future__ import annotations

import io
import os
import random
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.archive.tarball import Limits, extract
from tasks.errors import SourceFailed
from tasks.reporting import Silent
from tests import trees

root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Maker:
    """Writes an archive entry by entry, with nothing checked."""

    def __init__(self) -> None:
        self.buffer = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.buffer, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    def add(self, name: str, content: bytes = b"", **fields: object) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(content), 0o644
        for field, value in fields.items():
            setattr(info, field, value)
        self.tar.addfile(info, io.BytesIO(content))

    def link(self, name: str, target: str) -> None:
        self.add(name, type=tarfile.SYMTYPE, linkname=target)

    def hard(self, name: str, target: str) -> None:
        self.add(name, type=tarfile.LNKTYPE, linkname=target)

    def write(self, path: Path) -> Path:
        self.tar.close()
        path.write_bytes(self.buffer.getvalue())
        return path


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "outside"
    trees.plain(folder)
    before = trees.listing(folder)
    yield folder
    assert trees.listing(folder) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "outside", "rootfs"]


def unpack(tmp_path: Path, maker: Maker, limits: Limits | None = None) -> str:
    """Unpack into `rootfs`; gives the error's message, empty if it went well."""
    try:
        tarball = maker.write(tmp_path / "a.tar")
        extract(tarball, tmp_path / "rootfs", report=Silent(), limits=limits)
    except SourceFailed as error:
        return str(error)
    return ""


def names(tmp_path: Path) -> list[str]:
    rootfs = tmp_path / "rootfs"
    return sorted(str(path.relative_to(rootfs)) for path in rootfs.rglob("*"))


def test_absolute_names_stay_inside(tmp_path: Path, outside: Path) -> None:
    maker = Maker()
    maker.add(f"{outside}/file", b"evil")
    maker.add("//etc/evil", b"evil")
    assert unpack(tmp_path, maker) == ""
    assert (tmp_path / "rootfs" / str(outside / "file").lstrip("/")).read_bytes() == b"evil"
    assert (tmp_path / "rootfs" / "etc" / "evil").read_bytes() == b"evil"


@pytest.mark.parametrize("name", ["../outside/file", "a/../../outside/file", "./../x", ".."])
def test_names_that_go_up_are_refused(tmp_path: Path, outside: Path, name: str) -> None:
    maker = Maker()
    maker.add(name, b"evil")
    assert "contains '..'" in unpack(tmp_path, maker)
    assert names(tmp_path) == []


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("depth", [1, 3])
def test_files_behind_a_link_stay_inside(
    tmp_path: Path, outside: Path, absolute: bool, depth: int
) -> None:
    maker = Maker()
    target = str(outside) if absolute else "../" * depth + "outside"
    maker.link("/".join("d" * depth), target)
    maker.add("/".join("d" * depth) + "/file", b"evil")
    unpack(tmp_path, maker)


def test_a_chain_of_links_stays_inside(tmp_path: Path, outside: Path) -> None:
    maker = Maker()
    maker.add("a", type=tarfile.DIRTYPE, mode=0o755)
    maker.link("a/up", "..")
    maker.link("b", "a/up")
    maker.link("c", "b/../outside")
    maker.add("c/file", b"evil")
    maker.link("x", "a/up/../outside")
    maker.add("x/file", b"evil")
    unpack(tmp_path, maker)


def test_a_folder_replaced_by_a_link_stays_inside(tmp_path: Path, outside: Path) -> None:
    maker = Maker()
    maker.add("d", type=tarfile.DIRTYPE, mode=0o755)
    maker.link("d", str(outside))
    maker.add("d/file", b"evil")
    unpack(tmp_path, maker)


@pytest.mark.parametrize("up", ["../outside/file", "/{}/file"])
def test_hard_links_stay_inside(tmp_path: Path, outside: Path, up: str) -> None:
    maker = Maker()
    maker.hard("stolen", up.format(str(outside).lstrip("/")))
    maker.add("stolen", b"evil")
    unpack(tmp_path, maker)
    assert (outside / "file").stat().st_nlink == 2


def test_a_hard_link_through_a_link_stays_inside(tmp_path: Path, outside: Path) -> None:
    maker = Maker()
    maker.link("d", str(outside))
    maker.hard("stolen", "d/file")
    maker.add("stolen", b"evil")
    maker.hard("again", "d")
    maker.add("again/file", b"evil")
    unpack(tmp_path, maker)


@root
def test_devices_and_setuid_programs_are_reached_by_root_alone(tmp_path: Path) -> None:
    """They belong in a stage; the folder of seeds lets nobody else near them."""
    from tasks.rootfs.seed_cache import Seeds

    maker = Maker()
    maker.add("disk", type=tarfile.BLKTYPE, devmajor=8, devminor=0, mode=0o666)
    maker.add("su", b"x", mode=0o4755)
    tarball = maker.write(tmp_path / "a.tar")
    seeds = Seeds(tmp_path / "seeds")
    with seeds.lease(tarball, "d" * 64, link=tmp_path / "link", report=Silent()) as folder:
        assert (folder / "su").stat().st_mode & 0o7777 == 0o4755
        assert (folder / "disk").is_block_device()
    assert seeds.root.stat().st_mode & 0o077 == 0


def test_what_an_overlay_would_take_for_its_own_is_left_out(tmp_path: Path, outside: Path) -> None:
    maker = Maker()
    notes = {"SCHILY.xattr.user.overlay.opaque": "y", "SCHILY.xattr.user.note": "kept"}
    maker.add("d", type=tarfile.DIRTYPE, mode=0o755, pax_headers=notes)
    assert unpack(tmp_path, maker) == ""
    assert os.listxattr(tmp_path / "rootfs" / "d") == ["user.note"]


def test_long_names_are_refused_clearly(tmp_path: Path, outside: Path) -> None:
    maker = Maker()
    maker.add("x" * 10_000, b"evil")
    assert "File name too long" in unpack(tmp_path, maker)


def test_deep_names_are_refused_or_unpacked(tmp_path: Path, outside: Path) -> None:
    maker = Maker()
    maker.add("d/" * 5_000 + "file", b"evil")
    assert "too long" in unpack(tmp_path, maker)


def test_names_with_newlines_and_escapes_are_kept(tmp_path: Path, outside: Path) -> None:
    wanted = ["a\nb", "a\rb", "\x1b[31mred", "-rf", "--checkpoint-action=exec=sh", "  ", "\udcff"]
    maker = Maker()
    for name in wanted:
        maker.add(name, b"x")
    assert unpack(tmp_path, maker) == ""
    assert names(tmp_path) == sorted(wanted)


def test_an_error_about_an_odd_name_is_one_line(tmp_path: Path, outside: Path) -> None:
    maker = Maker()
    maker.add("../a\nb\x1b[31m", b"x")
    message = unpack(tmp_path, maker)
    assert message
    assert message.isprintable()


def test_a_file_of_absurd_size_is_refused(tmp_path: Path, outside: Path) -> None:
    info = tarfile.TarInfo("huge")
    info.size = 1 << 60
    maker = Maker()
    maker.buffer.write(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    (tmp_path / "a.tar").write_bytes(maker.buffer.getvalue())
    with pytest.raises(SourceFailed):
        extract(tmp_path / "a.tar", tmp_path / "rootfs", report=Silent())


def test_many_entries_are_bounded_by_size(tmp_path: Path, outside: Path) -> None:
    maker = Maker()
    for number in range(3_000):
        maker.add(str(number))
    assert "more than 1,048,576 bytes" in unpack(tmp_path, maker, Limits(size_bytes=1 << 20))


ENTRIES: list[Callable[[random.Random, Maker, str], None]] = [
    lambda dice, maker, name: maker.add(name, dice.randbytes(dice.randrange(2000))),
    lambda dice, maker, name: maker.add(name, type=tarfile.DIRTYPE, mode=dice.randrange(0o10000)),
    lambda dice, maker, name: maker.link(name, random_name(dice)),
    lambda dice, maker, name: maker.hard(name, random_name(dice)),
    lambda dice, maker, name: maker.add(name, type=tarfile.FIFOTYPE),
]


def random_name(dice: random.Random) -> str:
    parts = dice.choices(["a", "b", "c", "..", ".", "", "outside", "file"], k=dice.randrange(1, 6))
    return ("/" if dice.random() < 0.2 else "") + "/".join(parts)


EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32), flips=st.integers(0, 12))
def test_no_archive_reaches_out(
    tmp_path_factory: pytest.TempPathFactory, seed: int, flips: int
) -> None:
    """Archives of entries that aim at each other and outside, with bytes of their headers changed:
    unpacked inside or refused by one error, never anything else."""
    dice = random.Random(seed)
    tmp_path = tmp_path_factory.mktemp("fuzz")
    trees.plain(tmp_path / "outside")
    before = trees.listing(tmp_path / "outside")
    maker = Maker()
    for _ in range(dice.randrange(1, 12)):
        dice.choice(ENTRIES)(dice, maker, random_name(dice))
    maker.tar.close()
    data = bytearray(maker.buffer.getvalue())
    for _ in range(flips):
        block = dice.randrange(len(data) // 512 - 1) * 512
        data[block + dice.randrange(512)] = dice.randrange(256)
        fix_checksum(data, block)
    (tmp_path / "a.tar").write_bytes(data)
    with suppress(SourceFailed):
        extract(tmp_path / "a.tar", tmp_path / "rootfs", report=Silent())
    assert trees.listing(tmp_path / "outside") == before
    assert {path.name for path in tmp_path.iterdir()} <= {"a.tar", "outside", "rootfs"}


def fix_checksum(data: bytearray, block: int) -> None:
    """Make a changed block a valid header again, so that tar reads on into what was changed."""
    data[block + 148 : block + 156] = b" " * 8
    data[block + 148 : block + 156] = b"%06o\0 " % sum(data[block : block + 512])
