"""Small ELF files for any machine, with the headers that a dynamic loader reads, and no code."""

from __future__ import annotations

import struct
from collections.abc import Sequence

X86_64, AARCH64, RISCV, I386, ARM, PPC64 = 62, 183, 243, 3, 40, 21
_DYN, _LOAD, _DYNAMIC, _INTERP = 3, 1, 2, 3
_NEEDED, _STRTAB, _SONAME, _RUNPATH = 1, 5, 14, 29


def elf(
    *,
    machine: int = X86_64,
    bits: int = 64,
    little: bool = True,
    interpreter: str = "",
    needed: Sequence[str] = (),
    soname: str = "",
    runpath: str = "",
) -> bytes:
    """A program, or a library if it has no `interpreter`."""
    order, wide = "<" if little else ">", bits == 64
    head_bytes, segment_bytes = (64, 56) if wide else (52, 32)
    strings, offsets = _strings([*needed, soname, runpath])
    wanted = [*((_NEEDED, name) for name in needed), (_SONAME, soname), (_RUNPATH, runpath)]
    loader = interpreter.encode() + b"\0"
    at_loader = head_bytes + 3 * segment_bytes
    at_strings = at_loader + len(loader)
    at_dynamic = -(-(at_strings + len(strings)) // 8) * 8
    tags = [(tag, offsets[text]) for tag, text in wanted if text]
    pair = order + ("qQ" if wide else "iI")
    table = b"".join(struct.pack(pair, *tag) for tag in [*tags, (_STRTAB, at_strings), (0, 0)])
    size = at_dynamic + len(table)
    segments = [(_LOAD, 0, size), (_DYNAMIC, at_dynamic, len(table))]
    segments += [(_INTERP, at_loader, len(loader))] if interpreter else []
    head = b"\x7fELF" + bytes([2 if wide else 1, 1 if little else 2, 1]) + bytes(9)
    head += struct.pack(
        order + ("HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"),
        *(_DYN, machine, 1, 0, head_bytes, 0, 0, head_bytes, segment_bytes, len(segments), 0, 0, 0),
    )
    for kind, at, length in segments:
        head += (
            struct.pack(order + "IIQQQQQQ", kind, 4, at, at, at, length, length, 1)
            if wide
            else struct.pack(order + "IIIIIIII", kind, at, at, at, length, length, 4, 1)
        )
    body = head.ljust(at_loader, b"\0") + loader + strings
    return body.ljust(at_dynamic, b"\0") + table


def _strings(texts: list[str]) -> tuple[bytes, dict[str, int]]:
    """A string table, and where in it each text begins."""
    table, offsets = b"\0", {}
    for text in texts:
        offsets[text] = len(table)
        table += text.encode() + b"\0"
    return table, offsets
