"""How long unpacking and packing take, beside what tar, zstd and xz take for the same in turn.

    python -m tests.bench [--folder DIR] [--files N] [--bytes N] [--rounds N] [--quick]

Every figure is a median of rounds in which both take turns, so that what else the machine does
meets both. The folder should be on the file system that matters; by default it is in memory, where
no disk blurs the ratio.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tasks.archive.tarball import extract, pack
from tasks.artifacts.manifest import pack as pack_set
from tasks.host.mounts import unmount
from tasks.model import Source, SourceType
from tasks.reporting import Silent
from tasks.rootfs.layer import mount_layer
from tasks.rootfs.storage import Storage
from tasks.settings import Settings
from tasks.sources.destination import Destination
from tasks.sources.dispatch import seed
from tests.bench.tree import make_tree

FLAGS = "--numeric-owner --acls --xattrs --xattrs-include='*'"
PACK_FLAGS = f"--format=posix --sort=name --sparse {FLAGS}"
MEMORY = """
import resource, sys
from pathlib import Path
from tasks.archive.tarball import extract, pack
from tasks.reporting import Silent
{call}
status = Path("/proc/self/status").read_text()
own = int(status.split("VmHWM:")[1].split()[0])
print(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@dataclass
class Bench:
    folder: Path
    rounds: int

    def pair(
        self, what: str, ours: Callable[[], object], theirs: str, goal: float | None = None
    ) -> None:
        """Time both in turn and print medians and their ratio."""
        times: dict[str, list[Took]] = {"ours": [], "theirs": []}
        for number in range(self.rounds):
            order = [("ours", ours), ("theirs", lambda: shell(theirs, self.folder))]
            for name, run in order if number % 2 else reversed(order):
                with self.fresh():
                    times[name].append(timed(run))
        first, second = (
            Took(*map(statistics.median, zip(*times[name], strict=True)))
            for name in ("ours", "theirs")
        )
        ratio = first.seconds / second.seconds
        said = "" if goal is None else f"   goal {goal:.2f}  {'met' if ratio <= goal else 'MISSED'}"
        print(
            f"{what:<44} {first.seconds:8.2f} s {second.seconds:8.2f} s   ratio {ratio:5.2f}   "
            f"cpu {first.cpu:6.2f} s {second.cpu:6.2f} s  {first.cpu / second.cpu:5.2f}{said}",
            flush=True,
        )

    @contextmanager
    def fresh(self) -> Iterator[None]:
        """An empty `out` folder, written to the disk before the clock starts."""
        remove(self.folder / "out")
        (self.folder / "out").mkdir()
        os.sync()
        yield
        remove(self.folder / "out")


class Took(NamedTuple):
    """Seconds on the clock, and of work of all processes: the second hardly hangs on what else the
    machine does."""

    seconds: float
    cpu: float


def timed(run: Callable[[], object]) -> Took:
    start, cpu = time.perf_counter(), _cpu()
    run()
    return Took(time.perf_counter() - start, _cpu() - cpu)


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def shell(command: str, folder: Path) -> None:
    subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=folder, check=True)


def remove(path: Path) -> None:
    subprocess.run(["rm", "-rf", str(path)], check=True)


def measure_stage(bench: Bench, files: int, size_bytes: int) -> None:
    folder = bench.folder
    tree, out = folder / "tree", folder / "out"
    make_tree(tree, files=files, size_bytes=size_bytes)
    size = sum(path.lstat().st_size for path in tree.rglob("*"))
    print(f"a tree of {sum(1 for _ in tree.rglob('*')):,} files, {size / 1e9:.2f} GB")
    pack(tree, folder / "t.tar.zst", report=Silent())
    packed = (folder / "t.tar.zst").stat().st_size / 1e9
    print(f"{'':<44} {'stagefarm':>10} {'tar':>10}          ({packed:.2f} GB as .tar.zst)")
    bench.pair(
        "unpack .tar.zst (tar --zstd -x)",
        lambda: extract(folder / "t.tar.zst", out, report=Silent()),
        f"tar --zstd -xpf t.tar.zst -C out {FLAGS}",
        1.15,
    )
    bench.pair(
        "pack .tar.zst (tar | zstd -T0 -3)",
        lambda: pack(tree, out / "t.tar.zst", report=Silent()),
        f"tar {PACK_FLAGS} -C tree -cf - . | zstd -q -T0 -3 > out/t.tar.zst",
        1.15,
    )
    bench.pair(
        "the same with all files beside the tarball",
        lambda: pack_set(tree, out / "t.tar.zst", report=Silent()),
        f"tar {PACK_FLAGS} -C tree -cf - . | zstd -q -T0 -3 > out/t.tar.zst",
    )
    measure_memory(folder)
    measure_seed(folder, folder / "t.tar.zst")
    remove(tree)


def measure_xz(bench: Bench, size_bytes: int) -> None:
    make_tree(bench.folder / "tree", files=4000, size_bytes=size_bytes)
    bench.pair(
        f"pack .tar.xz, {size_bytes / 1e6:.0f} MB (tar | xz -T0)",
        lambda: pack(bench.folder / "tree", bench.folder / "out/t.tar.xz", report=Silent()),
        f"tar {PACK_FLAGS} -C tree -cf - . | xz -T0 > out/t.tar.xz",
        1.1,
    )
    remove(bench.folder / "tree")


def measure_growth(bench: Bench, counts: list[int]) -> None:
    """Small files only, so that their number is what counts."""
    tarball = bench.folder / "t.tar.zst"
    for count in counts:
        make_tree(bench.folder / "tree", files=count, size_bytes=count * 2000)
        pack(bench.folder / "tree", tarball, report=Silent())
        bench.pair(
            f"unpack {count:,} small files",
            lambda: extract(tarball, bench.folder / "out", report=Silent()),
            f"tar --zstd -xpf t.tar.zst -C out {FLAGS}",
        )
        bench.pair(
            f"pack {count:,} small files",
            lambda: pack(bench.folder / "tree", bench.folder / "out/t.tar.zst", report=Silent()),
            f"tar {PACK_FLAGS} -C tree -cf - . | zstd -q -T0 -3 > out/t.tar.zst",
        )
        measure_seed(bench.folder, tarball)
        remove(bench.folder / "tree")


def measure_memory(folder: Path) -> None:
    """Peak resident memory of the process of a step, and of the largest program it starts."""
    for what, call in (
        ("unpack", "extract(Path('t.tar.zst'), Path('out'), report=Silent())"),
        ("pack", "pack(Path('tree'), Path('out.tar.zst'), report=Silent())"),
    ):
        environ = os.environ | {"PYTHONPATH": str(Path.cwd())}
        done = subprocess.run(
            [sys.executable, "-c", MEMORY.format(call=call)],
            cwd=folder, capture_output=True, text=True, check=True, env=environ,
        )  # fmt: skip
        own, program = (int(value) / 1024 for value in done.stdout.split())
        print(f"{f'peak memory, {what}':<44} {own:7.0f} MB  + {program:.0f} MB for tar", flush=True)
        remove(folder / "out")


def measure_seed(folder: Path, tarball: Path) -> None:
    """From a tarball that is a seed already to a mounted root filesystem."""
    storage = Storage.of(Settings(state_dir=str(folder / "state")))
    place = Destination(folder=folder, storage=storage, report=Silent())
    source = Source(type=SourceType.FILE, path=str(tarball))
    seed(source, folder / "link", place)
    median = statistics.median(_mounted(source, folder, place) for _ in range(5))
    met = "met" if median <= 0.3 else "MISSED"
    print(f"{'a cached seed, to a mounted overlay':<44} {median:8.3f} s   goal 0.3 s  {met}")
    remove(folder / "state")


def _mounted(source: Source, folder: Path, place: Destination) -> float:
    for name in ("layer", "root"):
        remove(folder / name)
        (folder / name).mkdir()
    start = time.perf_counter()
    seed(source, folder / "link", place)
    lower = (folder / "link").readlink()
    mount_layer(folder / "layer", lower=lower, target=folder / "root")
    took = time.perf_counter() - start
    unmount(folder / "root")
    return took


def arguments(about: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"), help="where to work")
    parser.add_argument("--files", type=int, default=68_000)
    parser.add_argument("--bytes", type=int, default=1_400_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a small tree, once")
    given = parser.parse_args()
    if given.quick:
        given.files, given.bytes, given.rounds = 3000, 50_000_000, 1
    return given


def main() -> None:
    given = arguments(__doc__)
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="stagefarm-bench-") as name:
        bench = Bench(Path(name), given.rounds)
        print(f"in {given.folder}, {os.cpu_count()} cores, medians of {given.rounds} rounds")
        measure_stage(bench, given.files, given.bytes)
        measure_xz(bench, 10_000_000 if given.quick else 150_000_000)
        measure_growth(bench, [1000] if given.quick else [10_000, 60_000, 300_000])


if __name__ == "__main__":
    main()
