"""Chains of stages as hosts leave them in a store: each built from the one before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.origin.attestation import End, Why, sign_lineage
from orchestrator.origin.evidence import Evidence, Sealed, sealed, write_lineage
from orchestrator.origin.examine import examine
from orchestrator.origin.ring import Ring
from tasks.artifacts.fingerprint import recipe
from tasks.artifacts.provenance import job_name, result_name
from tasks.model import GitInput, Output, encode
from tasks.results import Artifact, SeedOrigin
from tasks.trust.builds import Job, sign, stored, verified
from tasks.trust.envelope import PayloadType, signed, to_text
from tasks.trust.statements import Made, sign_result
from tests.builds import any_build
from tests.farm import steps_of
from tests.trusted import DAY_S, NOW, host, key, submitter, trusting

TRUST = trusting(submitter(), host("one"), host("two"))
RING = Ring(TRUST, (key("release").public,))
ROOT = "e" * 64
ROOT_ORIGIN = SeedOrigin(uri="https://seeds.example.org/seed.tar.xz", verified=("openpgp ABCD",))

STAGES = GitInput(
    name="stages", url="https://git.example.org/stages.git", ref="main", commit="c" * 40, path="."
)
STAGES_AT = f"git+{STAGES.url}@{STAGES.commit}"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def a_job(build: str, by: str = "anna", **changes: object) -> Job:
    output = Output(name="s.tar", dir="/o")
    known = {"steps": steps_of(), "id": build, "output": output, "inputs": (STAGES,)}
    planned = any_build(**(known | changes))
    done, signatures = sign(planned, key(by), submitter=by, now=NOW, valid_s=DAY_S)
    envelope = stored(encode(done).decode(), signatures)
    return verified(envelope, trusting(submitter(by)), build, at=None)


def a_result(
    job: Job,
    sha256: str,
    *,
    by: str = "one",
    seed: str = ROOT,
    origin: SeedOrigin = ROOT_ORIGIN,
    name: str = "s.tar",
    machine: str = "",
) -> str:
    artifact = Artifact(name=name, path=f"/o/{name}", size_bytes=1, sha256=sha256)
    made = Made(origin=origin, recipe=recipe(job.build), machine=machine or f"machine of {by}")
    return sign_result(job, 1, by, [artifact], seed, NOW, key(by), made)


def a_gate(sha256: str, result: str = "PASSED", by: str = "release") -> str:
    """A statement as the gate signs it."""
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "s.tar", "digest": {"sha256": sha256}}],
        "predicateType": "https://in-toto.io/attestation/test-result/v0.1",
        "predicate": {"result": result, "configuration": []},
    }
    return to_text(signed(json.dumps(statement).encode(), PayloadType.STATEMENT, key(by)))


def raw(*texts: str) -> tuple[Sealed, ...]:
    return tuple(sealed(text.encode()) for text in texts)


def lines(envelopes: Iterable[Sealed]) -> bytes:
    return "".join(f"{one.text}\n" for one in envelopes).encode()


@dataclass
class Family:
    """`count` stages, the youngest first; each was built from the next, the last from `ROOT`."""

    count: int = 4
    name: str = "stage"
    rebuilt: tuple[int, ...] = ()
    contents: list[bytes] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    chain: list[Evidence] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.contents = [f"{self.name} {number}".encode() for number in range(self.count)]
        digests = [*map(digest, self.contents), ROOT]
        for number, sha256 in enumerate(digests[:-1]):
            seed = digests[number + 1]
            origin = ROOT_ORIGIN if seed == ROOT else SeedOrigin(uri="https://m/s.tar")
            job = a_job(f"{self.name}-{number}")
            again = a_job(f"{self.name}-{number}-again", rebuild_of=job.build.id)
            rebuilds = [a_result(again, sha256, by="two", seed=seed)] * (number in self.rebuilt)
            self.jobs.append(job)
            self.chain.append(
                Evidence(
                    name="s.tar",
                    sha256=sha256,
                    result=raw(a_result(job, sha256, seed=seed, origin=origin))[0],
                    job=raw(job.text)[0],
                    gate=raw(a_gate(sha256)),
                    rebuilds=raw(*rebuilds),
                )
            )

    @property
    def end(self) -> End:
        return End(why=Why.ROOT, seed=ROOT)

    def statement(self, by: str = "release") -> Sealed:
        links = [(one, examine(one, RING)) for one in self.chain]
        return sign_lineage(links, self.end, key(by))

    @property
    def file(self) -> bytes:
        """The lineage file of the youngest."""
        return write_lineage(self.statement(), self.chain[1:])

    def put(self, folder: Path, name: str = "s.tar") -> Path:
        """The youngest in a folder, with all that belongs beside it."""
        folder.mkdir(parents=True, exist_ok=True)
        tarball, first = folder / name, self.chain[0]
        tarball.write_bytes(self.contents[0])
        beside = {
            result_name(name): first.result.text.encode(),
            job_name(name): self.jobs[0].text.encode(),
            f"{name}.gate.intoto.jsonl": lines(first.gate),
            f"{name}.rebuilds.intoto.jsonl": lines(first.rebuilds),
            f"{name}.lineage.jsonl": self.file,
        }
        for file, content in beside.items():
            (folder / file).write_bytes(content)
        return tarball


def with_line(content: bytes, number: int, change: Callable[[dict[str, Any]], object]) -> bytes:
    """A lineage file, one line of which was changed; line 0 is the publisher's statement."""
    lines = content.splitlines()
    value = json.loads(lines[number])
    change(value)
    lines[number] = json.dumps(value).encode()
    return b"".join(line + b"\n" for line in lines)


def read_from(folder: Path) -> Callable[[str], bytes | None]:
    def read(name: str) -> bytes | None:
        file = folder / name
        return file.read_bytes() if file.exists() else None

    return read
