"""Stages that are judged without being published: builds of the farm, and any tarballs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from orchestrator.farm.lookup import one_build, open_ledger
from orchestrator.farm.rebuild import made_by
from orchestrator.gate.findings import StageKey
from orchestrator.gate.gatekeeper import Subject
from orchestrator.release.mirror import mirror_at
from orchestrator.release.taking import Candidate
from tasks.artifacts import gate_tests
from tasks.artifacts.gate_tests import ENDING, GateTest
from tasks.artifacts.provenance import LIMIT_BYTES, job_name
from tasks.errors import BadInput, HostUnfit, StagefarmError
from tasks.model import Build
from tasks.settings import Settings
from tasks.store.folder import FolderFile
from tasks.store.opening import file_at
from tasks.store.store import StoredFile
from tasks.trust.envelope import content, from_text

TARBALL_MAX_BYTES = 1 << 40
NO_STAGE = StageKey(product="")


def subject_named(named: str, settings: Settings) -> Subject:
    """The tarball that a file, a URL or a build names, as the gate sees it. That of a build is
    verified by its signatures."""
    if named.startswith(("http://", "https://")):
        return _on_mirror(named)
    if is_build(named):
        ledger = open_ledger(reading=True)
        record = ledger.record(one_build(ledger, named))
        tarball, sha256 = made_by(record, settings)
        return _stored(tarball, record.id, sha256)
    return _stored(_file(named, settings), named)


def candidate_named(named: str, settings: Settings) -> Candidate | None:
    """The same as something to publish: whose build it is said to be. None if nothing beside the
    tarball says so; signatures decide."""
    if named.startswith(("http://", "https://")):
        return None
    if is_build(named):
        ledger = open_ledger(reading=True)
        record = ledger.record(one_build(ledger, named))
        return Candidate(record.id, made_by(record, settings)[0])
    tarball = _file(named, settings)
    with suppress(StagefarmError, OSError, UnicodeDecodeError):
        signed = tarball.sibling(job_name(tarball.name)).read(LIMIT_BYTES)
        return Candidate(content(from_text(signed.decode()), Build).id, tarball)
    return None


def is_build(named: str) -> bool:
    """Whether `named` can only be a build of the farm: it is no URL and no file."""
    return "/" not in named and ".tar" not in named and not Path(named).exists()


def _file(named: str, settings: Settings) -> StoredFile:
    return file_at(named, settings) if "://" in named else FolderFile(Path(named).absolute())


def _stored(tarball: StoredFile, name: str, sha256: str = "") -> Subject:
    try:
        size_bytes = tarball.size()
    except FileNotFoundError as error:
        raise BadInput(f"{name}: there is no such tarball", "a file, a URL or a build") from error
    except OSError as error:
        raise HostUnfit(f"cannot read {tarball.url}: {error.strerror}") from error
    return Subject(
        stage=NO_STAGE,
        build=name,
        tarball=tarball.name,
        sha256=sha256,
        size_bytes=size_bytes,
        pieces=tarball.pieces,
        tests=partial(_tests, tarball.sibling(f"{tarball.name}.{ENDING}")),
    )


def _on_mirror(url: str) -> Subject:
    root, _, name = url.rpartition("/")

    def pieces() -> Iterator[bytes]:
        with mirror_at(root) as mirror:
            yield from mirror.pieces(name, TARBALL_MAX_BYTES)

    return Subject(stage=NO_STAGE, build=url, tarball=name, sha256="", size_bytes=0, pieces=pieces)


def _tests(file: StoredFile) -> Sequence[GateTest] | None:
    """The tests beside a tarball, which are not verified here."""
    try:
        return gate_tests.read(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HostUnfit(f"cannot read {file.url}: {error.strerror}") from error
