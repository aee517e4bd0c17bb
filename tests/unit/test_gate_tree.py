"""Paths are found in an inventory as the kernel finds them in a root filesystem."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as some

from orchestrator.gate.checks.tree import ALL_STEPS_MAX, STEPS_MAX, End, Tree
from tasks.inspection.inventory import Entry, Kind
from tests.inventories import entry, folder, inventory, link

PARTS = some.sampled_from(["a", "b", "c", "d", "..", ".", ""])
NAMES = some.sampled_from(
    ["/a", "/b", "/c", "/d", "/a/b", "/a/c", "/b/a", "/b/b", "/a/b/c", "/d/a"]
)
TARGETS = some.tuples(some.sampled_from(["", "/"]), some.lists(PARTS, min_size=1, max_size=6)).map(
    lambda pair: pair[0] + ("/".join(pair[1]).lstrip("/") or ".")
)
KINDS = some.one_of(
    some.just("file"), some.just("folder"), TARGETS.map(lambda text: f"link {text}")
)
OPENAT2, RESOLVE_IN_ROOT, O_PATH = 437, 0x10, 0o10000000


def opened(root: Path, path: str) -> str | None:
    """What `path` is in `root` for the kernel, as in a chroot; None if it is not there, or a
    circle."""
    libc = ctypes.CDLL(None, use_errno=True)
    base = os.open(root, os.O_DIRECTORY)
    try:
        how = struct.pack("QQQ", O_PATH | os.O_CLOEXEC, 0, RESOLVE_IN_ROOT)
        found = libc.syscall(OPENAT2, base, os.fsencode(path), how, len(how))
        if found < 0:
            assert ctypes.get_errno() in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR)
            return None
        try:
            real = str(Path(f"/proc/self/fd/{found}").readlink())
        finally:
            os.close(found)
        return real.removeprefix(str(root)) or "/"
    finally:
        os.close(base)


@settings(max_examples=200)
@given(some.dictionaries(NAMES, KINDS, max_size=8), TARGETS)
def test_the_kernel_finds_the_same(wanted: dict[str, str], path: str) -> None:
    with tempfile.TemporaryDirectory() as made:
        root = Path(made).resolve()
        files: dict[str, Entry] = {}
        for name, kind in sorted(wanted.items()):
            place, above = root / name[1:], str(Path(name).parent)
            if above != "/" and (above not in files or files[above].kind is not Kind.FOLDER):
                continue
            word, _, target = kind.partition(" ")
            files[name] = {"file": entry(), "folder": folder()}.get(word) or link(target)
            if word == "file":
                place.touch()
            elif word == "folder":
                place.mkdir()
            else:
                place.symlink_to(target)
        tree = Tree(inventory(files))
        for asked in (f"/{path}", *files):
            place, real = tree.find(asked), opened(root, asked)
            assert (place.path if place.end is End.FOUND else None) == real, asked


@given(some.dictionaries(NAMES, TARGETS.map(link)), some.lists(PARTS, max_size=30))
def test_no_link_leads_out_or_round_for_ever(files: dict[str, object], parts: list[str]) -> None:
    tree = Tree(inventory(files))  # type: ignore[arg-type]
    place = tree.find("/" + "/".join(parts))
    assert place.path.startswith("/")
    assert ".." not in place.path.split("/")


def test_a_link_that_climbs_is_told_from_one_that_does_not() -> None:
    tree = Tree(
        inventory(
            {
                "/srv/out": link("../../etc/passwd"),
                "/srv/in": link("../etc/passwd"),
                "/srv/through": link("out"),
                "/srv/absolute": link("/../etc/passwd"),
            }
        )
    )
    assert {name: tree.find(f"/srv/{name}").climbed for name in ("out", "in", "through")} == {
        "out": True, "in": False, "through": False,
    }  # fmt: skip
    assert tree.find("/srv/absolute").climbed
    assert {tree.file_at(f"/srv/{name}") for name in ("out", "in", "through")} == {"/etc/passwd"}


def test_folders_that_the_tarball_does_not_list_are_there() -> None:
    tree = Tree(inventory({"/usr/lib/x/y": entry()}))
    assert tree.is_folder("/usr/lib/x")
    assert tree.folders["/usr"] == {"lib"}
    assert not tree.is_folder("/usr/lib/x/y")


def test_a_file_below_a_file_is_not_found() -> None:
    tree = Tree(inventory({"/a": entry(), "/l": link("a/")}))
    assert tree.find("/a/b").end is End.MISSING
    assert tree.find("/l").end is End.MISSING
    assert tree.find("/a").end is End.FOUND


def test_what_winds_on_and_on_is_given_up() -> None:
    files = {f"/{number}": link("x/../" * 800 + str(number + 1)) for number in range(30)}
    tree = Tree(inventory({"/x": folder(), "/30": entry(), **files}))
    assert tree.find("/29").end is End.FOUND
    assert tree.find("/0").end is End.TOO_LONG
    assert tree.find("/" + "x/../" * STEPS_MAX).end is End.TOO_LONG
    tree._steps = ALL_STEPS_MAX
    assert tree.find("/30").end is End.TOO_LONG
