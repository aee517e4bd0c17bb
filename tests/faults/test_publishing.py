"""A publisher that is killed, cut off, out of room, or not alone: readers see whole generations
only, and versions only rise.

`make test` kills it at some of its writes, `make trials` at every one (KILL_EVERY).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import httpx
import pytest

from orchestrator.release.journal import read_journal
from orchestrator.release.known import NEVER
from orchestrator.release.mirror import HttpMirror
from orchestrator.release.verify import Seen, check_content, current_pointer, fetch_catalog, seen_of
from tasks.errors import StagefarmError
from tasks.reporting import Silent
from tests.publishing import ByName, PublisherProcess, publisher_process
from tests.releases import DAY_S, Served, Shop
from tests.trusted import key
from tests.waiting import eventually

KILL_EVERY = int(os.environ.get("KILL_EVERY", "5"))
PAUSE_S = 0.02
KEYS = [key("release").public]
GENERATIONS: dict[str, list[str]] = {
    "before": ["a-3", "a-2", "b-1"],
    "after": ["a-4", "a-3", "b-1"],
}

WHOLE = [*GENERATIONS.values(), ["a-5", "a-4", "b-1"]]


@dataclass
class Poller:
    """A client that verifies the whole mirror again and again, and remembers what it saw."""

    shop: Shop
    seen: Seen = NEVER
    generations: list[list[str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    polls: int = 0

    def __enter__(self) -> Self:
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.client = httpx.Client()
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()
        self.client.close()

    def run(self) -> None:
        while not self.stop.wait(PAUSE_S):
            self.poll()

    def poll(self) -> None:
        mirror = HttpMirror(self.shop.url, self.client)
        try:
            pointer = current_pointer(mirror, "stable", KEYS, now=0.0, seen=self.seen)
            catalog = fetch_catalog(mirror, pointer)
            check_content(mirror, list(catalog.files), Silent())
        except StagefarmError as error:
            self.problems.append(str(error))
            return
        self.seen = seen_of(pointer)
        builds = [stage.build for stage in catalog.stages]
        if builds not in self.generations[-1:]:
            self.generations.append(builds)
        self.polls += 1

    def once_more(self) -> None:
        """Wait until a poll that began after now has ended."""
        count = self.polls + len(self.problems)
        assert eventually(lambda: self.polls + len(self.problems) >= count + 2)


@pytest.fixture(scope="module")
def process() -> Iterator[PublisherProcess]:
    with publisher_process() as found:
        yield found


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory: hundreds of publications wait for no disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A mirror with garbage that is due, and a new build in the store to publish."""
    shop = Shop(tmp_path_factory.mktemp("template"))
    shop.put("b-1", "other")
    for number in (1, 2, 3):
        shop.put(f"a-{number}", at=shop.now + number)
        shop.publish(f"a-{number}", *["b-1"] * (number == 1), views=[ByName()])
    shop.now += 4 * DAY_S
    shop.put("a-4", at=shop.now)
    shop.put("a-5", at=shop.now + 60)
    return shop


@contextmanager
def copied(template: Shop, folder: Path) -> Iterator[Shop]:
    """A copy of the template that is served."""
    shutil.copytree(template.folder, folder)
    with Served(folder / "mirror") as served:
        yield Shop(folder, url=served.url, now=template.now)


def garbage_of(shop: Shop) -> set[str]:
    """The files of the mirror that its journal does not know of; it takes care of a file that is
    known, and of its partial one."""
    journal = read_journal((shop.mirror / ".publisher/stable.json").read_bytes())
    known = journal.mentioned | {"stable.json", ".publisher/stable.json", ".publisher/lock"}
    files = {path.relative_to(shop.mirror) for path in shop.mirror.rglob("*") if path.is_file()}
    whole = {file.with_name(re.sub(r"^\.(.*)\.partial$", r"\1", file.name)) for file in files}
    return set(map(str, whole)) - known


def is_clean_after_the_grace(shop: Shop) -> bool:
    """Whether only what the current generation names is left, once all grace is over."""
    for _ in range(2):
        shop.now += 8 * DAY_S
        outcome = shop.publish(views=[ByName()])
    journal = read_journal((shop.mirror / ".publisher/stable.json").read_bytes())
    files = {path for path in shop.mirror.rglob("*") if path.is_file()}
    named = set(journal.named) | {one.path for one in outcome.catalog.earlier}
    kept = {shop.mirror / name for name in (*named, *journal.garbage)}
    own = {
        shop.mirror / name for name in ("stable.json", ".publisher/stable.json", ".publisher/lock")
    }
    assert files - own == kept
    return not journal.garbage


@pytest.mark.slow
def test_a_publisher_that_is_killed_at_any_write_leaves_a_whole_generation(
    template: Shop, memory: Path, process: PublisherProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    with copied(template, memory / "whole") as shop:
        told = process.publish(shop, "a-4")
    writes, polls, moved = told["writes"], 0, 0
    kills = range(writes, 0, -KILL_EVERY)
    assert (told["version"], told["error"]) == (4, "")
    assert writes > 40
    for number in kills:
        with copied(template, memory / str(number)) as shop, Poller(shop) as reader:
            assert process.publish(shop, "a-4", kill_at=number) == {"killed": True}
            reader.once_more()
            moved += reader.generations[-1] == GENERATIONS["after"]
            told = process.publish(replace(shop, now=shop.now + 60, url=""), "a-4", "a-5")
            assert (told["error"], told["failed"]) == ("", []), number
            reader.once_more()
        assert reader.problems == [], number
        assert reader.generations[0] == GENERATIONS["before"]
        assert reader.generations[-1] == ["a-5", "a-4", "b-1"]
        assert all(
            seen in (*GENERATIONS.values(), ["a-5", "a-4", "b-1"]) for seen in reader.generations
        )
        assert garbage_of(shop) == set(), number
        if number % 7 == 0:
            shop.url, shop.now = "", shop.now + 60
            assert is_clean_after_the_grace(shop), number
        polls += reader.polls
        shutil.rmtree(shop.folder)
    with capsys.disabled():
        print(
            f"\nkilled before {len(kills)} of {writes} writes: {polls} generations read and "
            f"verified, none in pieces; in {moved} cases the new one was current already"
        )
    assert 0 < moved < len(kills)


def test_a_mirror_that_cannot_be_reached_is_not_switched(
    template: Shop, memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server is lost at each of the publisher's requests in turn."""
    with copied(template, memory / "whole") as shop, counted(shop) as served:
        shop.publish("a-4", views=[ByName()])
        requests = len(served.requests)
    for number in range(requests):
        with copied(template, memory / str(number)) as shop, counted(shop, number) as served:
            last = number == requests - 1  # of the pointer, which has been moved
            if last:
                assert shop.publish("a-4", views=[ByName()]).catalog.version == 4
                assert "does not show the new generation yet" in shop.said[0]
            else:
                with pytest.raises(StagefarmError, match="cannot fetch"):
                    shop.publish("a-4", views=[ByName()])
            served.down_after = None
            with Poller(shop) as reader:
                reader.once_more()
                assert reader.generations == [GENERATIONS["after" if last else "before"]]
                assert shop.publish("a-5", "a-4", views=[ByName()]).failed == {}
                reader.once_more()
            assert reader.problems == []
            assert garbage_of(shop) == set()
    with capsys.disabled():
        print(f"\ncut off at each of {requests} requests: no pointer moved")
    assert requests > 5


class Counted(Served):
    """Is down once `down_after` requests were answered."""

    down_after: int | None = None

    @property  # type: ignore[override]
    def down(self) -> bool:
        return self.down_after is not None and len(self.requests) > self.down_after

    @down.setter
    def down(self, value: bool) -> None:
        pass


@contextmanager
def counted(shop: Shop, down_after: int | None = None) -> Iterator[Counted]:
    with Counted(shop.mirror) as served:
        served.down_after = down_after
        shop.url = served.url
        yield served


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_full_disk_leaves_the_generation_that_is_there(
    template: Shop, memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With each amount of free space, from none to enough."""
    disk, failed = memory / "disk", 0
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], check=True)
    try:
        for free_pages in range(40):
            with copied(template, disk / "shop") as shop, Poller(shop) as reader:
                filler = fill(disk, free_pages)
                told = publish(shop)
                enough = not told
                failed += "No space left on device" in told
                reader.once_more()
                shown = reader.generations[-1]
                assert shown == GENERATIONS["after" if enough else "before"], free_pages
                filler.unlink()
                assert shop.publish("a-4", "a-5", views=[ByName()]).failed == {}
                reader.once_more()
            assert reader.problems == []
            assert reader.generations[-1] == ["a-5", "a-4", "b-1"]
            assert garbage_of(shop) == set()
            shutil.rmtree(shop.folder)
            if enough:
                break
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
    with capsys.disabled():
        print(f"\nout of room with {failed} amounts of free space, then enough")
    assert enough
    assert failed == free_pages > 5


def publish(shop: Shop) -> str:
    """Publish, and return the error, empty if there was none."""
    try:
        shop.publish("a-4", views=[ByName()])
    except StagefarmError as error:
        return str(error)
    return ""


def fill(disk: Path, free_pages: int) -> Path:
    """Fill the disk but for some pages; the names of files take none."""
    filler = disk / "filler"
    free = os.statvfs(disk)
    size = max(0, free.f_bavail - free_pages) * free.f_bsize
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size or 1)
    return filler


def test_of_two_publishers_at_once_one_wins_and_the_other_says_so(
    template: Shop, memory: Path
) -> None:
    with (
        copied(template, memory / "shop") as shop,
        publisher_process() as one,
        publisher_process() as two,
        Poller(shop) as reader,
    ):
        for _ in range(5):
            shop.now += 8 * DAY_S  # time to renew
            one.begin(shop)
            two.begin(shop)
            told = sorted((one.end(), two.end()), key=lambda found: found["version"])
            assert "another publisher is at work" in told[0]["error"] or told[0]["version"]
            assert told[1]["version"] > 3
        with shop.target.exclusive():
            assert "Stale: another publisher is at work" in one.publish(shop)["error"]
        reader.once_more()
    assert reader.problems == []
    assert reader.seen.version >= 8
