"""The inventory of a stage: what checks and comparisons need to know of a tarball."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from tasks.artifacts.packages import Package


class Kind(StrEnum):
    """The type of a file in a tarball."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    HARD_LINK = "hard link"
    CHARACTER_DEVICE = "character device"
    BLOCK_DEVICE = "block device"
    FIFO = "fifo"


class Mark(StrEnum):
    """What was seen in the content of a file. `private-key` is no mark of a program: libraries of
    cryptography have keys for their own tests. `unread` is a program, or a text that checks read,
    that is larger than what is read of it; `damaged` begins as a program and is none."""

    PRIVATE_KEY = "private-key"
    BUILD_PATH = "build-path"
    UNREAD = "unread"
    DAMAGED = "damaged"


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One file of a stage. `content` is the BLAKE3 digest of a file, the target of a link, the
    first name of a hard link, or the numbers of a device, `major:minor`. `mtime` is in seconds
    since 1970. `xattrs` have names such as `SCHILY.xattr.security.capability`."""

    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int
    mtime: float
    content: str = ""
    xattrs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What the ELF headers of a program or library say. `machine` is as in `EM_X86_64`; `kind` as
    in `ET_DYN`; `interpreter` is the dynamic loader; `runpath` has the folders of DT_RUNPATH or
    DT_RPATH, unexpanded."""

    machine: str
    bits: int
    little_endian: bool = True
    kind: str = ""
    interpreter: str = ""
    needed: tuple[str, ...] = ()
    soname: str = ""
    runpath: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """The time and size of the source that a `.pyc` file says it was made from (PEP 552)."""

    source_mtime: int
    source_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """All that was seen of a stage. Paths are absolute in the stage: `/etc/passwd`.

    `programs` are ELF files by their paths; `scripts` have the interpreter of their `#!` line, with
    its arguments. `texts` has the content of the small files that checks read, such as
    `/etc/passwd`; `compiled` what the headers of Python's compiled files say; `marks` what was seen
    in the content of files. Of several names of one file (hard links), the first in alphabetical
    order has all this.
    """

    name: str
    sha256: str
    size_bytes: int
    files: dict[str, Entry]
    packages: tuple[Package, ...] = ()
    programs: dict[str, Program] = field(default_factory=dict)
    scripts: dict[str, str] = field(default_factory=dict)
    texts: dict[str, bytes] = field(default_factory=dict)
    marks: dict[str, tuple[Mark, ...]] = field(default_factory=dict)
    compiled: dict[str, Compiled] = field(default_factory=dict)

    @property
    def unpacked_bytes(self) -> int:
        return sum(entry.size for entry in self.files.values())
