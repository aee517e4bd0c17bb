"""The evidence of a stage, and `<tarball>.lineage.jsonl`, which carries that of its ancestors.

The first line of such a file is the publisher's statement (`orchestrator.origin.attestation`), each
further line the evidence of one ancestor, the youngest first. Evidence is what others signed:
nothing is believed because of where it lies. `orchestrator.origin.examine` verifies it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from tasks.artifacts.provenance import job_name, result_name
from tasks.errors import Untrusted

LINEAGE = "lineage.jsonl"
GATE = "gate.intoto.jsonl"
REBUILDS = "rebuilds.intoto.jsonl"

GENERATIONS_MAX = 1000
"""So many generations of one stage are kept: a nightly stage of three years. The oldest go."""

JOBS_MAX = 8
"""So many of the youngest ancestors keep their signed job, which has all hooks; of older ones the
signed result has its digest."""

REBUILDS_MAX = 16
LINE_MAX_BYTES = 4 * 2**20
FILE_MAX_BYTES, CARRIED_MAX_BYTES = 32 * 2**20, 24 * 2**20
"""The largest lineage file that is read, and what its ancestors may have of that."""

OLD_GATE_MAX_BYTES = 4 * 2**10
"""The gate's statement on an ancestor older than `JOBS_MAX` is kept up to this size."""

T = TypeVar("T")

NAME_MAX_CHARS = 255
SHA256 = re.compile(r"[0-9a-f]{64}")


class Signature(msgspec.Struct, frozen=True):
    keyid: str
    sig: str


class Sealed(msgspec.Struct, frozen=True, rename="camel"):
    """A DSSE envelope that was not verified yet."""

    payload: str
    payload_type: str
    signatures: tuple[Signature, ...]

    @property
    def text(self) -> str:
        """The envelope as one line of JSON."""
        return msgspec.json.encode(self).decode()


class Evidence(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):  # fmt: skip
    """What is known of the tarball `name` with the digest `sha256`: the result that its host
    signed, the job that its submitter signed, what the gate said, and the results of hosts that
    built it again."""

    name: str
    sha256: str
    result: Sealed
    job: Sealed | None = None
    gate: tuple[Sealed, ...] = ()
    rebuilds: tuple[Sealed, ...] = ()


@dataclass(frozen=True, slots=True)
class Carried:
    """The content of a lineage file: the publisher's statement, and the ancestors."""

    statement: Sealed
    ancestors: tuple[Evidence, ...]


def sealed(content: bytes) -> Sealed:
    """The envelope in a file of one; `Untrusted` if it is none."""
    return _decoded(content, Sealed)


def envelopes(content: bytes) -> tuple[Sealed, ...]:
    """The envelopes in a file with one on each line; `Untrusted` if a line is none."""
    lines = [line for line in content.split(b"\n") if line.strip()]
    return tuple(map(sealed, lines[:REBUILDS_MAX]))


def lineage_name(tarball: str) -> str:
    return f"{tarball}.{LINEAGE}"


def gate_name(tarball: str) -> str:
    return f"{tarball}.{GATE}"


def rebuilds_name(tarball: str) -> str:
    return f"{tarball}.{REBUILDS}"


def evidence_names(tarball: str) -> tuple[str, ...]:
    """The files beside a tarball that tell where it comes from."""
    return (
        *(job_name(tarball), result_name(tarball), gate_name(tarball), rebuilds_name(tarball)),
        lineage_name(tarball),
    )


# The file


def read_lineage(content: bytes) -> Carried:
    """What a lineage file carries; `Untrusted` if it is none, or larger than it should be."""
    if len(content) > FILE_MAX_BYTES:
        raise Untrusted(f"the lineage is larger than {FILE_MAX_BYTES:,} bytes")
    if content.count(b"\n") > GENERATIONS_MAX + 2:
        raise Untrusted(f"the lineage has more than {GENERATIONS_MAX} generations")
    head, *lines = content.removesuffix(b"\n").split(b"\n")
    if any(len(line) > LINE_MAX_BYTES for line in (head, *lines)):
        raise Untrusted(f"the lineage has a line of more than {LINE_MAX_BYTES:,} bytes")
    return Carried(
        sealed(head), tuple(_evidence(line, number) for number, line in enumerate(lines, 1))
    )


def write_lineage(statement: Sealed, ancestors: Sequence[Evidence]) -> bytes:
    lines = map(msgspec.json.encode, (statement, *ancestors))
    return b"".join(line + b"\n" for line in lines)


def _evidence(line: bytes, number: int) -> Evidence:
    try:
        found = _decoded(line, Evidence)
    except Untrusted as error:
        raise Untrusted(f"generation {number}: {error}") from error
    if not SHA256.fullmatch(found.sha256):
        raise Untrusted(f"generation {number}: {found.sha256[:80]!r} is no digest")
    if len(found.name) > NAME_MAX_CHARS or not found.name.isprintable():
        raise Untrusted(f"generation {number}: {found.name[:80]!r} is no name of a tarball")
    return found


def _decoded(line: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(line.decode(), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Untrusted(f"the evidence is malformed: {error}") from error


# What is kept


def compact(ancestors: Sequence[Evidence]) -> Iterator[Evidence]:
    """The ancestors, of which older ones have less to say: so that a stage that is built from
    itself each night can carry them all."""
    for number, one in enumerate(ancestors[:GENERATIONS_MAX]):
        kept = one
        if number >= JOBS_MAX:
            gate = tuple(text for text in one.gate if len(text.payload) <= OLD_GATE_MAX_BYTES)
            kept = msgspec.structs.replace(one, job=None, gate=gate)
        if len(msgspec.json.encode(kept)) > LINE_MAX_BYTES:
            kept = msgspec.structs.replace(kept, job=None, gate=())
        yield kept
