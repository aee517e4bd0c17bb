"""Which version of a seed a build would start from is asked of its server, where it says so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.farm.seed_versions import DECLARED, UNKNOWN, SeedVersions
from tasks.model import Source, SourceType
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
