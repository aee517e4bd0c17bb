"""Stages in a store, as hosts leave them there, and releases that publish them."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Self

from orchestrator.formats.reader import Count, Seconds
from orchestrator.formats.releasefile import Keep, Releasefile, Selection, Target
from orchestrator.release.known import Known
from orchestrator.release.publication import Outcome
from orchestrator.release.publisher import Publisher
from orchestrator.release.shelves import Shelves
from orchestrator.release.taking import NOTHING, Candidate, Taken, take
from orchestrator.release.targets.folder import FolderTarget
from tasks.artifacts.fingerprint import recipe
from tasks.artifacts.provenance import job_name, result_name
from tasks.model import Output
from tasks.results import NO_ORIGIN, Artifact, SeedOrigin
from tasks.settings import Settings
from tasks.trust.builds import sign, stored, verified
from tasks.trust.statements import Made, sign_result
from tests.builds import any_build
from tests.farm import steps_of
from tests.trusted import host, key, submitter, trusting

TRUST = trusting(submitter(), host())
DAY_S = 24 * 3600.0
KEEP = Keep(newest=Count(2), grace=Seconds(3 * DAY_S))


def put_stage(
    store: Path,
    build: str,
    *,
    content: bytes = b"",
    at: float | None = None,
    job: str = "stage3",
    subarch: str = "generic_64",
    options: dict[str, str] | None = None,
    batch: str = "",
    by: str = "anna",
    built_by: str = "one",
    sidecars: dict[str, bytes] | None = None,
    seed: str = "",
    origin: SeedOrigin = NO_ORIGIN,
    rebuild_of: str = "",
) -> Path:
    """The tarball of a build in `store`, with what lies beside it; `sidecars` by their endings."""
    at = time.time() if at is None else at
    folder = store / (batch or build) / build / "1"
    folder.mkdir(parents=True)
    tarball = folder / f"{job}-{subarch}.tar.zst"
    tarball.write_bytes(content or f"the content of {build}".encode() * 50)
    digest = hashlib.sha256(tarball.read_bytes()).hexdigest()
    checksum = tarball.with_name(f"{tarball.name}.sha256")
    checksum.write_text(f"{digest}  {tarball.name}\n")
    planned = any_build(
        steps=steps_of(),
        id=build, job=job, subarch=subarch, batch=batch, environment=options or {},
        output=Output(name=tarball.name, dir="/out"), rebuild_of=rebuild_of,
    )  # fmt: skip
    done, signatures = sign(planned, key(by), submitter=by, now=at, valid_s=DAY_S)
    from tasks.model import encode

    job_signed = verified(
        stored(encode(done).decode(), signatures), trusting(submitter(by)), build, at=None
    )
    tarball.with_name(job_name(tarball.name)).write_text(job_signed.text)
    files = [_artifact(tarball), _artifact(checksum)]
    for ending, said in (sidecars or {}).items():
        sidecar = tarball.with_name(f"{tarball.name}.{ending}")
        sidecar.write_bytes(said)
        files.append(_artifact(sidecar))
    made = Made(origin=origin, recipe=recipe(planned), machine=f"machine of {built_by}")
    signed = sign_result(job_signed, 1, built_by, files, seed, at, key(built_by), made)
    tarball.with_name(result_name(tarball.name)).write_text(signed)
    (folder / "build.log").write_text("not for the public")
    return tarball


def _artifact(path: Path) -> Artifact:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return Artifact(name=path.name, path=str(path), size_bytes=len(content), sha256=digest)


@dataclass
class Served:
    """A folder served by HTTP on loopback, and what was asked for; `down` breaks it."""

    folder: Path
    requests: list[tuple[str, str]] = field(default_factory=list)
    down: bool = False

    def __enter__(self) -> Self:
        served = self

        class Handler(SimpleHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # an answer in two parts would wait for the first's ACK

            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                served.requests.append(("GET", self.path))
                self.broken() or super().do_GET()

            def do_HEAD(self) -> None:
                served.requests.append(("HEAD", self.path))
                self.broken() or super().do_HEAD()

            def broken(self) -> bool:
                if served.down:
                    self.close_connection = True
                    self.connection.close()
                return served.down

        make = partial(Handler, directory=str(self.folder))
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), make)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@dataclass
class Shop:
    """A store and a mirror in a folder, and a publisher between them; its clock is set by hand."""

    folder: Path
    url: str = ""
    now: float = 1_800_000_000.0
    keep: Keep = KEEP
    stages: tuple[Selection, ...] = (Selection(variant="$flavour"),)
    said: list[str] = field(default_factory=list)

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def shelves(self) -> Shelves:
        return Shelves(Settings(store_url=self.store.as_uri()))

    @property
    def mirror(self) -> Path:
        return self.folder / "mirror"

    @property
    def target(self) -> FolderTarget:
        return FolderTarget(self.mirror, self.url or self.mirror.as_uri())

    def release(self) -> Releasefile:
        return Releasefile(
            name="nightly", stages=self.stages, keep=self.keep, targets=(Target(to="mirror"),)
        )

    def publisher(self, **changes: Any) -> Publisher:
        publisher = Publisher(
            release=self.release(), name="nightly", key=key("release"), targets=[self.target],
            known=Known(self.folder / "known"), store=self.shelves, say=self.said.append,
            clock=lambda: self.now,
        )  # fmt: skip
        return replace(publisher, **changes)

    def put(self, build: str, flavour: str = "minimal", **more: Any) -> None:
        put_stage(self.store, build, **{"at": self.now, "options": {"flavour": flavour}, **more})

    def take(self, *builds: str) -> Taken:
        found: list[Candidate] = [one for build in builds for one in self.shelves.candidates(build)]
        return take(found, self.release(), TRUST) if builds else NOTHING

    def publish(self, *builds: str, **changes: Any) -> Outcome:
        """Publish `builds`, an hour later than what was done before."""
        self.now += 3600.0
        return self.publisher(**changes).publish(self.take(*builds))
