"""Tarballs and programs made to crash, mislead or exhaust who takes their inventory."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.archive import members
from tasks.archive.compress import Levels, compressed
from tasks.archive.formats import Compression
from tasks.artifacts.packages import ANISE, DPKG, PORTAGE
from tasks.errors import BadInput
from tasks.inspection import kept, scan
from tasks.inspection.inventory import Mark, Program
from tasks.inspection.programs import DamagedProgram, read_program
from tests.elf import elf
from tests.unit.test_scan import inventory, tarball

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))
PROGRAM = elf(
    machine=62,
    interpreter="/lib64/ld-linux-x86-64.so.2",
    needed=("libc.so.6", "libm.so.6"),
    soname="liba.so.1",
    runpath="$ORIGIN/../lib:/opt/lib",
)
NAMES = (
    *("etc/passwd", "etc/ld.so.conf.d/a", f"{PORTAGE}/a/b-1/SLOT", DPKG[0], ANISE[0]),
    *("a", "a/b", "./a/../b", "/", ".", "", f"{DPKG[0]}/below", "c.pyc"),
)
SPARSE = {
    "GNU.sparse.major": "1",
    "GNU.sparse.minor": "0",
    "GNU.sparse.name": "sparse",
    "GNU.sparse.realsize": "4096",
}


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), flips=st.integers(0, 16))
def test_an_inventory_is_made_or_the_tarball_is_refused(seed: int, flips: int) -> None:
    dice = random.Random(seed)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for _ in range(dice.randrange(1, 8)):
            entry = tarfile.TarInfo(dice.choice(NAMES))
            entry.type = dice.choice([*b"000012345", ord("6")]).to_bytes(1)
            entry.linkname = dice.choice(NAMES)
            entry.mtime = dice.choice([1.5, 0, 2**33])
            content = dice.choice([PROGRAM, b"#!/bin/sh\n", b"1\n512\n512\n", dice.randbytes(900)])
            entry.pax_headers = dice.choice([{}, {}, SPARSE, {"SCHILY.xattr.user.a": "b"}])
            entry.size = len(content) if entry.isreg() else 0
            tar.addfile(entry, io.BytesIO(content))
    data = bytearray(buffer.getvalue())
    for _ in range(flips):
        block = dice.randrange(len(data) // 512 - 1) * 512
        data[block + dice.randrange(512)] = dice.randrange(256)
        data[block + 148 : block + 156] = b" " * 8
        data[block + 148 : block + 156] = b"%06o\0 " % sum(data[block : block + 512])
    with suppress(BadInput):
        found = inventory(bytes(data), piece_bytes=dice.choice([100, 5000]))
        assert all(path.startswith("/") for path in found.files)


@settings(max_examples=20 * EXAMPLES, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_damaged_program_is_read_or_refused(seed: int) -> None:
    dice = random.Random(seed)
    program = bytearray(PROGRAM)
    for _ in range(dice.randrange(1, 20)):
        program[dice.randrange(4, len(program))] = dice.choice(
            [0, 1, 0x7F, 0xFF, dice.randrange(256)]
        )
    cut = dice.choice([len(program), dice.randrange(4, len(program))])
    with suppress(DamagedProgram):
        assert read_program(io.BytesIO(program[:cut])).bits in (32, 64)


@pytest.mark.parametrize(
    ("machine", "name", "bits", "little"),
    [
        (62, "EM_X86_64", 64, True),
        (183, "EM_AARCH64", 64, True),
        (40, "EM_ARM", 32, True),
        (243, "EM_RISCV", 64, True),
        (258, "EM_LOONGARCH", 64, True),
        (8, "EM_MIPS", 32, False),
        (21, "EM_PPC64", 64, False),
        (22, "EM_S390", 64, False),
        (15, "EM_PARISC", 32, False),
        (4242, "EM_4242", 64, True),
    ],
)
def test_programs_of_any_machine_are_read(machine: int, name: str, bits: int, little: bool) -> None:
    made = elf(
        machine=machine, bits=bits, little=little, interpreter="/lib/ld.so.1",
        needed=("libc.so.6", "libm.so.6"), soname="liba.so.1", runpath="$ORIGIN/../lib:/opt",
    )  # fmt: skip
    assert read_program(io.BytesIO(made)) == Program(
        machine=name,
        bits=bits,
        little_endian=little,
        kind="ET_DYN",
        interpreter="/lib/ld.so.1",
        needed=("libc.so.6", "libm.so.6"),
        soname="liba.so.1",
        runpath=("$ORIGIN/../lib", "/opt"),
    )


def test_a_file_of_absurd_size_is_refused() -> None:
    for size in (1 << 40, 1 << 60):
        header = tarfile.TarInfo("huge")
        header.size = size
        with pytest.raises(BadInput, match="ends too early"):
            inventory(header.tobuf(tarfile.GNU_FORMAT) + bytes(4096))


@pytest.mark.parametrize(
    "records",
    [
        SPARSE | {"GNU.sparse.realsize": str(1 << 62)},
        {"GNU.sparse.size": str(1 << 62), "GNU.sparse.map": "0,1"},
        {"GNU.sparse.size": "100", "GNU.sparse.map": "0,1,0,1"},
        {"GNU.sparse.size": "100", "GNU.sparse.map": "0,1,2"},
        {"GNU.sparse.size": "100", "GNU.sparse.map": "0,-1"},
        {"mtime": "nan"},
        {"size": "9" * 30},
        {"uid": "-1"},
    ],
)
def test_what_makes_no_sense_is_refused(records: dict[str, str]) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        entry = tarfile.TarInfo("a")
        entry.size, entry.pax_headers = 1024, records
        tar.addfile(entry, io.BytesIO(b"1\n0\n1\n".ljust(1024, b"\0")))
    with pytest.raises(BadInput, match=r"^a\.tar: it "):
        inventory(buffer.getvalue())


def test_too_many_files_or_headers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = tarball({str(number): b"" for number in range(30)})
    assert len(inventory(data).files) == 30
    with monkeypatch.context() as patch:
        patch.setattr(scan, "FILES_MAX", 29)
        with pytest.raises(BadInput, match="more than 29 files"):
            inventory(data)
    long = tarball({"x" * 5000: b""})
    with monkeypatch.context() as patch:
        patch.setattr(members, "HEADERS_MAX_BYTES", 4999)
        with pytest.raises(BadInput, match="header of"):
            inventory(long)


def test_package_databases_take_no_more_room_than_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    status = b"Package: bash\nVersion: 1\n\n"
    data = tarball({DPKG[0]: status, f"{DPKG[1]}/more": status.replace(b"bash", b"more")})
    assert [package.name for package in inventory(data).packages] == ["bash", "more"]
    monkeypatch.setattr(kept, "TOTAL_MAX_BYTES", len(status))
    assert [package.name for package in inventory(data).packages] == ["bash"]


def test_names_that_exclude_each_other_do_no_harm() -> None:
    status = b"Package: bash\nVersion: 1\n\n"
    data = tarball(
        {f"{DPKG[0]}": status, f"{DPKG[0]}/below": status, f"{DPKG[1]}/{'x' * 300}": b""}
    )
    found = inventory(data)
    assert [package.name for package in found.packages] == ["bash"]
    assert len(found.files) == 3


def test_a_program_beyond_the_limit_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.inspection import contents

    monkeypatch.setattr(contents, "PROGRAM_MAX_BYTES", len(PROGRAM))
    found = inventory(tarball({"a": PROGRAM, "b": PROGRAM + b"\0"}))
    assert found.programs.keys() == {"/a"}
    assert found.marks == {"/b": (Mark.UNREAD,)}


LIMITED = """
import resource, sys
from pathlib import Path
from tasks.inspection.scan import scan_file
from tasks.reporting import Silent
resource.setrlimit(resource.RLIMIT_DATA, (800 << 20, 800 << 20))
found = scan_file(Path(sys.argv[1]), Silent(), [b"/builds"])
print(len(found.files), sum(entry.size for entry in found.files.values()))
"""


def test_large_files_do_not_come_into_memory(tmp_path: Path) -> None:
    """Neither a program, nor a text, nor zeros, of which zstd makes much from nothing. A skippable
    frame before them makes the tarball large enough for its content."""
    size = 400 << 20

    def pieces() -> object:
        for name, head in (("program", PROGRAM), ("etc/passwd", b"root"), ("zeros", b"")):
            entry = tarfile.TarInfo(name)
            entry.size = size
            yield entry.tobuf(tarfile.GNU_FORMAT) + head
            yield from (bytes(1 << 20) for _ in range((size >> 20) - 1))
            yield bytes((1 << 20) - len(head))
        yield bytes(1024)

    packed = tmp_path / "a.tar.zst"
    with packed.open("wb") as file:
        file.write(b"\x50\x2a\x4d\x18" + (6 << 20).to_bytes(4, "little") + bytes(6 << 20))
        for piece in compressed(pieces(), Compression.ZSTD, Levels()):  # type: ignore[arg-type]
            file.write(piece)
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, packed],
        capture_output=True, text=True, env=environ, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["3", str(3 * size)], done.stderr
