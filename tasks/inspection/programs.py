"""Reads the headers of ELF files: machine, loader, and what they need, for any architecture.

The structures and names are pyelftools'. Its `ELFFile` builds them anew for each file, which takes
ten times as long as all the rest, so they are kept here. A file is hostile input: the number of its
headers and the length of its strings are limited, and what they point to is looked for only inside
the file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from typing import IO, Any

from elftools.common.exceptions import ELFError
from elftools.construct import ConstructError
from elftools.elf.enums import ENUM_D_TAG_COMMON, ENUM_P_TYPE_BASE
from elftools.elf.structs import ELFStructs

from tasks.inspection.inventory import Program

MAGIC = b"\x7fELF"
_SEGMENTS_MAX = 256
_TAGS_MAX = 4096
_STRING_MAX = 4096
_OFFSET_MAX = 1 << 40
_NEEDED, _STRTAB, _SONAME, _RPATH, _RUNPATH = (
    ENUM_D_TAG_COMMON[f"DT_{name}"] for name in ("NEEDED", "STRTAB", "SONAME", "RPATH", "RUNPATH")
)


_WANTED = {ENUM_P_TYPE_BASE[f"PT_{name}"] for name in ("LOAD", "DYNAMIC", "INTERP")}


class DamagedProgram(Exception):
    """The file begins as an ELF file, and its headers cannot be read."""


def read_program(file: IO[bytes]) -> Program:
    """The headers of an ELF file; `DamagedProgram` if they make no sense."""
    try:
        return _program(file)
    except (ELFError, ConstructError, struct.error, ValueError, KeyError) as error:
        raise DamagedProgram(str(error)) from error


def _program(file: IO[bytes]) -> Program:
    head = file.read(64)
    bits, little = _BITS[head[4:5]], _LITTLE[head[5:6]]
    layout = _layout(bits, little)
    header = layout.Elf_Ehdr.parse(head)
    segments = list(_segments(file, layout, header))
    tags = list(_tags(file, segments, bits, little))
    strings = next((_offset(value, segments) for tag, value in tags if tag == _STRTAB), None)

    def texts(wanted: int) -> tuple[str, ...]:
        if strings is None:
            return ()
        return tuple(_string(file, strings + value) for tag, value in tags if tag == wanted)

    return Program(
        machine=_name("EM_", header.e_machine),
        bits=bits,
        little_endian=little,
        kind=_name("ET_", header.e_type),
        interpreter=_interpreter(file, segments),
        needed=texts(_NEEDED),
        soname="".join(texts(_SONAME)[:1]),
        runpath=_folders(texts(_RUNPATH) or texts(_RPATH)),
    )


_BITS = {b"\1": 32, b"\2": 64}
_LITTLE = {b"\1": True, b"\2": False}


@cache
def _layout(bits: int, little: bool) -> ELFStructs:  # noqa: FBT001
    layout = ELFStructs(little_endian=little, elfclass=bits)
    layout.create_basic_structs()
    layout.create_advanced_structs()
    return layout


def _name(prefix: str, value: str | int) -> str:
    """The name of an enumerated value; pyelftools leaves one that it does not know a number."""
    return value if isinstance(value, str) else f"{prefix}{value}"


def _segments(file: IO[bytes], layout: ELFStructs, header: Any) -> Iterator[Any]:
    """The program headers that are of interest here."""
    size = layout.Elf_Phdr.sizeof()
    if header.e_phnum > _SEGMENTS_MAX or (header.e_phnum and header.e_phentsize != size):
        raise ValueError("unusual program headers")
    table = _read(file, header.e_phoff, size * header.e_phnum)
    kind = struct.Struct("<I" if layout.little_endian else ">I")
    for at in range(0, size * header.e_phnum, size):
        if kind.unpack_from(table, at)[0] in _WANTED:
            yield layout.Elf_Phdr.parse(table[at : at + size])


def _tags(
    file: IO[bytes],
    segments: list[Any],
    bits: int,
    little: bool,  # noqa: FBT001
) -> Iterator[tuple[int, int]]:
    """The entries of the dynamic section: pairs of a tag and a value."""
    pair = struct.Struct(("<" if little else ">") + ("qQ" if bits == 64 else "iI"))
    for segment in segments:
        if segment.p_type == "PT_DYNAMIC":
            table = _read(file, segment.p_offset, min(segment.p_filesz, _TAGS_MAX * pair.size))
            for tag, value in pair.iter_unpack(table[: len(table) // pair.size * pair.size]):
                if not tag:
                    return
                yield tag, value


def _offset(address: int, segments: list[Any]) -> int | None:
    """Where in the file the memory at `address` comes from."""
    for segment in segments:
        if segment.p_type == "PT_LOAD":
            inside: int = address - segment.p_vaddr
            if 0 <= inside < segment.p_filesz:
                return inside + int(segment.p_offset)
    return None


def _interpreter(file: IO[bytes], segments: list[Any]) -> str:
    found = (segment.p_offset for segment in segments if segment.p_type == "PT_INTERP")
    return next((_string(file, offset) for offset in found), "")


def _string(file: IO[bytes], offset: int) -> str:
    text, end, _ = _read(file, offset, _STRING_MAX).partition(b"\0")
    if not end:
        raise ValueError("a string without an end")
    return text.decode("utf-8", "surrogateescape")


def _read(file: IO[bytes], offset: int, size: int) -> bytes:
    if offset > _OFFSET_MAX:
        raise ValueError("it points out of the file")
    file.seek(offset)
    return file.read(size)


def _folders(paths: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(folder for path in paths for folder in path.split(":") if folder)
