"""`stagefarm report` over a published release and builds in a real Redis, and its pages in a real
browser.

Screenshots go to the folder in $STAGEFARM_SCREENSHOTS, or pytest's own temporary one.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import run
from tasks.artifacts import gate_tests
from tasks.artifacts.gate_tests import GateTest, Outcome
from tasks.ledger.builds import Ledger
from tasks.ledger.hosts import Hosts
from tasks.results import Artifact, StepResult
from tasks.settings import Settings, current
from tests.browser import Browser, pictures_in
from tests.gating import write_key
from tests.ledgers import ONE, retry
from tests.releases import DAY_S, Served, Shop, put_stage
from tests.reports import a_cause, a_shop, begun, failed, report, succeeded

pytestmark = pytest.mark.redis

HOSTILE = [
    "<script>document.title='ran'</script>",
    "</code></li></ol><script>document.title='ran'</script>",
    "<img src=x onerror=document.title='ran'>",
    "\" onmouseover=document.title='ran' x=\"",
    "<a href=javascript:document.title='ran'>click</a>",
    "<meta http-equiv=refresh content=0;url=https://example.org><base href=https://example.org>",
    "<style>*{display:none}</style><link rel=stylesheet href=//x><iframe src=//x></iframe>",
    "{{ 7 * 7 }}{% for x in y %}",
    "\x1b[31mred\x1b[0m \x1b]8;;https://example.org\x07link\x1b]8;;\x07 \x1b]0;title\x07",
    "left\u202etfel\u2066\u200f",
    os.fsdecode(b"not-utf8-\xff\xc3"),
    "long" * 2000,
    "error: the compiler <b>broke</b>",
]
LOOKED = """<!doctype html><title>looking</title><body><script>
const look = (width, at) => new Promise(done => {
  const frame = document.createElement("iframe");
  frame.style = "border: 0; height: 900px; width: " + width + "px";
  frame.onload = () => {
    const page = frame.contentDocument, root = page.documentElement;
    const all = Array.from(page.querySelectorAll("*"));
    const sorted = names => Array.from(new Set(names)).sort();
    done({
      title: page.title,
      overflows: root.scrollWidth > root.clientWidth,
      styled: getComputedStyle(page.querySelector("nav a")).display == "inline-block",
      elements: sorted(all.map(e => e.localName)),
      attributes: sorted(all.flatMap(e => e.getAttributeNames())),
      lines: Array.from(page.querySelectorAll(".log code"), e => e.textContent),
      failure: Array.from(page.querySelectorAll(".log .failure"), e => e.id),
      outside: Array.from(page.querySelectorAll("[href]"), e => e.href)
        .filter(href => !href.startsWith(location.origin)),
    });
  };
  frame.src = at;
  document.body.append(frame);
});
Promise.all(WANTED.map(([width, at]) => look(width, at)))
  .then(found => { document.body.textContent = JSON.stringify(found); });
</script>"""
SHOWN = ["red link ", "left\\u202etfel\\u2066\\u200f", "not-utf8-\\xff\\xc3"]
FORBIDDEN = {"script", "img", "iframe", "base", "style", "form"}
ELEMENTS = [
    "a",
    "body",
    "code",
    "h1",
    "head",
    "header",
    "html",
    "li",
    "link",
    "main",
    "meta",
    "nav",
    "ol",
    "span",
    "title",
]
ATTRIBUTES = [
    "aria-hidden", "aria-label", "charset", "class", "content", "href", "http-equiv", "id", "lang",
    "name", "rel", "title", "type",
]  # fmt: skip


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return a_shop(tmp_path)


@pytest.fixture
def new_settings() -> Iterator[None]:
    """The settings are read anew, now and by the tests after this one."""
    current.cache_clear()
    yield
    current.cache_clear()


def page_of(shop: Shop, folder: str, name: str = "*") -> str:
    (file,) = (shop.folder / "site" / folder).glob(f"{name}.html")
    return file.read_text()


def words(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_builds_are_on_the_page_of_their_stage(shop: Shop, ledger: Ledger) -> None:
    shop.put("b-1")
    Hosts(ledger.connection).register(ONE, 3, {"queues": "x86-64bit.generic_64", "slots": 2})
    shop.publish("b-1")
    succeeded(ledger, "b-1")
    log = ["fine", "error: no space", "bye"]
    failed(ledger, "b-2", "hook `work` exited with 1", log, cause=a_cause(2, *log))
    begun(ledger, "b-3", "musl")
    made = report(shop, ledger)
    assert (made.stages, made.builds, made.farm_is_current) == (2, 3, True)
    stage = words(page_of(shop, "stage", "stage3-minimal-*"))
    assert "Last attempt ✗ failed b-2" in stage
    assert "b-1 ✓ succeeded one" in stage
    build = words(page_of(shop, "build", "b-2"))
    assert "Why it failed disk: no space left hook `work` exited with 1" in build
    assert "2 ✗ failure: error: no space 3 bye" in build
    assert 'id="L2"' in page_of(shop, "log", "b-2")
    matrix = words((shop.folder / "site/index.html").read_text())
    assert "stage3 minimal ● fresh" in matrix
    assert "stage3 musl ○ never published ▶ running" in matrix
    hosts = words((shop.folder / "site/hosts.html").read_text())
    assert "one up 2 x86-64bit.generic_64" in hosts


def test_a_build_shows_its_steps_artifacts_and_tests(shop: Shop, ledger: Ledger) -> None:
    failing = GateTest(name="shell", outcome=Outcome.FAILED, message="no <b>bash</b>")
    tests = gate_tests.content([failing])
    tarball = put_stage(shop.store, "b-1", sidecars={"tests.json": tests})
    claim = begun(ledger, "b-1")
    for step in range(3):
        ledger.begin_step(claim, step, "token")
        ledger.end_step(claim, step, StepResult())
    made = Artifact(name=tarball.name, path=tarball.as_uri(), size_bytes=5_000_000, sha256="ab")
    ledger.finish(claim, (made,), tarball.parent.as_uri())
    report(shop, ledger)
    page = page_of(shop, "build", "b-1")
    assert page.count('class="timeline"') == 3
    text = words(page)
    assert f"{tarball.name} 5.0 MB ab" in text
    assert "shell failed no <b>bash</b>" in text
    assert "Why it" not in text
    assert not (shop.folder / "site/log").exists()


def test_an_event_writes_only_the_pages_that_it_changes(shop: Shop, ledger: Ledger) -> None:
    shop.put("b-1")
    shop.publish("b-1")
    succeeded(ledger, "b-1")
    for number in range(2, 30):
        failed(ledger, f"b-{number}", "no", ["error"], f"flavour-{number}")
    assert report(shop, ledger).written > 4 * 28
    again = report(shop, ledger)
    assert (again.written, again.removed) == (1, 0), "status.json"
    retry(ledger, "b-7")
    made = report(shop, ledger)
    # The matrix, the queues, status.json, the feed, the stage, the build; its log is gone.
    assert (made.written, made.removed) == (6, 1)


def test_pages_of_old_builds_are_removed(shop: Shop, ledger: Ledger) -> None:
    shop.put("b-1")
    shop.publish("b-1")
    for number in range(1, 5):
        failed(ledger, f"b-{number}", "no", ["error"])
    report(shop, ledger)
    report(shop, ledger, builds_max=2)
    for folder in ("build", "log"):
        pages = (shop.folder / "site" / folder).iterdir()
        assert sorted(page.stem for page in pages) == ["b-3", "b-4"]
    stage = page_of(shop, "stage")
    targets = re.findall(r'href="\.\./(build/[^"]+)"', stage)
    assert targets
    assert all((shop.folder / "site" / target).exists() for target in targets)


def test_without_redis_builds_are_shown_as_they_were(shop: Shop, ledger: Ledger) -> None:
    shop.put("b-1")
    shop.publish("b-1")
    failed(ledger, "b-2", "no", ["error"])
    report(shop, ledger)
    shop.put("b-3")
    shop.publish("b-3")
    made = report(shop)
    assert (made.builds, made.farm_is_current) == (1, False)
    index = words((shop.folder / "site/index.html").read_text())
    assert "The farm does not answer." in index
    assert "Generation 2" in index
    assert "✗ failed" in index
    assert (shop.folder / "site/build/b-2.html").exists()
    assert report(shop).written == 0
    report(shop, ledger)
    assert "does not answer" not in (shop.folder / "site/index.html").read_text()


def test_the_command_reports_a_release_file(
    shop: Shop,
    ledger: Ledger,
    new_settings: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shop.put("b-1")
    shop.publish("b-1")
    succeeded(ledger, "b-1")
    url = ledger.connection.client.connection_pool.connection_kwargs
    release = shop.folder / "nightly.yaml"
    release.write_text(
        "stages: [{variant: $flavour, max_age: 7d}]\ntargets: [{to: mirror}]\nkey: release.key\n"
    )
    write_key(shop.folder / "release.key", "release")
    monkeypatch.setenv("STAGEFARM_STATE_DIR", str(shop.folder / "state"))
    monkeypatch.setenv("STAGEFARM_REDIS_URL", f"redis://127.0.0.1:{url['port']}/0")
    monkeypatch.setenv("STAGEFARM_KEY_PREFIX", "t")
    words = ["report", str(release), "--to", str(shop.folder / "site")]
    assert run([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["stages"], told["builds"], told["farm_is_current"]) == (1, 1, True)
    assert run(words) == 0
    assert "1 stage (1 " in capsys.readouterr().out
    monkeypatch.setenv("STAGEFARM_REDIS_URL", "redis://127.0.0.1:1/0")
    current.cache_clear()
    assert run([*words, "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["farm_is_current"] is False
    assert "as the last report saw them" in printed.err
    assert run(["report", str(release), "--to", str(shop.folder)]) == 2


@pytest.mark.parametrize("way", ["{outside}", "{store}/../outside", "{store}/%2e%2e/outside"])
def test_no_log_outside_the_store_is_shown(shop: Shop, ledger: Ledger, way: str) -> None:
    outside = shop.folder / "outside"
    for folder in (outside, shop.store):
        folder.mkdir()
        (folder / "build.log").write_text(f"the log in {folder.name}")
    claim = begun(ledger, "b-1")
    url = way.format(store=shop.store.as_uri(), outside=outside.as_uri())
    ledger.fail(claim, "BuildFailed", "no", "", url)
    report(shop, ledger)
    assert not (shop.folder / "site/log").exists()
    claim = begun(ledger, "b-2")
    ledger.fail(claim, "BuildFailed", "no", "", shop.store.as_uri())
    report(shop, ledger)
    assert "the log in store" in page_of(shop, "log")


def test_impossible_values_of_the_ledger_are_shown_somehow(shop: Shop, ledger: Ledger) -> None:
    succeeded(ledger, "b-1")
    artifact = {"name": "a", "path": "file:///etc/passwd", "size_bytes": 10**400, "sha256": ""}
    hostile = {
        "claimed": "nan", "ended": "inf", "submitted": "-1e308", "reason": "x" * 10**6,
        "artifacts": json.dumps([artifact]), "titles": json.dumps(["<b>" * 1000] * 1000),
    }  # fmt: skip
    ledger.connection.client.hset("t:build:b-1", mapping=hostile)
    ledger.connection.client.hset("t:build:b-1:steps", "1.0.ended", "inf")
    assert report(shop, ledger).builds == 1
    assert report(shop, ledger).written == 1
    page = page_of(shop, "build", "b-1")
    assert len(page) < 2_000_000
    assert "<b>" not in page.replace("<b>The farm", "")
    assert report(shop).builds == 1, "it can be read again"


# In a browser


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_hostile_logs_are_text(shop: Shop, ledger: Ledger, tmp_path: Path) -> None:
    store = tmp_path / "store/b-1/b-1/1"
    store.mkdir(parents=True)
    content = "\n".join(HOSTILE).encode("utf-8", "surrogateescape")
    (store / "build.log").write_bytes(content)
    claim = begun(ledger, "b-1", "<script>document.title='ran'</script>")
    excerpt = [os.fsencode(line).decode(errors="replace") for line in HOSTILE]
    named = dict.fromkeys(("rule", "kind", "message", "package", "phase"), HOSTILE[0])
    cause = a_cause(13, *excerpt, fingerprint="../<b>", **named)
    reason = "".join(HOSTILE[:3])
    ledger.fail(claim, "BuildFailed", reason, HOSTILE[0], store.as_uri(), cause)
    settings = Settings(store_url=(tmp_path / "store").as_uri())
    assert report(shop, ledger, settings=settings).builds == 1
    root = shop.folder / "site"
    with Served(root) as served:
        browser = Browser(served.url, tmp_path / "profile", pictures_in(tmp_path))
        (page,) = (root / "causes").iterdir()
        names = ("log/b-1.html", "build/b-1.html", "index.html", "nights.html", "causes.html")
        pages = [(1000, name) for name in (*names, f"causes/{page.name}")]
        log, *others = look(browser, root, pages)
    assert log["title"] == "Log of b-1"
    assert log["elements"] == ELEMENTS
    assert log["attributes"] == ATTRIBUTES
    assert log["failure"] == ["L13"]
    assert log["outside"] == []
    assert log["styled"]
    assert log["lines"][:8] == HOSTILE[:8]
    assert log["lines"][8:11] == SHOWN
    assert len(log["lines"][11]) == 2001
    for seen in others:
        assert "ran" not in seen["title"].split()
        assert FORBIDDEN.isdisjoint(seen["elements"])


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_pages_fit_phones_and_screens(shop: Shop, ledger: Ledger, tmp_path: Path) -> None:
    for number, flavour in enumerate(("minimal", "systemd", "desktop-plasma-openrc-hardened")):
        shop.put(f"b-{number}", flavour, at=shop.now - 3 * number * DAY_S)
        shop.put(f"c-{number}", flavour, at=shop.now - 3 * number * DAY_S, subarch="haswell")
    shop.publish(*(f"{letter}-{number}" for letter in "bc" for number in range(3)))
    log = ["x" * 500, "error: " + "y" * 500]
    cause = a_cause(2, *log, message="z" * 300, package="p" * 120)
    failed(ledger, "b-9", "hook `work` exited with 1", log, cause=cause, batch="n" * 90)
    report(shop, ledger)
    root = shop.folder / "site"
    (stage,) = (root / "stage").glob("stage3-minimal-*generic_64*")
    names = ["index.html", f"stage/{stage.name}", "build/b-9.html", "log/b-9.html"]
    names += ["hosts.html", "nights.html", "causes.html", f"causes/{cause.fingerprint}.html"]
    pages = [(width, name) for width in (360, 800, 1400) for name in names]
    with Served(root) as served:
        browser = Browser(served.url, tmp_path / "profile", pictures_in(tmp_path))
        found = zip(pages, look(browser, root, pages), strict=True)
        assert [page for page, seen in found if seen["overflows"]] == []
        for width in (500, 800, 1400):  # Chromium makes no narrower window
            browser.size, browser.is_dark = (width, 900), width == 800
            browser.picture("index.html", f"report-{width}")


def look(browser: Browser, root: Path, pages: list[tuple[int, str]]) -> list[dict[str, Any]]:
    """What each page is like in a window of its width."""
    (root / "look.html").write_text(LOOKED.replace("WANTED", json.dumps(pages)))
    text = re.search(r"<body>(.*)</body>", browser.dom("look.html"), re.DOTALL)
    assert text
    return list(json.loads(html.unescape(text[1])))
