"""The site about stages: states, the matrix, logs, and what is written when."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from orchestrator.formats.reader import Seconds
from orchestrator.formats.releasefile import Selection
from orchestrator.gate.findings import Finding, StageKey
from orchestrator.gate.holds import Hold, Holds
from orchestrator.report import details
from orchestrator.report.charts import HEIGHT, chart, spans
from orchestrator.report.database import Database
from orchestrator.report.details import Log, tail_of
from orchestrator.report.documents import feed
from orchestrator.report.folder import (
    NAMES_AT_ONCE,
    OWN,
    SiteFolder,
    make_again,
    make_gone,
    site_folder,
)
from orchestrator.report.logs import LINE_MAX, PAGE_LINES, PAGES_MAX, failure_of, pages_of
from orchestrator.report.matrix import DENSE_ABOVE, matrices, stage_views
from orchestrator.report.model import (
    CauseCount,
    Freshness,
    KnownStage,
    Mark,
    NightRow,
    Release,
    StageName,
    StageView,
    Try,
    freshness,
    page_name,
)
from orchestrator.report.pages import render
from orchestrator.report.site import write_site
from tasks.errors import BadInput, StagefarmError
from tasks.model import BuildState
from tasks.results import Cause, NumberedLine
from tasks.settings import Settings
from tests.releases import DAY_S, Shop
from tests.reports import a_shop, report, source_of

NOW = 1_800_000_000.0


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return a_shop(tmp_path)


def site(shop: Shop) -> dict[str, str]:
    """The pages of the shop's site, by their paths."""
    root = shop.folder / "site"
    files = (file for file in root.rglob("*") if file.is_file() and OWN not in file.parts)
    return {str(file.relative_to(root)): file.read_text() for file in files}


def packages(**versions: str) -> dict[str, bytes]:
    """The sidecar file of a stage with these packages."""
    found = [{"manager": "dpkg", "name": name, "version": v} for name, v in versions.items()]
    return {"packages.json": json.dumps({"packages": found}).encode()}


# States


@pytest.mark.parametrize(
    ("age_days", "state"),
    [(0, "fresh"), (5.2, "fresh"), (5.25, "due"), (7, "due"), (7.01, "stale"), (900, "stale")],
)
def test_the_age_of_a_stage_is_judged_by_its_contract(age_days: float, state: str) -> None:
    assert freshness(NOW - age_days * DAY_S, 7 * DAY_S, NOW) == state


def test_a_stage_may_have_no_contract_or_no_build() -> None:
    assert freshness(NOW - 900 * DAY_S, 0, NOW) is Freshness.UNBOUND
    assert freshness(0, 7 * DAY_S, NOW) is Freshness.NEVER


NAME = StageName(release="nightly stable", product="stage3", variant="minimal", arch="riscv")


def a_try(state: BuildState, **more: object) -> Try:
    made = Try(
        id="b-1", job="stage3", queue="riscv", state=state, attempt=1, digest="d", stages=(NAME,)
    )
    return replace(made, **more)  # type: ignore[arg-type]


def view_of(last: Try | None = None, holds: tuple[Hold, ...] = ()) -> StageView:
    return StageView(name=NAME, max_age_s=0, freshness=Freshness.NEVER, last=last, holds=holds)


@pytest.mark.parametrize(
    ("state", "gate", "mark"),
    [
        (BuildState.SUCCEEDED, "", Mark.SUCCEEDED),
        (BuildState.SUCCEEDED, "held by the gate: 1 finding", Mark.HELD),
        (BuildState.RUNNING, "", Mark.RUNNING),
        (BuildState.QUEUED, "", Mark.WAITING),
        (BuildState.BLOCKED, "", Mark.WAITING),
        (BuildState.FAILED, "", Mark.FAILED),
        (BuildState.CANCELLED, "", Mark.CANCELLED),
    ],
)
def test_the_last_attempt_is_a_mark(state: BuildState, gate: str, mark: Mark) -> None:
    assert view_of(a_try(state, gate=gate)).mark is mark


def a_hold(build: str = "b-1") -> Hold:
    return Hold(
        stage=StageKey(product="stage3", variant="minimal", arch="riscv"),
        build=build, tarball="a.tar", sha256="ab", built_at=NOW, since=NOW,
        findings=(Finding(check="setuid", path="/bin/su", message="became setuid"),),
    )  # fmt: skip


def test_what_the_gate_holds_is_known_without_the_farm() -> None:
    assert view_of(holds=(a_hold(),)).mark is Mark.HELD
    assert view_of(a_try(BuildState.SUCCEEDED), holds=(a_hold(),)).mark is Mark.HELD
    assert view_of(a_try(BuildState.FAILED, id="b-2"), holds=(a_hold(),)).mark is Mark.FAILED
    assert view_of().mark is Mark.NONE


def test_the_matrix_has_what_is_published_and_what_was_only_tried(shop: Shop) -> None:
    shop.put("b-1", "minimal", at=shop.now - DAY_S)
    shop.put("b-2", "musl", at=shop.now - 8 * DAY_S, subarch="haswell")
    shop.publish("b-1", "b-2")
    tried = StageName(
        release="nightly stable", product="stage3", variant="systemd",
        arch="x86-64bit", subarch="haswell",
    )  # fmt: skip
    last = a_try(BuildState.FAILED, stages=(tried,))
    known = [KnownStage(name=tried, max_age_s=60.0, history="", last=last)]
    (matrix,) = matrices(stage_views([source_of(shop).read()], known, shop.now))
    assert matrix.columns == ("x86-64bit.generic_64", "x86-64bit.haswell")
    found = [
        (row.title, [cell and (cell.freshness.value, cell.mark.value) for cell in row.cells])
        for row in matrix.rows
    ]
    assert found == [
        ("stage3 minimal", [("fresh", "no build known"), None]),
        ("stage3 musl", [None, ("stale", "no build known")]),
        ("stage3 systemd", [None, ("never published", "failed")]),
    ]
    assert matrix.counts == {Freshness.FRESH: 1, Freshness.STALE: 1, Freshness.NEVER: 1}


def test_a_table_of_many_stages_gives_little_room_to_each() -> None:
    names = [replace(NAME, variant=f"v{number}") for number in range(DENSE_ABOVE + 1)]
    views = [replace(view_of(), name=name) for name in names]
    release = Release(title=NAME.release, url="", catalog=None)
    for count, dense in ((DENSE_ABOVE, False), (DENSE_ABOVE + 1, True)):
        tables = tuple(matrices(views[:count]))
        page = render(
            "index.html.j2", root="", matrices=tables, releases=[release], now=NOW, builds=set()
        )
        assert ('<table class="matrix dense">' in page) is dense


def test_each_stage_has_the_contract_of_its_job(shop: Shop) -> None:
    shop.stages = (
        Selection(jobs=("big-*",), max_age=Seconds(30 * DAY_S)),
        Selection(jobs=("small",), batch="nightly", max_age=Seconds(DAY_S)),
        Selection(jobs=("small",)),
    )
    end = "20261120-00000000000000ff"
    shop.put(f"big-desktop-{end}", job="big-desktop")
    shop.put(f"small-{end}", job="small", batch=f"nightly-{end}")
    shop.publish(f"big-desktop-{end}", f"small-{end}")
    contracts = source_of(shop).read().contracts
    assert {name.product: age for name, age in contracts.items()} == {
        "big-desktop": 30 * DAY_S, "small": DAY_S,
    }  # fmt: skip


def test_names_of_pages_are_apart_and_safe() -> None:
    names = [NAME, replace(NAME, release="other stable"), replace(NAME, variant="Minimal")]
    names += [replace(NAME, product="../../etc/passwd"), replace(NAME, product="\u202e<b>")]
    slugs = {name.slug for name in names}
    assert len(slugs) == len(names)
    assert all("/" not in slug and slug.isascii() and not slug.startswith(".") for slug in slugs)
    assert page_name("stage3-20261122-7f3a") == "stage3-20261122-7f3a"
    for hostile in ("../x", ".hidden", "a/b", "", "x" * 300, "a~2", "ü", "\udcff"):
        assert page_name(hostile).startswith("build-")


# Logs


def test_a_log_is_cut_into_pages_with_its_own_numbers() -> None:
    log = Log(lines=tuple(f"line {number}" for number in range(1, 2 * PAGE_LINES + 2)))
    first, second, third = pages_of(log, failure=PAGE_LINES + 1)
    assert (first.suffix, second.suffix, third.suffix) == ("", "~2", "~3")
    assert [line.number for line in second.lines if line.is_failure] == [PAGE_LINES + 1]
    assert [(line.number, line.text) for line in third.lines] == [(10_001, "line 10001")]


def test_of_a_long_log_the_newest_pages_are_shown() -> None:
    pages = list(pages_of(Log(lines=("x",) * (PAGE_LINES * (PAGES_MAX + 2)))))
    assert len(pages) == PAGES_MAX
    assert (pages[0].number, pages[0].suffix, pages[1].suffix) == (3, "", "~4")


CAUSE = Cause(
    rule="gcc",
    kind="compile",
    message="no such file",
    fingerprint="0123456789abcdef",
    line=3,
    excerpt=tuple(NumberedLine(number=n, text=f"line {n}") for n in range(1, 6)),
)


def test_the_failure_is_where_its_cause_says() -> None:
    log = Log(lines=tuple(f"line {number}" for number in range(1, 9)), is_counted=True)
    assert (found := failure_of(CAUSE, log))
    assert (found.line, found.suffix) == (3, "")
    assert [line.number for line in found.around if line.is_failure] == [3]
    assert [line.number for line in found.around] == [1, 2, 3, 4, 5]
    assert failure_of(None, log) is None
    assert failure_of(replace(CAUSE, excerpt=()), log) is None


def test_a_cause_that_no_rule_knows_leads_to_the_end_and_marks_nothing() -> None:
    log = Log(lines=("x",) * (PAGE_LINES + 9), is_counted=True)
    last = NumberedLine(number=PAGE_LINES + 8, text="x")
    assert (found := failure_of(replace(CAUSE, rule="", line=0, excerpt=(last,)), log))
    assert (found.line, found.suffix) == (PAGE_LINES + 8, "~2")
    assert not any(line.is_failure for line in found.around)


def test_a_cause_leads_nowhere_that_is_not_shown() -> None:
    parts = failure_of(CAUSE, Log(lines=("x",) * 9, is_counted=False))
    short = failure_of(CAUSE, Log(lines=("x", "y"), is_counted=True))
    long = failure_of(CAUSE, Log(lines=("x",) * (PAGE_LINES * (PAGES_MAX + 2)), is_counted=True))
    for found in (parts, short, long):
        assert found
        assert (found.suffix, len(found.around)) == (None, 5)


def test_the_lines_of_a_log_without_its_beginning_keep_their_numbers() -> None:
    log = Log(lines=tuple(f"line {n}" for n in range(7, PAGE_LINES + 3)), first=7, is_counted=True)
    first, second = pages_of(log, failure=8)
    assert (first.suffix, second.suffix) == ("", "~2")
    assert [(line.number, line.text) for line in first.lines[:2]] == [(7, "line 7"), (8, "line 8")]
    assert [line.number for line in first.lines if line.is_failure] == [8]
    assert [line.number for line in second.lines] == [PAGE_LINES + 1, PAGE_LINES + 2]
    assert (found := failure_of(replace(CAUSE, line=6), log))
    assert found.suffix is None
    assert (found := failure_of(replace(CAUSE, line=PAGE_LINES + 2), log))
    assert found.suffix == "~2"


@pytest.mark.parametrize("piece_bytes", [1, 7, 100, 10_000])
def test_of_a_log_the_newest_part_is_read(
    monkeypatch: pytest.MonkeyPatch, piece_bytes: int
) -> None:
    def read(text: str) -> Log:
        data = text.encode()
        return tail_of(data[at : at + piece_bytes] for at in range(0, len(data), piece_bytes))

    assert read("") == Log(is_counted=True)
    assert read("a\nb\n") == Log(lines=("a", "b"), is_counted=True)
    assert read("a\n\nb") == Log(lines=("a", "", "b"), is_counted=True)
    assert read("\n" * 3) == Log(lines=("", "", ""), is_counted=True)
    monkeypatch.setattr(details, "LOG_MAX_BYTES", 60)
    monkeypatch.setattr(details, "LOG_MAX_LINES", 20)
    for text in ("\n".join(map(str, range(1, 501))), "\n" * 500):
        log = read(text)
        every = text.removesuffix("\n").split("\n")
        assert log.lines == tuple(every[log.first - 1 :])
        assert 0 < len(log.lines) <= 20
        assert log.last == len(every)
    long = read("a\n" + "x" * 50_000)
    assert len("".join(long.lines)) <= 60 + piece_bytes


def test_lines_are_shown_without_escape_sequences_and_cut() -> None:
    text = "\x1b[31mred\x1b[0m\x1b]0;title\x07\ttab\r" + "x" * 3 * LINE_MAX
    (page,) = pages_of(Log(lines=(text,)))
    shown = page.lines[0].text
    assert shown.startswith("red    tabxx")
    assert len(shown) == LINE_MAX + 1


# Charts


def test_bars_are_as_high_as_their_values() -> None:
    made = chart("Size", [("a", 50.0), ("b", 100.0)], str)
    assert made
    assert [bar.height for bar in made.bars] == [HEIGHT / 2, HEIGHT]
    assert (made.low, made.high) == ("50.0", "100.0")
    assert [bar.title for bar in made.bars] == ["a: 50.0", "b: 100.0"]
    assert chart("Size", [("a", 50.0)], str) is None


def test_steps_lie_where_they_ran() -> None:
    first, second, third = spans([(100.0, 125.0), (125.0, 0.0), (0.0, 0.0)], 200.0)
    assert first
    assert second
    assert (first.start, first.width) == (0.0, 25.0)
    assert (second.start, second.width) == (25.0, 75.0)
    assert third is None


# The folder


def fill(root: Path, pages: dict[str, str], look: str = "1") -> SiteFolder:
    with site_folder(root, look) as folder:
        for path, text in pages.items():
            folder.put(path, text, made(path, text))
        folder.remove_others()
    return folder


def made(path: str, text: str) -> Callable[[], dict[str, str]]:
    return lambda: {path: text}


def test_only_what_changed_is_written(tmp_path: Path) -> None:
    assert fill(tmp_path / "site", {"a.html": "a", "b/b.html": "b"}).written == 2
    before = (tmp_path / "site/b/b.html").stat()
    again = fill(tmp_path / "site", {"a.html": "new", "b/b.html": "b"})
    assert (again.written, again.removed) == (1, 0)
    assert (tmp_path / "site/b/b.html").stat() == before
    assert fill(tmp_path / "site", {"a.html": "new", "b/b.html": "b"}).written == 0
    assert fill(tmp_path / "site", {"a.html": "new", "b/b.html": "b"}, look="2").written == 2


def test_pages_that_are_not_made_any_more_are_removed_and_nothing_else(tmp_path: Path) -> None:
    fill(tmp_path, {"a.html": "a", "b/b.html": "b"})
    (tmp_path / "favicon.ico").write_text("the operator's")
    assert fill(tmp_path, {"a.html": "a"}).removed == 1
    left = {path.name for path in tmp_path.rglob("*") if path.is_file() and OWN not in path.parts}
    assert left == {"a.html", "favicon.ico"}


def test_a_page_that_somebody_removed_is_made_again(tmp_path: Path) -> None:
    fill(tmp_path, {"a.html": "a"})
    (tmp_path / "a.html").unlink()
    assert fill(tmp_path, {"a.html": "a"}).written == 1


def test_after_an_error_no_page_is_missing_and_none_is_made_twice(tmp_path: Path) -> None:
    fill(tmp_path, {"a.html": "a", "b.html": "b"})
    with pytest.raises(StagefarmError, match="cannot be a page"):
        fill(tmp_path, {"a.html": "new", "../b": "b"})
    assert (tmp_path / "b.html").exists()
    again = fill(tmp_path, {"a.html": "new", "b.html": "b"})
    assert (again.written, again.removed) == (1, 0)


def test_marked_pages_are_made_when_they_are_marked(tmp_path: Path) -> None:
    def report() -> int:
        with site_folder(tmp_path, "1") as folder:
            for names in folder.outdated("build/"):
                for name in names:
                    folder.put(name, "", made(f"{name}.html", "text"))
            folder.remove_others()
            return folder.written - folder.removed

    def mark(how: Callable[[Database, str], None], *names: str) -> None:
        with site_folder(tmp_path, "1") as folder:
            for name in names:
                how(folder.database, name)

    many = [f"build/b-{number:04}" for number in range(2 * NAMES_AT_ONCE + 1)]
    mark(make_again, *many)
    assert report() == len(many)
    assert report() == 0
    mark(make_again, many[7])
    mark(make_gone, *many[10:12])
    assert report() == 1 - 2
    assert not (tmp_path / f"{many[10]}.html").exists()
    (tmp_path / f"{many[0]}.html").unlink()
    with site_folder(tmp_path, "1") as folder:
        folder.look_for_pages("build/")
    assert report() == 1


@pytest.mark.parametrize("dies_at", range(1, 9))
def test_whenever_a_report_is_killed_the_next_one_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: int
) -> None:
    """Each write to the disk, and each change of the database, is a place to die."""
    fill(tmp_path, {"a.html": "a", "b.html": "b", "gone.html": "x"})
    wanted = {"a.html": "new", "b.html": "b", "c.html": "c"}
    steps = iter(range(1, 100))

    def dying(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **more: object) -> object:
            if next(steps) >= dies_at:
                raise Killed
            return real(*args, **more)

        return call

    with monkeypatch.context() as patch, suppress(Killed):
        for place, name in ((Path, "write_bytes"), (Path, "rename"), (Path, "unlink")):
            patch.setattr(place, name, dying(getattr(place, name)))
        patch.setattr(Database, "do", dying(Database.do))
        fill(tmp_path, wanted)
    shown = {path.name: path.read_text() for path in tmp_path.glob("[a-z]*.html")}
    assert shown["a.html"] in ("a", "new"), "a reader sees whole pages"
    assert shown["b.html"] == "b"
    fill(tmp_path, wanted)
    assert {path.name: path.read_text() for path in tmp_path.iterdir() if path.is_file()} == wanted


class Killed(BaseException):
    """As SIGKILL, no handler of errors runs for it: `SiteFolder` has none."""


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(BadInput, match="not empty"), site_folder(tmp_path, "1"):
        pass


def test_no_page_can_leave_the_folder(tmp_path: Path) -> None:
    with pytest.raises(StagefarmError, match="cannot be a page"):
        fill(tmp_path / "site", {"../a.html": "a"})
    assert not (tmp_path / "a.html").exists()


# The site of a release, without a farm


def test_what_is_published_is_shown_without_redis(shop: Shop) -> None:
    shop.put("b-1", at=shop.now - 9 * DAY_S, sidecars=packages(bash="5.1", gone="1"))
    shop.put("b-2", at=shop.now - DAY_S, sidecars=packages(bash="5.2", new="3"))
    shop.publish("b-1", "b-2")
    assert report(shop).counts == {"fresh": 1}
    pages = site(shop)
    assert "fresh" in pages["index.html"]
    assert "The farm does not answer" in pages["index.html"]
    assert "is unknown" in pages["index.html"]
    (page,) = (text for path, text in pages.items() if path.startswith("stage/"))
    rows = [line for line in page.splitlines() if "<tr><td><code>" in line]
    words = [re.sub(r"<[^>]+>", " ", row).split() for row in rows]
    assert [row[0] for row in words] == ["b-2", "b-1", "bash", "gone", "new"]
    assert words[2:] == [["bash", "5.1", "5.2"], ["gone", "1", "–"], ["new", "–", "3"]]


def test_a_second_report_writes_nothing_until_a_stage_ages(shop: Shop) -> None:
    shop.put("b-1")
    shop.put("b-2", "musl")
    shop.publish("b-1", "b-2")
    first = report(shop)
    assert first.written > 5
    again = report(shop, now=shop.now + 60)
    assert (again.written, again.removed) == (1, 0), "status.json says when it was written"
    assert report(shop, now=shop.now + 3600).written == 2, "and the matrix, once an hour"
    due = report(shop, now=shop.now + 6 * DAY_S)
    assert due.counts == {"due": 2}
    assert due.written == 2 + 2 + 2, "the matrix, status.json, each stage and its badge"
    assert report(shop, now=shop.now + 8 * DAY_S).counts == {"stale": 2}


def test_nothing_is_published_yet(shop: Shop) -> None:
    assert report(shop).stages == 0
    assert "Nothing is published yet" in site(shop)["index.html"]
    assert json.loads(site(shop)["status.json"])["releases"][0]["generation"] == 0


def test_programs_read_the_state_of_each_stage(shop: Shop) -> None:
    shop.put("b-1", at=shop.now)
    built_at = shop.now
    shop.publish("b-1")
    report(shop)
    status = json.loads(site(shop)["status.json"])
    assert status["version"] == 1
    assert status["written_at"] == shop.now
    assert status["farm"] == {"current": False, "read_at": 0.0}
    (stage,) = status["stages"]
    assert stage["freshness"] == "fresh"
    assert (stage["build"], stage["built_at"]) == ("b-1", built_at)
    assert stage["stale_at"] == built_at + 7 * DAY_S
    assert stage["page"] in site(shop)
    badge = ElementTree.fromstring(site(shop)[stage["badge"]])
    assert badge.attrib["aria-label"] == "stage3 minimal: fresh"


def test_holds_are_on_the_page_of_their_stage_and_in_the_feed(shop: Shop) -> None:
    shop.put("b-1")
    shop.publish("b-1")
    key = StageKey(product="stage3", variant="minimal", arch="x86-64bit", subarch="generic_64")
    Holds(file=shop.folder / "holds.json").note([replace(a_hold("b-2"), stage=key)])
    report(shop)
    pages = site(shop)
    (page,) = (text for path, text in pages.items() if path.startswith("stage/"))
    assert "became setuid" in page
    assert "held by the gate" in pages["index.html"]
    assert entries(pages["feed.atom"]) == [
        "Held by the gate: stage3 minimal x86-64bit.generic_64",
        "Published: generation 1 of nightly stable",
    ]


def entries(text: str) -> list[str]:
    atom = "{http://www.w3.org/2005/Atom}"
    found = ElementTree.fromstring(text).findall(f"{atom}entry/{atom}title")
    return sorted(title.text or "" for title in found)


def test_the_feed_tells_of_failures_and_takes_any_text() -> None:
    hostile = a_try(BuildState.FAILED, id="b<\x00\udcff", reason="]]>&\x1b[1m\uffff", ended=NOW)
    text = feed([], [], [hostile], {hostile.id})
    assert entries(text.encode("utf-8", "backslashreplace").decode()) == ["Failed: b<\\x00\\xff"]


def test_releases_that_are_one_are_refused(shop: Shop, tmp_path: Path) -> None:
    from orchestrator.report.published import sources_of

    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.yaml").write_text("stages: [{}]\ntargets: [{to: mirror}]\n")
    files = [tmp_path / "a/same.yaml", tmp_path / "b/same.yaml"]
    with pytest.raises(BadInput, match="is release 'same stable' too"):
        sources_of(files, Settings(state_dir=str(tmp_path / "state")), print)


def test_two_releases_are_two_tables(shop: Shop) -> None:
    shop.put("b-1")
    shop.publish("b-1")
    sources = [replace(source_of(shop), title=title) for title in ("one stable", "two stable")]
    made = write_site(sources, None, shop.folder / "site", Settings(), now=shop.now, builds_max=1)
    assert made.stages == 2
    assert site(shop)["index.html"].count("<table") == 2


# Hostile names

HOSTILE = [
    "<script>document.title='ran'</script>",
    "\" onmouseover=document.title='ran' x=\"",
    "{{ 7 * 7 }}",
    "left\u202etfel\u2066",
    os.fsdecode(b"not-utf8-\xff"),
    "line\nbreak\x1b[31m",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_text(name: str) -> None:
    stage = StageName(release=name, product=name, variant=name, arch=name, subarch=name)
    one = a_try(BuildState.FAILED, id=name, host=name, cause=name, fingerprint=name)
    view = replace(view_of(one), name=stage)
    release = Release(title=name, url=name, catalog=None)
    tables = tuple(matrices([view]))
    values = {"builds": {name}, "farm_read_at": None}
    pages = [
        render("index.html.j2", root="", matrices=tables, releases=[release], now=NOW, **values),
        render(
            "stage.html.j2",
            root="../", view=view, tries=[one], changes=(), charts=[], mirror=name, **values,
        ),
        render(
            "nights.html.j2", root="",
            nights=[NightRow(name=name, begun=NOW, ended=NOW, counts=(), failed=(one,))], **values,
        ),
        render("causes.html.j2", root="", causes=[CauseCount(builds=1, newest=one)], **values),
        render(
            "cause.html.j2", root="../", one=one, cause=None, failure=None, tries=[one],
            stages=[stage], count=2, **values,
        ),
    ]  # fmt: skip
    for page in pages:
        assert page.encode()
        assert "<script" not in page
        assert "onmouseover=document.title='ran'" not in page
        assert not any(sign in page for sign in "\u202e\u2066\x1b")
        assert "{{" in page or "{{" not in name


def test_only_web_addresses_become_links() -> None:
    release = Release(title="a stable", url="javascript:alert(1)", catalog=None)
    page = render(
        "stage.html.j2", root="../", view=view_of(), tries=[], changes=(), charts=[],
        mirror=release.url, builds=set(), farm_read_at=None,
    )  # fmt: skip
    assert 'href="javascript' not in page
