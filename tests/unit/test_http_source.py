"""Fetching over HTTP from a real server that cuts, refuses and changes."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace

import pytest

from tasks.errors import SourceFailed
from tasks.host.locks import exclusive
from tasks.model import Source, SourceType
from tasks.reporting import Line, Report, Silent
from tasks.rootfs.storage import Storage
from tasks.settings import Settings
from tasks.sources import download
from tasks.sources.destination import Destination
from tasks.sources.dispatch import fetch
from tasks.sources.download_index import Origin
from tests.webserver import Site, serving

DATA = random.Random(1).randbytes(1_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()
SHA512 = hashlib.sha512(DATA).hexdigest()


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as made:
        yield made


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Retries that do not wait; gives how long they would have."""
    slept: list[float] = []
    monkeypatch.setattr(download.Downloader.__init__, "__defaults__", (None, slept.append, 60.0))
    return slept


class Notes(Silent):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def line(self, line: Line) -> None:
        self.texts.append(line.text)


def place(tmp_path: Path, report: Report | None = None) -> Destination:
    storage = Storage.of(Settings(state_dir=str(tmp_path / "state")))
    return Destination(folder=tmp_path, storage=storage, report=report or Silent())


def bring(tmp_path: Path, uri: str, **more: str) -> bytes:
    source = Source(type=SourceType.HTTP, uri=uri, target=str(tmp_path / "d" / "a.tar"), **more)
    tarball = fetch(source, place(tmp_path))
    assert tarball
    assert [path.name for path in tarball.parent.iterdir()] == ["a.tar"]
    return tarball.read_bytes()


def test_a_file_is_fetched_whole_with_its_query(tmp_path: Path, site: Site) -> None:
    uri = site.put("a.tar", DATA)
    assert bring(tmp_path, f"{uri}?token=a%2Fb&x=1") == DATA
    assert [request.path for request in site.requests] == ["/a.tar?token=a%2Fb&x=1"]


def test_a_target_that_is_there_is_used(tmp_path: Path, site: Site) -> None:
    uri = site.put("a.tar", DATA)
    bring(tmp_path, uri)
    bring(tmp_path, uri)
    assert len(site.requests) == 1


def test_a_target_with_another_checksum_is_fetched_again(tmp_path: Path, site: Site) -> None:
    bring(tmp_path, site.put("a.tar", b"old"))
    assert bring(tmp_path, site.put("a.tar", DATA), sha256=SHA256) == DATA


def test_redirects_are_followed(tmp_path: Path, site: Site) -> None:
    uri = site.put("moved.tar", b"", redirect=site.put("a.tar", DATA))
    assert bring(tmp_path, uri) == DATA


@pytest.mark.parametrize(
    "validator", [{"etag": '"1"'}, {"last_modified": "Sun, 22 Nov 2026 10:00:00 GMT"}]
)
def test_a_broken_download_goes_on_where_it_stopped(
    tmp_path: Path, site: Site, validator: dict[str, str]
) -> None:
    uri = site.put("a.tar", DATA, faults=["cut=600000", "cut=300000"], **validator)
    assert bring(tmp_path, uri) == DATA
    assert site.requests[0].range == ""
    assert site.requests[1].if_range == next(iter(validator.values()))
    assert [r.range for r in site.requests[1:]] == ["bytes=600000-", "bytes=900000-"]


@pytest.mark.parametrize("validator", [{}, {"etag": 'W/"1"'}])
def test_without_a_validator_it_starts_anew(
    tmp_path: Path, site: Site, validator: dict[str, str]
) -> None:
    uri = site.put("a.tar", DATA, faults=["cut=600000"], **validator)
    assert bring(tmp_path, uri) == DATA
    assert [request.range for request in site.requests] == ["", ""]


def test_a_checksum_makes_up_for_a_missing_validator(tmp_path: Path, site: Site) -> None:
    uri = site.put("a.tar", DATA, faults=["cut=600000"])
    assert bring(tmp_path, uri, sha256=SHA256) == DATA
    assert [request.range for request in site.requests] == ["", "bytes=600000-"]


def test_a_file_that_changed_meanwhile_starts_anew(tmp_path: Path, site: Site) -> None:
    site.put("a.tar", b"x" * 500_000, etag='"old"', faults=["cut=100000", 404])
    with pytest.raises(SourceFailed, match="404"):
        bring(tmp_path, f"{site.address}/a.tar")
    uri = site.put("a.tar", DATA, etag='"new"')
    assert bring(tmp_path, uri) == DATA
    assert site.requests[-1].range == "bytes=100000-"


def test_a_server_that_knows_no_ranges(tmp_path: Path, site: Site) -> None:
    uri = site.put("a.tar", DATA, etag='"1"', ranges=False, faults=["cut=600000"])
    assert bring(tmp_path, uri) == DATA


@pytest.mark.parametrize("mark", ["etag", "last_modified"])
def test_parts_of_two_files_are_never_joined(tmp_path: Path, site: Site, mark: str) -> None:
    old, new = '"1"', '"2"'
    if mark == "last_modified":
        old, new = "Sun, 22 Nov 2026 10:00:00 GMT", "Sun, 22 Nov 2026 11:00:00 GMT"
    site.put("a.tar", b"x" * 500_000, faults=["cut=100000", 404], **{mark: old})
    with pytest.raises(SourceFailed, match="404"):
        bring(tmp_path, f"{site.address}/a.tar")
    uri = site.put("a.tar", DATA, careful=False, **{mark: new})
    assert bring(tmp_path, uri) == DATA
    assert [request.range for request in site.requests[2:]] == ["bytes=100000-", ""]


def test_a_server_that_gives_less_than_it_was_asked_for(tmp_path: Path, site: Site) -> None:
    uri = site.put("a.tar", DATA, etag='"1"', part_max=300_000, faults=["cut=500000"])
    assert bring(tmp_path, uri) == DATA
    assert [request.range for request in site.requests] == ["", "bytes=500000-", "bytes=800000-"]


def test_a_server_that_does_not_say_which_part_it_gives(tmp_path: Path, site: Site) -> None:
    uri = site.put("a.tar", DATA, etag='"1"', says=False, faults=["cut=500000"])
    assert bring(tmp_path, uri) == DATA
    assert [request.range for request in site.requests] == ["", "bytes=500000-", ""]


def test_all_was_there_already(tmp_path: Path, site: Site) -> None:
    uri = site.put("a.tar", DATA, etag='"1"')
    partial = tmp_path / "d" / ".a.tar.partial"
    partial.parent.mkdir()
    partial.write_bytes(DATA)
    partial.with_name(f"{partial.name}.json").write_bytes(
        download.encode(Origin(uri=uri, etag='"1"'))
    )
    assert bring(tmp_path, uri) == DATA
    assert [request.range for request in site.requests] == ["bytes=1000000-"]


def test_a_busy_server_is_asked_again_with_growing_waits(
    tmp_path: Path, site: Site, waits: list[float]
) -> None:
    uri = site.put("a.tar", DATA, faults=[503, 502, 500, 429])
    assert bring(tmp_path, uri) == DATA
    assert len(waits) == 4
    assert waits == sorted(waits)


NOW = 1_800_000_000.0
IN_A_MINUTE = formatdate(NOW + 60, usegmt=True)


@pytest.mark.parametrize(
    ("asked", "least_s", "most_s"),
    [
        ("45", 45, 45),
        (IN_A_MINUTE, 60, 60),
        ("0", 1, 1.5),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 1, 1.5),
        ("soon", 1, 1.5),
        ("-5", 1, 1.5),
        ("1e9", 1, 1.5),
        ("\xb2", 1, 1.5),
        ("Fri, 99 Foo 99999 99:99:99 +9999", 1, 1.5),
        ("86400", 600, 600),
        ("9" * 400, 600, 600),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 600, 600),
    ],
)
def test_a_server_may_ask_for_a_longer_wait_within_reason(
    tmp_path: Path, site: Site, waits: list[float], monkeypatch: pytest.MonkeyPatch,
    asked: str, least_s: float, most_s: float,
) -> None:  # fmt: skip
    monkeypatch.setattr(download, "time", SimpleNamespace(time=lambda: NOW))
    uri = site.put("a.tar", DATA, faults=[503], retry_after=asked)
    assert bring(tmp_path, uri) == DATA
    (wait_s,) = waits
    assert least_s <= wait_s <= most_s


@pytest.mark.parametrize("code", [404, 403, 410])
def test_a_missing_file_is_one_clear_error_at_once(
    tmp_path: Path, site: Site, waits: list[float], code: int
) -> None:
    uri = site.put("a.tar", DATA, faults=[code])
    with pytest.raises(SourceFailed, match=f"a.tar: the server says {code}"):
        bring(tmp_path, uri)
    assert waits == []


def test_a_server_that_never_answers_well_is_given_up(tmp_path: Path, site: Site) -> None:
    uri = site.put("a.tar", DATA, faults=[503] * 20)
    with pytest.raises(SourceFailed, match="503 Service Unavailable, 6 times in a row"):
        bring(tmp_path, uri)
    assert list((tmp_path / "d").iterdir()) == []


def test_no_server_at_all(tmp_path: Path, site: Site) -> None:
    with pytest.raises(SourceFailed, match="6 times in a row"):
        bring(tmp_path, "http://127.0.0.1:1/a.tar")


def test_a_truncated_download_keeps_no_target(tmp_path: Path, site: Site) -> None:
    uri = site.put("a.tar", DATA, faults=["cut=0"] * 20)
    with pytest.raises(SourceFailed, match="times in a row"):
        bring(tmp_path, uri)
    assert not (tmp_path / "d" / "a.tar").exists()


def test_a_wrong_checksum_is_refused_and_forgotten(tmp_path: Path, site: Site) -> None:
    uri = site.put("a.tar", DATA)
    with pytest.raises(SourceFailed, match=f"its sha256 is {SHA256}, not {'0' * 64}"):
        bring(tmp_path, uri, sha256="0" * 64)
    assert list((tmp_path / "d").iterdir()) == []


@pytest.mark.parametrize("scheme", ["ftp://127.0.0.1/a.tar", "file:///etc/passwd", "http://[bad/"])
def test_an_address_that_is_none(tmp_path: Path, scheme: str) -> None:
    with pytest.raises(SourceFailed):
        bring(tmp_path, scheme)


def test_a_password_in_the_address_is_not_shown(tmp_path: Path, site: Site) -> None:
    with pytest.raises(SourceFailed) as caught:
        bring(tmp_path, site.address.replace("//", "//user:secret@") + "/none.tar")
    assert "secret" not in str(caught.value)


def test_two_builds_fetch_one_target_once(tmp_path: Path, site: Site) -> None:
    uri = site.put("a.tar", DATA)
    target = tmp_path / "d" / "a.tar"
    source = Source(type=SourceType.HTTP, uri=uri, target=str(target))
    notes = Notes()
    waiting = threading.Event()
    notes.line = lambda line: (notes.texts.append(line.text), waiting.set())  # type: ignore[method-assign,assignment,func-returns-value]
    with exclusive(target):
        other = threading.Thread(target=fetch, args=(source, place(tmp_path, notes)))
        other.start()
        assert waiting.wait(10)
        target.write_bytes(DATA)
    other.join()
    assert site.requests == []
    assert notes.texts == [
        f"waiting for {target}: it is being fetched",
        f"{target} is there already",
    ]


def test_checksum_files(tmp_path: Path, site: Site) -> None:
    uri = site.put("a.tar", DATA)
    digests = f"# BLAKE2B HASH\n{'b' * 128}  a.tar\n# SHA512 HASH\n{SHA512}  a.tar\n"
    site.put("a.tar.DIGESTS", digests.encode())
    assert bring(tmp_path, uri, checksums="a.tar.DIGESTS") == DATA
    site.put("b.tar", DATA)
    site.put("b.tar.sha256", f"{'0' * 64} *b.tar\n".encode())
    with pytest.raises(SourceFailed, match="its sha256 is"):
        fetch(
            Source(
                type=SourceType.HTTP,
                uri=f"{site.address}/b.tar",
                target=str(tmp_path / "b"),
                checksums="b.tar.sha256",
            ),
            place(tmp_path),
        )


def test_a_pointer_names_the_tarball(tmp_path: Path, site: Site) -> None:
    site.put("x/2026/stage3.tar.xz", DATA)
    pointer = site.put("x/latest-stage3.txt", b"# Latest\n# ts=1\n2026/stage3.tar.xz 1000000\n")
    assert bring(tmp_path, pointer) == DATA


def test_a_pointer_that_names_nothing(tmp_path: Path, site: Site) -> None:
    with pytest.raises(SourceFailed, match="names no tarball"):
        bring(tmp_path, site.put("latest.txt", b"<html>\n"))


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("..%2F..%2F..%2F..%2Fevil.tar", "evil.tar"),
        ("x%2F..%2F..%2F..%2Fevil.tar", "evil.tar"),
        ("../other/a.tar", "a.tar"),
        ("SITE/other/a.tar", "a.tar"),
        (f"{'a' * 400}.tar", f"{'a' * 196}.tar"),
    ],
)
def test_a_tarball_is_kept_in_the_cache_whatever_its_name(
    tmp_path: Path, site: Site, name: str, kept: str
) -> None:
    path = {"../other/a.tar": "other/a.tar", "SITE/other/a.tar": "other/a.tar"}
    site.put(path.get(name, f"p/{name}"), DATA)
    uri = site.put("p/latest.txt", f"{name.replace('SITE', site.address)} 5".encode())
    tarball = fetch(Source(type=SourceType.HTTP, uri=uri), place(tmp_path))
    assert tarball.read_bytes() == DATA
    assert tarball.name == kept
    assert tarball.parent.parent.resolve() == tmp_path / "state" / "downloads"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state"]


@pytest.mark.parametrize(
    "name", ["a%00.tar", "a%0a%1b[31m.tar", "a\x1b[31m.tar", "http://[x.tar", "file:///a.tar"]
)
def test_a_pointer_that_names_what_is_no_address(tmp_path: Path, site: Site, name: str) -> None:
    uri = site.put("p/latest.txt", f"{name} 5".encode())
    with pytest.raises(SourceFailed) as caught:
        fetch(Source(type=SourceType.HTTP, uri=uri), place(tmp_path))
    assert str(caught.value).isprintable()
    assert len(site.requests) == 1


def test_the_cache_keeps_the_last_of_what_a_pointer_named(tmp_path: Path, site: Site) -> None:
    for name in ("one.tar", "two.tar"):
        site.put(name, DATA)
        source = Source(type=SourceType.HTTP, uri=site.put("latest.txt", f"{name} 5".encode()))
        tarball = fetch(source, place(tmp_path))
    assert sorted(path.name for path in tarball.parent.iterdir()) == [".two.tar.origin", "two.tar"]


def test_a_pointer_may_name_another_file_of_the_same_name(tmp_path: Path, site: Site) -> None:
    for name, data in (("one/a.tar", b"old"), ("two/a.tar", DATA)):
        site.put(name, data, etag='"1"')
        source = Source(type=SourceType.HTTP, uri=site.put("latest.txt", f"{name} 5".encode()))
        tarball = fetch(source, place(tmp_path))
    assert tarball.read_bytes() == DATA


@pytest.mark.parametrize("folder", ["d", "d/a.tar"])
def test_a_place_that_cannot_be_is_one_clear_error(tmp_path: Path, site: Site, folder: str) -> None:
    if folder == "d":
        (tmp_path / "d").write_text("a file")
    else:
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(SourceFailed, match=r"File exists|Is a directory"):
        bring(tmp_path, site.put("a.tar", DATA))
