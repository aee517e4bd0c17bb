"""A report reads and writes what has changed since the last one, and no more; and where nobody can
say what has changed, everything."""

from __future__ import annotations

import html
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.report.database import opened
from orchestrator.report.folder import DATABASE, OWN
from orchestrator.report.site import Report
from tasks.ledger.builds import Ledger
from tasks.ledger.connection import connect
from tasks.ledger.second_tries import SecondTries
from tasks.model import Build
from tasks.results import Blamed, SecondTry
from tasks.settings import Settings
from tests.ledgers import a_build, claimed, retry
from tests.releases import Shop
from tests.reports import a_cause, a_shop, begun, failed, report, succeeded

pytestmark = pytest.mark.redis


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = a_shop(tmp_path)
    made.put("a-1")
    made.publish("a-1")
    return made


def of_flavour(name: str, flavour: str) -> Build:
    return a_build(name, environment={"flavour": flavour}, variant=f"flavour={flavour}")


def page(shop: Shop, path: str) -> str:
    """The words of a page."""
    text = (shop.folder / "site" / path).read_text()
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def has(shop: Shop, path: str) -> bool:
    return (shop.folder / "site" / path).exists()


def pages(root: Path) -> dict[str, bytes]:
    files = (file for file in root.rglob("*") if file.is_file() and OWN not in file.parts)
    return {str(file.relative_to(root)): file.read_bytes() for file in files}


@dataclass
class Calls:
    count: int = 0


@contextmanager
def commands(client: Any) -> Iterator[Calls]:
    """How many commands Redis carries out meanwhile."""

    def total() -> int:
        return sum(one["calls"] for one in client.info("commandstats").values())

    calls, before = Calls(), total()
    yield calls
    calls.count = total() - before


# Only what has changed


def test_a_report_reads_only_builds_that_changed(shop: Shop, ledger: Ledger, client: Any) -> None:
    ledger.submit([of_flavour(f"b-{n}", f"f{n % 9}") for n in range(200)])
    with commands(client) as first:
        assert report(shop, ledger, builds_max=300).written > 200
    assert first.count > 200
    with commands(client) as again:
        assert report(shop, ledger, builds_max=300).written == 1
    assert again.count < 12
    ledger.cancel("b-7", "no more")
    with commands(client) as one:
        assert report(shop, ledger, builds_max=300).written < 12
    assert one.count < 20
    assert "Why it ended no more" in page(shop, "build/b-7.html")


def test_a_build_that_the_ledger_forgets_has_no_page(
    shop: Shop, ledger: Ledger, client: Any
) -> None:
    failed(ledger, "b-1", "no", ["error"], cause=a_cause(1, "error"))
    succeeded(ledger, "b-2")
    report(shop, ledger)
    assert all(has(shop, f"{path}.html") for path in ("build/b-1", "log/b-1", "build/b-2"))
    client.zadd("t:ended", {"b-1": 1.0})
    assert ledger.forget(60.0) == 1
    with commands(client) as few:
        report(shop, ledger)
    assert few.count < 20
    assert not any(has(shop, f"{path}.html") for path in ("build/b-1", "log/b-1"))
    assert list((shop.folder / "site/causes").iterdir()) == []
    assert has(shop, "build/b-2.html")


def test_what_the_gate_says_of_a_build_is_news(shop: Shop, ledger: Ledger) -> None:
    succeeded(ledger, "b-1")
    report(shop, ledger)
    ledger.note_gate("b-1", "held by the gate: 1 finding")
    report(shop, ledger)
    assert "held by the gate: 1 finding" in page(shop, "build/b-1.html")
    assert report(shop, ledger).written == 1, "status.json"


def test_a_build_that_another_released_is_news(shop: Shop, ledger: Ledger) -> None:
    claim = claimed(ledger, a_build("b-1"))
    ledger.submit([a_build("b-2", after="b-1")])
    report(shop, ledger)
    assert page(shop, "hosts.html").endswith("x86-64bit.generic_64 1 1 0")
    before = (shop.folder / "site/build/b-2.html").stat()
    ledger.finish(claim, (), "")
    report(shop, ledger)
    assert (shop.folder / "site/build/b-2.html").stat() != before


def test_what_became_of_a_second_try_is_news(shop: Shop, ledger: Ledger) -> None:
    failed(ledger, "b-1", "no", ["error"])
    tries = SecondTries(ledger.connection)
    assert tries.begin(a_build("b-1"), "", 1) == 2
    report(shop, ledger)
    assert "Second try" not in page(shop, "build/b-1.html")
    note = SecondTry(build="b-1", outcome=Blamed.STAGE, host="one", other="two")
    tries.conclude(note, 1, most=0)
    report(shop, ledger)
    assert f"Second try {note.told}" in page(shop, "build/b-1.html")


# When nobody can say what has changed


def test_everything_is_read_where_the_stream_was_cut(
    shop: Shop, ledger: Ledger, client: Any
) -> None:
    succeeded(ledger, "b-1")
    report(shop, ledger)
    succeeded(ledger, "b-2")
    client.xtrim("t:events", maxlen=1, approximate=False)
    assert report(shop, ledger).builds == 2
    assert has(shop, "build/b-2.html")


def test_everything_is_read_where_redis_was_set_back(
    shop: Shop, ledger: Ledger, client: Any
) -> None:
    succeeded(ledger, "b-1")
    report(shop, ledger)
    client.flushall()
    failed(ledger, "b-2", "no", ["error"])
    assert report(shop, ledger).builds == 1
    assert (has(shop, "build/b-1.html"), has(shop, "build/b-2.html")) == (False, True)
    assert "b-1" not in page(shop, "feed.atom")


def test_everything_is_read_once_a_day(shop: Shop, ledger: Ledger, client: Any) -> None:
    succeeded(ledger, "b-1")
    report(shop, ledger)
    client.hset("t:build:b-1", "host", "whoever writes to Redis")
    (shop.folder / "site/build/b-1.html").unlink()
    report(shop, ledger)
    assert not has(shop, "build/b-1.html"), "no event told of it"
    with opened(shop.folder / "site" / DATABASE) as database:
        database.note("read_all_at", repr(ledger.now() - 25 * 3600))
    report(shop, ledger)
    assert "whoever writes to Redis" in page(shop, "build/b-1.html")


def test_a_record_that_cannot_be_read_hides_no_other(
    shop: Shop, ledger: Ledger, client: Any
) -> None:
    succeeded(ledger, "b-1")
    succeeded(ledger, "b-2")
    client.hset("t:build:b-1", mapping={"state": "splendid", "titles": "["})
    client.hset("t:build:b-2:attempts", "1", "[]")
    client.xadd("t:events", {"what": "nothing that we write"})
    client.zadd("t:hosts", {"one": 1.0})
    client.hset("t:host:one", "cleaning", "{")
    assert report(shop, ledger).builds == 1
    assert "succeeded" in page(shop, "build/b-2.html")


def test_a_redis_that_does_not_answer_is_one_that_is_down(shop: Shop, ledger: Ledger) -> None:
    succeeded(ledger, "b-1")
    at = report(shop, ledger)
    read_at = json.loads((shop.folder / "site/status.json").read_text())["farm"]["read_at"]
    assert at.farm_is_current
    assert read_at == pytest.approx(ledger.now(), abs=60)
    nobody = Ledger(connect(Settings(redis_url="redis://127.0.0.1:1/0")))
    shop.now += 60
    made: Report = report(shop, nobody)
    assert (made.farm_is_current, made.builds) == (False, 1)
    status = json.loads((shop.folder / "site/status.json").read_text())
    assert status["farm"] == {"current": False, "read_at": read_at}
    assert status["written_at"] == shop.now
    assert "The farm does not answer" in page(shop, "index.html")


def test_a_redis_that_is_lost_on_the_way_leaves_no_dead_link(
    shop: Shop, ledger: Ledger, client: Any
) -> None:
    """Here it is a user who may read what changed, and not how attempts ended."""
    succeeded(ledger, "b-1")
    report(shop, ledger)
    failed(ledger, "b-2", "no", ["error"], cause=a_cause(1, "error"))
    keys = [f"~t:{key}" for key in ("schema", "events", "builds", "host*", "drained")]
    user = ("half", "on", "nopass", "resetkeys", "+@all", *keys, "(+hmget ~t:build:*)")
    client.execute_command("ACL", "SETUSER", *user)
    port = client.connection_pool.connection_kwargs["port"]
    half = Settings(redis_url=f"redis://half@127.0.0.1:{port}/0", key_prefix="t")
    made = report(shop, Ledger.open(half, reading=True))
    client.execute_command("ACL", "DELUSER", "half")
    assert (made.farm_is_current, made.builds) == (False, 2)
    assert not has(shop, "build/b-2.html")
    (stage,) = (shop.folder / "site/stage").iterdir()
    assert "✗ failed b-2" in page(shop, f"stage/{stage.name}")
    assert 'href="../build/b-2.html"' not in stage.read_text()
    report(shop, ledger)
    assert has(shop, "build/b-2.html")
    assert 'href="../build/b-2.html"' in stage.read_text()


# Causes


def test_builds_that_failed_alike_are_on_one_page(shop: Shop, ledger: Ledger) -> None:
    log = ["fine", "error: No space left on device"]
    for number in range(3):
        failed(ledger, f"b-{number}", "no", log, f"f{number}", cause=a_cause(2, *log))
    other = a_cause(1, *log, fingerprint="fedcba9876543210", message="something else", rule="x")
    failed(ledger, "c-1", "no", log, cause=other)
    report(shop, ledger)
    alike = page(shop, "causes/0123456789abcdef.html")
    assert "disk: no space left" in alike
    assert "Builds 3 Stages stage3 f0 x86-64bit.generic_64 , stage3 f1" in alike
    assert "error: No space left on device" in alike
    assert [name for name in ("b-0", "b-1", "b-2", "c-1") if name in alike] == ["b-0", "b-1", "b-2"]
    listed = page(shop, "causes.html")
    assert "disk: no space left 3 b-2 " in listed
    assert "disk: something else 1 c-1 " in listed
    matrix = (shop.folder / "site/index.html").read_text()
    assert matrix.count('href="causes/0123456789abcdef.html"') == 3
    retry(ledger, "b-2")
    retry(ledger, "c-1")
    report(shop, ledger)
    assert "Builds 2 Stages" in page(shop, "causes/0123456789abcdef.html")
    assert not has(shop, "causes/fedcba9876543210.html")


# Nights


def test_nights_are_listed_with_what_became_of_their_builds(shop: Shop, ledger: Ledger) -> None:
    first, second = "nightly-20261126T0130Z", "nightly-20261127T0130Z"
    succeeded(ledger, "b-1", batch=first)
    failed(ledger, "b-2", "no", cause=a_cause(1, "x"), batch=first)
    succeeded(ledger, "alone")
    report(shop, ledger)
    assert "failed nightly-20261126T0130Z" in (before := page(shop, "nights.html"))
    assert "✓ succeeded 1 ✗ failed 1 b-2 disk: no space left" in before
    assert "goes on" not in before
    begun(ledger, "b-3", batch=second)
    retry(ledger, "b-2")
    assert report(shop, ledger).written > 0
    after = page(shop, "nights.html")
    assert after.index(second) < after.index(first)
    assert after.count("goes on") == 2
    assert "▶ running 1 – " in after
    assert "✓ succeeded 1 … waiting 1 –" in after


# Killed while it writes

WRITER = """
import os, signal, sys
from itertools import count
from pathlib import Path
from tasks.ledger.builds import Ledger
from tasks.model import Build
from tasks.settings import Settings
from tests.reports import a_shop, report

numbers, rename = count(1), Path.rename

def rename_or_die(path, target):
    if next(numbers) == int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(path, target)

Path.rename = rename_or_die
shop = a_shop(Path(sys.argv[1]))
report(shop, Ledger.open(Settings(redis_url=sys.argv[2], key_prefix="t")), now=float(sys.argv[3]))
"""


@pytest.mark.parametrize("dies_at", [20, 70])
def test_a_report_that_is_killed_leaves_a_whole_site(
    shop: Shop, ledger: Ledger, dies_at: int
) -> None:
    ledger.submit([of_flavour(f"b-{n}", f"f{n}") for n in range(30)])
    site = shop.folder / "site"
    port = ledger.connection.client.connection_pool.connection_kwargs["port"]
    words = [str(shop.folder), f"redis://127.0.0.1:{port}/0", str(shop.now), str(dies_at)]
    done = subprocess.run([sys.executable, "-c", WRITER, *words], check=False)
    assert done.returncode == -signal.SIGKILL
    for path, content in pages(site).items():
        if path.endswith(".html"):
            assert content.endswith(b"</html>"), path
            links = re.findall(rb'href="\.\./(build/[^"]+)"', content)
            assert all((site / link.decode()).exists() for link in links)
    report(shop, ledger)
    mended = pages(site)
    shutil.rmtree(site)
    report(shop, ledger)
    fresh = pages(site)
    assert len(fresh) > 90
    assert {**mended, "status.json": b""} == {**fresh, "status.json": b""}
