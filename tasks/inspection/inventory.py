"""The inventory of a stage: what checks and comparisons need to know of a tarball."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file of a stage. `content` is the sha256 of a file, the target of a link, the first name
    of a hard link, or the numbers of a device, `major:minor`. `mtime` is in seconds since 1970."""

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
    """What the ELF headers of a program or library say. `machine` is as in `EM_X86_64`;
    `interpreter` is the dynamic loader; `runpath` has the folders of DT_RUNPATH or DT_RPATH,
    unexpanded."""

    machine: str
    bits: int
    interpreter: str = ""
    needed: tuple[str, ...] = ()
    soname: str = ""
    runpath: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """All that was seen of a stage. Paths are absolute in the stage: `/etc/passwd`.

    `programs` are ELF files by their paths; `scripts` have the interpreter of their `#!` line, with
    its arguments. `texts` has the content of the small files that checks read, such as
    `/etc/passwd`. `marks` says what was seen in the content of files: `private-key`, or
    `build-path` (a path of the machine that built it).
    """

    name: str
    sha256: str
    size_bytes: int
    files: dict[str, Entry]
    packages: tuple[Package, ...] = ()
    programs: dict[str, Program] = field(default_factory=dict)
    scripts: dict[str, str] = field(default_factory=dict)
    texts: dict[str, bytes] = field(default_factory=dict)
    marks: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def unpacked_bytes(self) -> int:
        return sum(entry.size for entry in self.files.values())
