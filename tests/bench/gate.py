"""How long taking the inventory of a stage takes, beside `tar -t` of the same tarball in turn.

    python -m tests.bench.gate [--folder DIR] [--files N] [--bytes N] [--rounds N] [--quick]

The tree is as large as a stage, and has this machine's own programs and libraries, up to PROGRAMS
of them: the headers of real ones are read. `tar -t` looks only at the headers of the archive; an
inventory has the digest of every file, too.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tasks.archive.compress import Levels
from tasks.archive.tarball import pack
from tasks.inspection.scan import scan_file
from tasks.inspection.stored import Inventories
from tasks.reporting import Silent
from tests.bench.__main__ import Bench, arguments
from tests.bench.tree import make_tree

PROGRAMS = 4000
PROGRAM_MAX_BYTES = 2 << 20
BUILD_PATHS = (b"/var/lib/stagefarm/builds",)
MEMORY = """
import sys
from pathlib import Path
from tasks.inspection.scan import scan_file
from tasks.reporting import Silent
def peak():
    return Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
before = peak()
found = scan_file(Path(sys.argv[1]), Silent())
print(before, peak())
"""


def make_stage(root: Path, files: int, size_bytes: int) -> int:
    """A tree of `files` files and `size_bytes`; returns how many of them are programs."""
    programs = list(islice(_programs(), min(PROGRAMS, files // 10)))
    taken = sum(path.stat().st_size for path in programs)
    make_tree(
        root, files=files - len(programs), size_bytes=max(size_bytes - taken, size_bytes // 4)
    )
    for number, path in enumerate(programs):
        place = root / f"usr/lib/{number // 100}"
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place / f"{number}-{path.name}")
    return len(programs)


def _programs() -> Iterator[Path]:
    for folder in ("/usr/bin", "/usr/sbin", "/usr/lib"):
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file() and not path.is_symlink() and _is_program(path):
                yield path


def _is_program(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF" and path.stat().st_size < PROGRAM_MAX_BYTES


def measure(bench: Bench, files: int, size_bytes: int) -> None:
    programs = make_stage(bench.folder / "tree", files, size_bytes)
    for ending, goal in (("tar.zst", 2.0), ("tar.xz", 2.0)):
        tarball = bench.folder / f"t.{ending}"
        pack(bench.folder / "tree", tarball, report=Silent(), levels=Levels(xz=1))
        if ending == "tar.zst":
            found = scan_file(tarball, Silent())
            assert len(found.programs) >= programs
            print(
                f"a tree of {len(found.files):,} files, {found.unpacked_bytes / 1e9:.2f} GB, with "
                f"{programs:,} programs\n{'':<44} {'stagefarm':>10} {'tar':>10}"
            )
        bench.pair(
            f"inventory of .{ending}, {tarball.stat().st_size / 1e9:.2f} GB (tar -t)",
            lambda tarball=tarball: scan_file(tarball, Silent(), BUILD_PATHS),
            f"tar -tf t.{ending} > out/list",
            goal,
        )
    measure_memory(bench.folder / "t.tar.zst")
    measure_stored(bench.folder)


def measure_memory(tarball: Path) -> None:
    environ = os.environ | {"PYTHONPATH": str(Path.cwd())}
    words = [sys.executable, "-c", MEMORY, str(tarball)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environ)
    before, peak = (int(value) / 1024 for value in done.stdout.split())
    print(
        f"{'peak memory':<44} {peak:7.0f} MB, {before:.0f} MB of it the program itself", flush=True
    )


def measure_stored(folder: Path) -> None:
    kept, made = Inventories(folder / "kept"), scan_file(folder / "t.tar.zst", Silent())
    kept.put(made)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        assert kept.get(made.sha256)
        times.append(time.perf_counter() - start)
    size_bytes = sum(path.stat().st_size for path in kept.root.iterdir())
    median = statistics.median(times)
    print(f"{'the same, kept on this machine':<44} {median:8.2f} s, {size_bytes / 1e6:.1f} MB")


def main() -> None:
    given = arguments(__doc__)
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="stagefarm-bench-") as name:
        print(f"in {given.folder}, {os.cpu_count()} cores, medians of {given.rounds} rounds")
        measure(Bench(Path(name), given.rounds), given.files, given.bytes)


if __name__ == "__main__":
    main()
