"""The web page of `stagefarm diff --html`, in a real browser.

Screenshots go to the folder in $STAGEFARM_SCREENSHOTS, or pytest's own temporary one.
"""

from __future__ import annotations

import html
import io
import json
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.cli import run
from orchestrator.display.diff_page import ROWS_MAX, diff_page
from orchestrator.display.html import NAME_MAX
from orchestrator.display.treemap import Box, squarified
from orchestrator.gate.findings import Finding, Verdict
from tasks.inspection.inventory import Entry, Inventory, Kind
from tasks.inspection.scan import scan_file
from tasks.reporting import Silent
from tests.browser import Browser, pictures_in
from tests.webserver import Site, serving

HOSTILE = [
    "<script>document.title='ran'</script>",
    "</style></title><script>document.title='ran'</script><style>",
    "<img src=x onerror=document.title='ran'>",
    "\" onmouseover=document.title='ran' x=\"",
    "' autofocus onfocus=document.title='ran' '",
    "{{ 7 * 7 }}{% for x in y %}",
    "&lt;b&gt;&#60;",
    "line\nbreak\r\ttab",
    "\x1b[31m\x1b]0;title\x07",
    "left\u202etfel\u2066\u200f",
    os.fsdecode(b"not-utf8-\xff\xc3"),
    "long" * 60,
]
SPOILED = re.compile(r"\bran\b")
LOOKED = """<!doctype html><title>looking</title><body><script>
const frame = document.createElement("iframe");
frame.style = "border: 0; height: 900px; width: " + location.search.slice(1) + "px";
frame.onload = () => {
  const page = frame.contentDocument, root = page.documentElement;
  const seen = name => getComputedStyle(page.querySelector(name)).display != "none";
  document.body.textContent = JSON.stringify({
    title: page.title,
    overflows: root.scrollWidth > root.clientWidth,
    wide: seen(".treemap.wide"), tall: seen(".treemap.tall"),
    ground: getComputedStyle(page.body).backgroundColor,
    elements: Array.from(new Set(Array.from(page.querySelectorAll("*"), e => e.localName))).sort(),
    attributes: Array.from(new Set(Array.from(page.querySelectorAll("*"),
      e => e.getAttributeNames()).flat())).sort(),
    codes: Array.from(page.querySelectorAll("code"), e => e.textContent),
    bare: page.querySelectorAll("details > :first-child:not(summary)").length,
  });
};
frame.src = "page.html";
document.body.append(frame);
</script>"""
ELEMENTS = """
    a b body caption circle code defs details h1 h2 head header html li main meta nav p pattern rect
    section span style summary svg table tbody td text th thead title tr ul
"""


def tarball(path: Path, files: dict[str, bytes], mode: int = 0o644) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return path


def status(*names: str) -> bytes:
    return "".join(f"Package: {name}\nVersion: {name}\n\n" for name in names).encode()


@pytest.fixture
def site() -> Iterator[Site]:
    if not shutil.which("chromium"):
        pytest.skip("needs chromium")
    with serving() as site:
        site.put("look.html", LOOKED.encode())
        yield site


@pytest.fixture
def browser(site: Site, tmp_path: Path) -> Browser:
    return Browser(site.address, tmp_path / "profile", pictures_in(tmp_path))


def look(browser: Browser, width: int) -> dict[str, object]:
    """What the page is like in a window of that width."""
    text = re.search(r"<body>(.*)</body>", browser.dom(f"look.html?{width}"), re.DOTALL)
    assert text
    return dict(json.loads(html.unescape(text[1])))


def shown(name: str) -> str:
    """How a name is shown: as one line of text."""
    escaped = "".join(
        sign if sign.isprintable()
        else f"\\x{ord(sign) - 0xDC00:02x}" if "\udc80" <= sign <= "\udcff"
        else sign.encode("unicode_escape").decode()
        for sign in name
    )  # fmt: skip
    return escaped if len(name) <= NAME_MAX else f"{name[:100]}…{name[-100:]}"


def test_hostile_names_are_only_text(site: Site, browser: Browser, tmp_path: Path) -> None:
    package = "<script>document.title='ran'</script>"
    names = [name.replace("/", "\\") for name in HOSTILE]
    before = tarball(tmp_path / "a.tar", {"var/lib/dpkg/status": status("bash")})
    content = {f"{name}/{name}": b"x" * 2000 for name in names}
    after = tarball(
        tmp_path / "b.tar", {"var/lib/dpkg/status": status(package), **content}, mode=0o6777
    )
    findings = [
        Finding(check=name, path=name, before=name, after=name, message=name) for name in HOSTILE
    ]
    stages = [scan_file(path, Silent()) for path in (before, after)]
    page = diff_page(*stages, findings=findings, title=HOSTILE[1] + HOSTILE[0])
    site.put("page.html", page.encode())
    found = look(browser, 1200)
    assert found["title"] == HOSTILE[1] + HOSTILE[0]
    assert set(found["elements"]) <= set(ELEMENTS.split())
    assert not [name for name in found["attributes"] if name.startswith("on")]
    assert {"src", "style", "autofocus", "data"}.isdisjoint(found["attributes"])
    for name in HOSTILE:
        assert shown(name) in found["codes"]
    for name in names:
        assert shown(f"/{name}/{name}") in found["codes"]
    assert shown(package) in found["codes"]


def test_even_a_script_in_the_page_would_not_run(site: Site, browser: Browser) -> None:
    """Its policy lets no script run, nothing be fetched, and no other style count."""
    stage = Inventory(name="a.tar", sha256="0" * 64, size_bytes=1, files={})
    spoiled = diff_page(stage, stage).replace(
        "</main>",
        "<script>document.title='ran'</script><img src=seen.png onerror=document.title='ran'>"
        "<style>body { background: rgb(1, 2, 3) }</style><iframe src=seen.html></iframe></main>",
    )
    site.put("page.html", spoiled.encode())
    found = look(browser, 1200)
    assert "script" in found["elements"]
    assert found["title"] == "a.tar → a.tar"
    assert found["ground"] != "rgb(1, 2, 3)"
    assert not [request for request in site.requests if "seen" in request.path]


@pytest.mark.parametrize(("width", "is_dark"), [(1200, False), (390, True)])
def test_a_page_fits_its_window_and_follows_the_colours_of_its_reader(
    site: Site, browser: Browser, stages: tuple[Path, Path], width: int, is_dark: bool
) -> None:
    findings = [
        Finding(check="setuid", path="/usr/bin/tool", before="0755", after="4755",
                message="/usr/bin/tool has a setuid bit that it did not have"),
        Finding(check="size", path="/usr/lib", verdict=Verdict.WARN, message="much larger"),
    ]  # fmt: skip
    waived = [Finding(check="packages", path="old", before="old", message="old is gone")]
    inventories = [scan_file(path, Silent()) for path in stages]
    site.put("page.html", diff_page(*inventories, findings=findings, waived=waived).encode())
    browser.size, browser.is_dark = (width, 2600), is_dark
    found = look(browser, width)
    assert not found["overflows"]
    assert (found["wide"], found["tall"]) == (width > 640, width <= 640)
    assert found["ground"] == ("rgb(15, 19, 24)" if is_dark else "rgb(255, 255, 255)")
    assert found["bare"] == 0
    browser.picture("page.html", f"diff-{width}-{'dark' if is_dark else 'light'}")


@pytest.fixture
def stages(tmp_path: Path) -> tuple[Path, Path]:
    """Two stages that differ in all that a page shows."""
    common = {f"usr/share/doc/p{n}/text": b"d" * (20 * n) for n in range(40)}
    before = common | {
        "usr/lib/libbig.so": b"l" * 60_000,
        "opt/gone/file": b"g" * 9000,
        "var/lib/dpkg/status": status("bash", "old-package"),
    }
    after = common | {
        "usr/lib/libbig.so": b"l" * 90_000,
        "usr/bin/tool": b"t" * 12_000,
        "srv/new/" + "very-long-name-" * 12: b"n" * 9000,
        "var/lib/dpkg/status": status("bash", "a-new-package-with-a-long-name-1.2.3+dfsg-4"),
    }
    return tarball(tmp_path / "a.tar", before), tarball(tmp_path / "b.tar", after, 0o4755)


def test_the_command_writes_a_page_that_needs_nothing_else(
    stages: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    words = ["diff", *map(str, stages), "--ignore-times"]
    assert run([*words, "--html", str(page)]) == 1
    assert "+ /usr/bin/tool" in capsys.readouterr().out
    text = page.read_text()
    assert "a.tar → b.tar" in text
    assert "a-new-package-with-a-long-name" in text
    assert "-rwsr-xr-x 0:0" in text
    assert not re.findall(r"""(?:src|href)=["'](?!#)|url\((?!#)|@import""", text)
    assert run([*words, "--html", str(tmp_path / "file" / "page.html")]) == 1
    (tmp_path / "blocked").touch()
    assert run([*words, "--html", str(tmp_path / "blocked" / "page.html")]) == 2
    assert "blocked" in capsys.readouterr().err


def test_a_huge_difference_makes_a_page_of_limited_size() -> None:
    file = Entry(kind=Kind.FILE, mode=0o666, uid=0, gid=0, size=1, mtime=0)
    many = {f"/{number}/{'x' * 300}/{number}": file for number in range(20_000)}
    empty = Inventory(name="a", sha256="", size_bytes=1, files={})
    page = diff_page(empty, replace(empty, files=many))
    assert len(page) < 2_000_000
    assert f"{len(many) - ROWS_MAX:,} more are left out here" in page


def test_a_first_stage_is_shown_alone(stages: tuple[Path, Path]) -> None:
    page = diff_page(None, scan_file(stages[1], Silent()))
    assert "this stage" in page
    assert "<h1>b.tar</h1>" in page
    assert "-rwsr-xr-x 0:0" in page
    assert 'id="files"' not in page


@pytest.mark.parametrize("box", [Box(0, 0, 600, 400), Box(10, 5, 40, 900)])
def test_the_areas_of_a_treemap_are_the_sizes(box: Box) -> None:
    weights = [6000, 6000, 4000, 3000, 2000, 2000, 1000, 1, 1]
    placed = squarified(weights, box)
    scale = box.width * box.height / sum(weights)
    for weight, place in zip(weights, placed, strict=True):
        assert place.width * place.height == pytest.approx(weight * scale)
        assert box.x <= place.x + 1e-6
        assert place.x + place.width <= box.x + box.width + 1e-6
        assert place.y + place.height <= box.y + box.height + 1e-6
    if box.width == 600:
        ratios = [max(p.width / p.height, p.height / p.width) for p in placed[:7]]
        assert max(ratios) < 3
