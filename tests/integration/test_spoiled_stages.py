"""The gate on real Debian root filesystems: spoiled in one way each, and not spoiled at all."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from orchestrator.formats.gatefile import Gatefile, Verdict
from orchestrator.gate.checks.faults import cut
from orchestrator.gate.judge import find
from tasks.archive import decompress
from tasks.inspection.inventory import Inventory
from tasks.inspection.scan import scan, scan_file
from tasks.reporting import Silent
from tests import debian
from tests.spoils import BUILD_PATH, SIZE, SPOILS, Found, Spoil, prepare

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.timeout(900),  # debootstrap, on a busy machine
    pytest.mark.usefixtures("can_isolate", "host_unchanged"),
]


@dataclass(frozen=True, slots=True)
class Debian:
    """A root filesystem that spoiled ones are overlays of, and its inventory. It is on a tmpfs: an
    overlay can lie on that whatever the machine's own disk is."""

    folder: Path
    inventory: Inventory

    @property
    def root(self) -> Path:
        return self.folder / "root"

    def spoiled(self, make: Callable[[Path], object]) -> Inventory:
        """The inventory of a tarball of this root after `make` has changed it."""
        with TemporaryDirectory(dir=self.folder) as folder, ExitStack() as ending:
            upper, work, merged = (Path(folder, name) for name in ("upper", "work", "merged"))
            for made in (upper, work, merged):
                made.mkdir()
            layers = f"lowerdir={self.root},upperdir={upper},workdir={work}"
            ending.enter_context(mounted("-t", "overlay", "-o", layers, "overlay", merged))
            make(merged)
            return packed(merged)


@contextmanager
def mounted(*words: str | Path) -> Iterator[None]:
    """A mount for as long as it is needed; the last of `words` is where."""
    subprocess.run(["mount", *map(str, words)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(words[-1])], check=True)


def packed(root: Path) -> Inventory:
    """The inventory of the tarball that GNU tar makes of `root`."""
    words = ["tar", *debian.METADATA, "--sparse", "-C", str(root), "-cf", "-", "."]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as tar:
        assert tar.stdout
        pieces = decompress.pieces_of(tar.stdout.read1)  # type: ignore[attr-defined]
        return scan(pieces, name="a.tar", report=Silent(), build_paths=[BUILD_PATH])


@pytest.fixture(scope="module")
def cache(pytestconfig: pytest.Config) -> Path:
    return pytestconfig.cache.mkdir("debian")


@pytest.fixture(scope="module")
def made(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    folder = tmp_path_factory.mktemp("debian")
    with mounted("-t", "tmpfs", "debian", folder):
        root = folder / "root"
        root.mkdir()
        debian.tar("-C", root, "-xpf", debian.tarball(cache, "amd64"))
        prepare(root)
        yield Debian(folder, packed(root))


def found(candidate: Inventory, published: Inventory | None) -> list[Found]:
    findings = find(candidate, published, Gatefile())
    return sorted((item.check, item.path, item.before, item.after) for item in findings)


@pytest.mark.parametrize("spoil", SPOILS, ids=lambda spoil: spoil.name)
def test_a_spoiled_stage_is_found_by_exactly_what_is_wrong(made: Debian, spoil: Spoil) -> None:
    assert found(made.spoiled(spoil.make), made.inventory) == sorted(spoil.finds)


def test_two_nights_of_debian_give_no_finding(cache: Path) -> None:
    nights = [
        scan_file(debian.tarball(cache, "amd64", again=again), Silent()) for again in (False, True)
    ]
    assert nights[0].sha256 != nights[1].sha256
    assert find(nights[1], nights[0], Gatefile()) == ()
    assert find(nights[0], nights[1], Gatefile()) == ()


def test_a_first_stage_can_pass(made: Debian) -> None:
    """All that holds is what the tests put into /srv/everything."""
    findings = find(made.inventory, None, Gatefile())
    held = [item.path for item in findings if item.verdict is Verdict.HOLD]
    assert held
    assert [path for path in held if not path.startswith("/srv/everything/")] == []


def test_a_first_stage_that_was_not_cleaned_is_held(cache: Path) -> None:
    findings = find(scan_file(debian.tarball(cache, "amd64"), Silent()), None, Gatefile())
    assert {"machine_id", "resolv_conf"} <= {item.check for item in findings}


def test_a_tarball_that_was_not_compressed_is_found(made: Debian, tmp_path: Path) -> None:
    """Its content is the same; so it is the only finding."""
    small = tmp_path / "a.tar.zst"
    debian.tar("-C", made.root, "--zstd", "-cf", small, ".")
    compressed = scan_file(small, Silent())
    assert found(made.inventory, compressed) == [("tarball_size", "tarball", SIZE, SIZE)]


def hostile(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode = kind, target, 0o644
    return member


def test_what_no_file_system_would_have_is_found(made: Debian, tmp_path: Path) -> None:
    long, winding = "x/" * (1 << 19), "a/../" * 800
    members = [
        hostile("./srv/long", tarfile.SYMTYPE, long),
        hostile("./srv/whiteout", tarfile.CHRTYPE),
        hostile("./srv/hard", tarfile.LNKTYPE, "./srv/gone"),
        hostile("../../etc/climbs", tarfile.REGTYPE),
        hostile("./srv/a", tarfile.DIRTYPE),
        *(hostile(f"./srv/{number}", tarfile.SYMTYPE, winding) for number in range(500)),
    ]
    tarball = tmp_path / "a.tar"
    debian.tar("-C", made.root, "-cf", tarball, ".")
    with tarfile.open(tarball, mode="a", format=tarfile.GNU_FORMAT) as tar:
        for member in members:
            tar.addfile(member)
    assert found(scan_file(tarball, Silent()), made.inventory) == [
        ("dangling_links", "/srv/hard", "", "/srv/gone"),
        ("dangling_links", "/srv/long", "", cut(long)),
        ("device_nodes", "/srv/whiteout", "", "character device 0:0"),
        ("escaping_links", "/../../etc/climbs", "", "/../../etc/climbs"),
    ]
