"""Which version of a seed a build would start from is asked of its server, where it says so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.farm.seed_versions import DECLARED, UNKNOWN, SeedVersions
from tasks.errors import SourceFailed
from tasks.model import Build, Source, SourceType
from tests.builds import any_build
from tests.webserver import Site, serving

POINTER = "# Latest as of {}\nstage3-{}.tar.xz 1234\n"


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as site:
        yield site


def version(uri: str = "", **more: str) -> str:
    kind = SourceType(more.pop("kind", "http"))
    return SeedVersions().of(Source(type=kind, uri=uri, **more))  # type: ignore[arg-type]


def test_a_pointer_counts_by_what_it_points_at(site: Site) -> None:
    uri = site.put("latest.txt", POINTER.format("monday", 1).encode())
    first = version(uri)
    site.put("latest.txt", POINTER.format("tuesday", 1).encode())
    assert version(uri) == first != UNKNOWN
    site.put("latest.txt", POINTER.format("tuesday", 2).encode())
    assert version(uri) not in (first, UNKNOWN)


def test_checksums_count_by_their_text(site: Site) -> None:
    uri = site.put("seed.tar", b"x")
    site.put("seed.tar.sha256", b"one")
    first = version(uri, checksums="seed.tar.sha256")
    assert version(uri, checksums="seed.tar.sha256") == first != UNKNOWN
    site.put("seed.tar.sha256", b"two")
    assert version(uri, checksums="seed.tar.sha256") not in (first, UNKNOWN)


def pinned(site: Site, **source: str) -> Build:
    (build,) = SeedVersions().pin([any_build(source=Source(type=SourceType.HTTP, **source))])
    return build


def test_a_seed_is_pinned_to_what_the_server_publishes_now(site: Site) -> None:
    uri = site.put("latest.txt", POINTER.format("monday", 1).encode())
    site.put("stage3-1.tar.xz.sha256", f"{'a' * 64}  stage3-1.tar.xz\n{'b' * 64}  x\n".encode())
    by_name = pinned(site, uri=uri)
    assert by_name.source.uri == f"{site.address}/stage3-1.tar.xz"
    assert by_name.as_written == Source(type=SourceType.HTTP, uri=uri)
    whole = pinned(site, uri=uri, checksums="stage3-1.tar.xz.sha256")
    assert (whole.source.uri, whole.source.sha256) == (by_name.source.uri, "a" * 64)


def test_a_seed_that_its_server_says_nothing_of_is_not_pinned(site: Site) -> None:
    for source in ({"uri": f"{site.address}/seed.tar"}, {"uri": "http://e.org/x", "sha256": "a"}):
        assert pinned(site, **source).as_written is None
    with pytest.raises(SourceFailed):
        pinned(site, uri=f"{site.address}/gone.txt")


def test_a_pinned_seed_has_a_version(site: Site) -> None:
    uri = site.put("latest.txt", POINTER.format("monday", 1).encode())
    versions = SeedVersions()
    build = any_build(source=Source(type=SourceType.HTTP, uri=uri))
    before = versions.of(build.source)
    (build,) = versions.pin([build])
    assert versions.of(build.source) == before == f"{site.address}/stage3-1.tar.xz"


def test_what_the_job_declares_needs_no_server() -> None:
    assert version("http://127.0.0.1:1/seed.tar", sha256="a" * 64) == DECLARED
    assert version(kind="file", path="/seed.tar", sha512="a" * 128) == DECLARED


def test_what_cannot_be_known_is_unknown(site: Site) -> None:
    assert version(site.put("seed.tar", b"x")) == UNKNOWN
    assert version(f"{site.address}/gone.txt") == UNKNOWN
    assert version("ftp://example.org/latest.txt") == UNKNOWN
    assert version(kind="file", path="/seed.tar") == UNKNOWN
    assert version(kind="anise") == UNKNOWN


def test_each_server_is_asked_once_for_each_file(site: Site) -> None:
    uri = site.put("latest.txt", POINTER.format("monday", 1).encode())
    versions = SeedVersions()
    found = {versions.of(Source(type=SourceType.HTTP, uri=uri)) for _ in range(3)}
    assert (len(found), len(site.requests)) == (1, 1)
