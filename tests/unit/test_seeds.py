"""Seeds: made once, whole or not at all, kept while used, pruned by their last use."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.archive.tarball import pack
from tasks.errors import SourceFailed
from tasks.host.machine import boot_id
from tasks.host.removal import remove_tree
from tasks.model import Source, SourceType
from tasks.reporting import Progress, Silent
from tasks.results import Artifact
from tasks.rootfs import seed_cache as module
from tasks.rootfs.seed_cache import Seeds
from tasks.rootfs.storage import Storage
from tasks.settings import Settings
from tasks.sources import download, download_index, verify
from tasks.sources.destination import Destination
from tasks.sources.dispatch import fill, seed
from tasks.sources.download_index import DigestCache, Known, Origin
from tests import trees
from tests.webserver import Site, serving


@pytest.fixture
def tarball(tmp_path: Path) -> Artifact:
    trees.plain(tmp_path / "tree")
    return pack(tmp_path / "tree", tmp_path / "seed.tar.zst", report=Silent())


@pytest.fixture
def seeds(tmp_path: Path) -> Seeds:
    return Seeds(tmp_path / "seeds")


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as made:
        yield made


class Count(Silent):
    """How many tarballs were unpacked or fetched."""

    def __init__(self) -> None:
        self.works: set[str] = set()

    def progress(self, progress: Progress) -> None:
        self.works.add(progress.what.partition(" ")[0])


def lease(seeds: Seeds, tarball: Artifact, link: Path) -> Path:
    with seeds.lease(Path(tarball.path), tarball.sha256, link=link, report=Silent()) as folder:
        return folder


def test_a_seed_is_unpacked_once(tmp_path: Path, seeds: Seeds, tarball: Artifact) -> None:
    first = lease(seeds, tarball, tmp_path / "link")
    assert trees.listing(first) == trees.listing(tmp_path / "tree")
    Path(tarball.path).unlink()
    assert lease(seeds, tarball, tmp_path / "other") == first == (tmp_path / "link").readlink()
    assert seeds.root.stat().st_mode & 0o777 == 0o700


def test_a_seed_in_use_is_never_pruned(tmp_path: Path, seeds: Seeds, tarball: Artifact) -> None:
    folder = lease(seeds, tarball, tmp_path / "link")
    assert seeds.prune(0) == []
    assert folder.is_dir()
    (tmp_path / "link").unlink()
    assert [seed.digest for seed in seeds.prune(0)] == [tarball.sha256]
    assert list(seeds.root.iterdir()) == []


def test_a_held_seed_is_never_pruned(tmp_path: Path, seeds: Seeds, tarball: Artifact) -> None:
    with seeds.lease(Path(tarball.path), tarball.sha256, link=tmp_path / "l", report=Silent()):
        (tmp_path / "l").unlink()
        assert seeds.prune(0) == []


def test_the_seed_used_least_recently_goes_first(tmp_path: Path, seeds: Seeds) -> None:
    made = []
    for number in range(3):
        trees.plain(tmp_path / str(number))
        (tmp_path / str(number) / "number").write_text(str(number))
        made.append(pack(tmp_path / str(number), tmp_path / f"{number}.tar", report=Silent()))
        lease(seeds, made[-1], tmp_path / "link")
        os.utime(seeds.root / f"{made[-1].sha256}.json", (number, number))
    (tmp_path / "link").unlink()
    size = sum(seed.size_bytes for seed in seeds.all())
    assert [seed.name for seed in seeds.all()] == ["2.tar", "1.tar", "0.tar"]
    assert [seed.name for seed in seeds.prune(size - 1)] == ["0.tar"]


def test_a_broken_tarball_leaves_no_seed(tmp_path: Path, seeds: Seeds, tarball: Artifact) -> None:
    path = Path(tarball.path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(SourceFailed):
        lease(seeds, tarball, tmp_path / "link")
    assert [path.suffix for path in seeds.root.iterdir()] == [".lock"]
    assert seeds.all() == []


def test_a_seed_of_a_boot_that_ended_early_is_made_again(
    tmp_path: Path, seeds: Seeds, tarball: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = lease(seeds, tarball, tmp_path / "link")
    (folder / "file").unlink()
    monkeypatch.setattr(module, "boot_id", lambda: "another")
    assert trees.listing(lease(seeds, tarball, tmp_path / "link")) == trees.listing(
        tmp_path / "tree"
    )


def test_a_settled_seed_outlives_a_boot(
    tmp_path: Path, seeds: Seeds, tarball: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SETTLED_S", -1.0)
    lease(seeds, tarball, tmp_path / "link")
    lease(seeds, tarball, tmp_path / "link")
    monkeypatch.setattr(module, "boot_id", lambda: "another")
    Path(tarball.path).unlink()
    lease(seeds, tarball, tmp_path / "link")


def test_a_seed_that_could_not_be_written_to_the_disk_does_not_outlive_a_boot(
    tmp_path: Path, seeds: Seeds, tarball: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel refuses syncfs for a descriptor that was opened for its path alone."""
    real_open = os.open

    def open_for_its_path(path: Path, flags: int, *rest: int) -> int:
        return real_open(path, flags | (os.O_PATH if path == seeds.root else 0), *rest)

    lease(seeds, tarball, tmp_path / "link")
    monkeypatch.setattr(module, "SETTLED_S", -1.0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", open_for_its_path)
        lease(seeds, tarball, tmp_path / "link")
    assert [seed.boot for seed in seeds.all()] == [boot_id()]
    lease(seeds, tarball, tmp_path / "link")
    assert [seed.boot for seed in seeds.all()] == [""]


def test_what_killed_processes_left_is_swept(
    tmp_path: Path, seeds: Seeds, tarball: Artifact
) -> None:
    """A record half written of a seed that is there and of one that is not; a stream's lock."""
    folder = lease(seeds, tarball, tmp_path / "link")
    other = "b" * 64
    for name in (f"{tarball.sha256}.1a2b3c4d.partial", f"{other}.1a2b3c4d.partial"):
        (seeds.root / name).write_text("{")
    for name in (f"{other}.lock", "stream-1-2.lock"):
        (seeds.root / name).touch()
    (seeds.root / "known").mkdir()
    seeds.prune(1 << 40)
    endings = ("", ".json", ".lock", ".users")
    kept = [f"{tarball.sha256}{ending}" for ending in endings]
    assert sorted(path.name for path in seeds.root.iterdir()) == sorted([*kept, "known"])
    assert trees.listing(folder) == trees.listing(tmp_path / "tree")


def test_what_is_being_made_is_not_swept(tmp_path: Path, seeds: Seeds, tarball: Artifact) -> None:
    with seeds.scratch() as folder:
        folder.mkdir()
        seeds.prune(1 << 40)
        assert folder.is_dir()


def test_looking_at_a_seed_does_not_take_it_from_a_build_that_is_about_to_use_it(
    tmp_path: Path, seeds: Seeds, tarball: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    def point(link: Path, target: Path) -> None:
        make(link, target)
        seeds.is_used(tarball.sha256)

    make = module._point
    monkeypatch.setattr(module, "_point", point)
    lease(seeds, tarball, tmp_path / "link")
    assert seeds.is_used(tarball.sha256)


def test_the_links_of_builds_that_are_gone_go(
    tmp_path: Path, seeds: Seeds, tarball: Artifact
) -> None:
    for name in ("a", "b"):
        lease(seeds, tarball, tmp_path / name)
    (tmp_path / "a").unlink()
    seeds.prune(1 << 40)
    users = seeds.root / f"{tarball.sha256}.users"
    assert [link.readlink() for link in users.iterdir()] == [tmp_path / "b"]


def test_a_removal_that_was_killed_is_gone_on_with(
    tmp_path: Path, seeds: Seeds, tarball: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease(seeds, tarball, tmp_path / "link")
    (tmp_path / "link").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(module, "remove_tree", killed_in_the_middle)
        with pytest.raises(KeyboardInterrupt):
            seeds.remove(tarball.sha256)
    assert seeds.all() == []
    seeds.prune(1 << 40)
    assert list(seeds.root.iterdir()) == []


def killed_in_the_middle(path: Path) -> None:
    if (path / "file").exists():
        raise KeyboardInterrupt
    remove_tree(path)


def test_names_too_long_for_the_folder_of_seeds_are_one_clear_error(
    tmp_path: Path, seeds: Seeds
) -> None:
    name = "/".join(["d" * 200] * 21)[: 4088 - len(str(tmp_path))].rstrip("/")
    with tarfile.open(tmp_path / "deep.tar", "w") as tar:
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(entry)
    with (
        pytest.raises(SourceFailed, match="File name too long"),
        seeds.lease(tmp_path / "deep.tar", "a" * 64, link=tmp_path / "l", report=Silent()),
    ):
        pass
    assert [path.suffix for path in seeds.root.iterdir()] == [".lock"]


LEASE = """
import sys
from pathlib import Path
from tasks.reporting import Silent
from tasks.rootfs.seed_cache import Seeds
root, tarball, digest, link = sys.argv[1:]
class Said(Silent):
    def line(self, line):
        print(line.text)
with Seeds(Path(root)).lease(Path(tarball), digest, link=Path(link), report=Said()):
    pass
"""


def test_many_builds_at_once_unpack_it_once(
    tmp_path: Path, seeds: Seeds, tarball: Artifact
) -> None:
    started = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                LEASE,
                seeds.root,
                tarball.path,
                tarball.sha256,
                tmp_path / str(n),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(4)
    ]
    said = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0] * 4
    assert sum("unpacked the seed" in text for text in said) == 1
    assert len({(tmp_path / str(n)).readlink() for n in range(4)}) == 1


def place(tmp_path: Path, report: Silent) -> Destination:
    storage = Storage.of(Settings(state_dir=str(tmp_path / "state")))
    return Destination(folder=tmp_path, storage=storage, report=report)


@pytest.mark.parametrize(
    "validator", [{"etag": '"1"'}, {"last_modified": "Sun, 22 Nov 2026 10:00:00 GMT"}]
)
def test_an_unchanged_seed_is_not_fetched_again(
    tmp_path: Path, site: Site, tarball: Artifact, validator: dict[str, str]
) -> None:
    uri = site.put("seed.tar.zst", Path(tarball.path).read_bytes(), **validator)
    works = []
    for name in ("a", "b"):
        count = Count()
        seed(Source(type=SourceType.HTTP, uri=uri), tmp_path / name, place(tmp_path, count))
        works.append(count.works)
    assert works == [{"fetch"}, set()]  # it was unpacked while it was fetched
    assert (tmp_path / "a").readlink() == (tmp_path / "b").readlink()
    assert list((tmp_path / "state" / "downloads").iterdir()) == []


def test_a_changed_seed_is_fetched_again(tmp_path: Path, site: Site, tarball: Artifact) -> None:
    data = Path(tarball.path).read_bytes()
    source = Source(type=SourceType.HTTP, uri=site.put("seed.tar.zst", data, etag='"1"'))
    seed(source, tmp_path / "a", place(tmp_path, Silent()))
    (tmp_path / "tree" / "new").write_text("new")
    other = pack(tmp_path / "tree", tmp_path / "other.tar.zst", report=Silent())
    site.put("seed.tar.zst", Path(other.path).read_bytes(), etag='"2"')
    seed(source, tmp_path / "b", place(tmp_path, Silent()))
    assert (tmp_path / "b").readlink().name == other.sha256


def test_a_seed_named_by_its_sum_needs_no_network(
    tmp_path: Path, site: Site, tarball: Artifact
) -> None:
    uri = site.put("seed.tar.zst", Path(tarball.path).read_bytes())
    source = Source(type=SourceType.HTTP, uri=uri, sha256=tarball.sha256)
    for name in ("a", "b"):
        seed(source, tmp_path / name, place(tmp_path, Silent()))
    assert len(site.requests) == 1


def test_a_local_tarball_is_read_once(tmp_path: Path, tarball: Artifact) -> None:
    source = Source(type=SourceType.FILE, path=tarball.path)
    for name in ("a", "b"):
        seed(source, tmp_path / name, place(tmp_path, Silent()))
    assert (tmp_path / "b").readlink().name == tarball.sha256


@pytest.mark.parametrize(
    ("faults", "works"),
    [([], {"fetch"}), (["cut=300"], {"fetch"}), (["cut=300", 503], {"fetch"})],
)
def test_a_tarball_is_unpacked_while_it_is_fetched(
    tmp_path: Path, site: Site, tarball: Artifact, faults: list[int | str], works: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(
        download.Downloader.__init__, "__defaults__", (None, lambda seconds: None, 60.0)
    )
    data = Path(tarball.path).read_bytes()
    count = Count()
    uri = site.put("seed.tar.zst", data, etag='"1"', faults=faults)
    seed(Source(type=SourceType.HTTP, uri=uri), tmp_path / "a", place(tmp_path, count))
    assert trees.listing((tmp_path / "a").readlink()) == trees.listing(tmp_path / "tree")
    assert count.works == works
    assert [path.name for path in (tmp_path / "state/seeds").glob("*stream*")] == []


def test_a_download_that_begins_anew_is_unpacked_afterwards(
    tmp_path: Path, site: Site, tarball: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        download.Downloader.__init__, "__defaults__", (None, lambda seconds: None, 60.0)
    )
    count = Count()
    uri = site.put("seed.tar.zst", Path(tarball.path).read_bytes(), faults=["cut=300"])
    seed(Source(type=SourceType.HTTP, uri=uri), tmp_path / "a", place(tmp_path, count))
    assert trees.listing((tmp_path / "a").readlink()) == trees.listing(tmp_path / "tree")
    assert count.works == {"fetch", "unpack"}


def test_a_seed_that_turns_out_wrong_is_not_kept(
    tmp_path: Path, site: Site, tarball: Artifact
) -> None:
    uri = site.put("seed.tar.zst", Path(tarball.path).read_bytes())
    source = Source(type=SourceType.HTTP, uri=uri, sha512="0" * 128)
    with pytest.raises(SourceFailed, match="its sha512 is"):
        seed(source, tmp_path / "a", place(tmp_path, Silent()))
    seeds = Seeds(tmp_path / "state" / "seeds")
    assert seeds.all() == []
    assert [path for path in seeds.root.iterdir() if path.is_dir()] == []


SEED = """
import sys
from pathlib import Path
from tasks.model import Source, SourceType
from tasks.reporting import Silent
from tasks.settings import Settings
from tasks.sources.destination import Destination
from tasks.sources.dispatch import seed
from tasks.rootfs.storage import Storage
class Said(Silent):
    def line(self, line):
        print(line.text, flush=True)
    def progress(self, progress):
        if progress.done:
            print("busy", flush=True)
state, uri, link = sys.argv[1:]
storage = Storage.of(Settings(state_dir=state))
place = Destination(folder=Path(state), storage=storage, report=Said())
seed(Source(type=SourceType.HTTP, uri=uri), Path(link), place)
"""


def wanting(tmp_path: Path, uri: str, name: str) -> subprocess.Popen[str]:
    """A process that wants the seed at `uri`."""
    return subprocess.Popen(
        [sys.executable, "-c", SEED, tmp_path / "state", uri, tmp_path / name],
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("validator", [{}, {"etag": '"1"'}])
def test_many_builds_at_once_fetch_it_once(
    tmp_path: Path, site: Site, tarball: Artifact, validator: dict[str, str]
) -> None:
    """Also where the server cannot tell whether its file has changed since."""
    data = Path(tarball.path).read_bytes()
    uri = site.put("seed.tar.zst", data, faults=["hold=300"], **validator)
    builds = [wanting(tmp_path, uri, "0")]
    assert read_line(builds[0]) == "busy\n"
    builds += [wanting(tmp_path, uri, str(number)) for number in range(1, 4)]
    assert all("another build is fetching it" in read_line(other) for other in builds[1:])
    site.pages["seed.tar.zst"].go.set()
    for build in builds:
        build.communicate()
        assert build.returncode == 0
    assert len({(tmp_path / str(number)).readlink() for number in range(4)}) == 1
    assert [request.asks_for_news for request in site.requests].count(False) == 1


def test_a_build_that_is_killed_while_it_fetches_leaves_its_work_to_the_next(
    tmp_path: Path, site: Site, tarball: Artifact
) -> None:
    data = Path(tarball.path).read_bytes()
    uri = site.put("seed.tar.zst", data, etag='"1"', faults=["hold=300"])
    first = wanting(tmp_path, uri, "0")
    assert read_line(first) == "busy\n"
    second = wanting(tmp_path, uri, "1")
    assert "another build is fetching it" in read_line(second)
    first.kill()
    first.communicate()
    second.communicate()
    site.pages["seed.tar.zst"].go.set()
    assert (first.returncode, second.returncode) == (-9, 0)
    assert [request.range for request in site.requests] == ["", "bytes=300-"]
    assert trees.listing((tmp_path / "1").readlink()) == trees.listing(tmp_path / "tree")
    seeds = Seeds(tmp_path / "state" / "seeds")
    assert [seed.digest for seed in seeds.all()] == [tarball.sha256]
    assert [path.name for path in seeds.root.glob("*stream*")] == []


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline()


def test_a_keyring_of_the_same_name_is_another_one(
    tmp_path: Path, site: Site, tarball: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one build's keys vouched for, another's keys have not."""
    asked: list[str] = []
    monkeypatch.setattr(
        verify, "signature", lambda keyring, *_, **__: asked.append(keyring.read_text())
    )
    uri = site.put("seed.tar.zst", Path(tarball.path).read_bytes(), etag='"1"')
    site.put("seed.tar.zst.asc", b"signature")
    for name in ("mine", "theirs", "mine"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "keys.gpg").write_text(name)
        where = replace(place(tmp_path, Silent()), folder=tmp_path / name)
        source = Source(type=SourceType.HTTP, uri=uri, keyring="keys.gpg")
        seed(source, tmp_path / name / "link", where)
    assert asked == ["mine", "theirs"]


def test_the_folder_of_seeds_is_for_root_alone_whoever_makes_it(
    tmp_path: Path, tarball: Artifact
) -> None:
    where = place(tmp_path, Silent())
    fill(Source(type=SourceType.FILE, path=tarball.path), tmp_path / "rootfs", where)
    assert where.storage.seeds.stat().st_mode & 0o777 == 0o700


def test_what_is_known_of_files_and_addresses_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The facts that were asked for last stay; what a killed process left goes."""
    monkeypatch.setattr(download_index, "NOTES_MAX", 4)
    known = DigestCache(tmp_path / "known")
    for number in range(4):
        known.remember(Known(digest=str(number), origin=Origin(uri="u")), number)
        os.utime(note_of(known, number), (number, number))
    left, fresh = (tmp_path / "known" / f"{name}.partial" for name in ("left", "fresh"))
    left.touch()
    os.utime(left, (1, 1))
    assert known.recall(0)
    known.remember(Known(digest="4", origin=Origin(uri="u")), 4)
    fresh.touch()
    assert [number for number in range(5) if note_of(known, number).exists()] == [0, 2, 3, 4]
    known.remember(Known(digest="5", origin=Origin(uri="u")), 5)
    assert not left.exists()
    assert fresh.exists()


def note_of(known: DigestCache, number: int) -> Path:
    return known._note(number)


def test_the_digest_of_a_file_is_found_again_where_its_note_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    known = DigestCache(tmp_path / "known")
    digest = known.digest(tmp_path / "file")
    (note,) = (tmp_path / "known").iterdir()
    note.write_bytes(b"\xff" * 64)
    assert known.digest(tmp_path / "file") == digest
    assert note.read_text() == digest
