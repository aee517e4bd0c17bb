"""A mirror in a folder, with real tarballs, which a real web server can serve."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from orchestrator.release.catalog import Catalog, File, Stage
from orchestrator.release.facts import Fact, Facts
from orchestrator.release.views.view import Signer, View, ViewFile
from tasks.archive.decompress import Read, pieces_of
from tasks.artifacts import manifest
from tasks.reporting import Silent
from tasks.results import Artifact

BUILT_AT = 1_795_320_245.0  # 2026-11-22T04:04:05Z
DAY_S = 24 * 3600.0


def a_file(name: str = "stage.tar.xz", sha256: str = "ab" * 32, size_bytes: int = 1234) -> File:
    return File(name=name, sha256=sha256, size_bytes=size_bytes)


def a_stage(**more: object) -> Stage:
    """A stage of which there are no bodies."""
    known = {
        "product": "stage3",
        "variant": "systemd",
        "arch": "amd64",
        "build": "stage3-systemd-20261122-7f3a",
        "attempt": 1,
        "built_at": BUILT_AT,
        "tarball": a_file(),
    }
    return Stage(**(known | more))  # type: ignore[arg-type]


def catalog_of(*stages: Stage) -> Catalog:
    return Catalog(
        release="exampleos", channel="stable", version=1, created_at=BUILT_AT, stages=stages
    )


class Mirror:
    """`root` is what is served; `read_bytes` counts what was read of bodies."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "mirror"
        self.root.mkdir()
        self._scratch = folder / "scratch"
        self.facts = Facts(folder / "facts")
        self.read_bytes = 0

    def add(self, rootfs: Path, ending: str = ".tar.xz", name: str = "", **more: object) -> Stage:
        """Pack `rootfs` as the build of a stage, with its sidecar files."""
        name = name or f"built{ending}"
        epoch = int(float(more.get("built_at", BUILT_AT)))  # type: ignore[arg-type]
        made, beside = manifest.pack(
            rootfs, self._scratch / name, report=Silent(), source_date_epoch=epoch
        )
        stage = a_stage(tarball=self._keep(made), sidecars=tuple(map(self._keep, beside)))
        return replace(stage, **more)  # type: ignore[arg-type]

    def _keep(self, made: Artifact) -> File:
        file = File(name=made.name, size_bytes=made.size_bytes, sha256=made.sha256)
        (self.root / file.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made.path, self.root / file.path)
        return file

    def content(self, file: File) -> bytes:
        return (self.root / file.path).read_bytes()

    def read(self, file: File) -> Iterator[bytes]:
        with (self.root / file.path).open("rb") as opened:
            while piece := opened.read(1 << 16):
                self.read_bytes += len(piece)
                yield piece

    def show(self, view: View, catalog: Catalog, signer: Signer | None = None) -> list[ViewFile]:
        """Write the files of the view as a publisher does: bodies as relative links."""
        files = list(view.files(catalog, self.read, signer))
        for file in files:
            path = self.root / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            if file.body:
                target = os.path.relpath(self.root / file.body.path, path.parent)
                path.symlink_to(target)
            else:
                path.write_bytes(file.content)
        return files


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a web server on loopback for the files of `folder`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Stamp:
    """A signer for tests that look at what is signed, not at signatures."""

    def clear_signed(self, text: str) -> str:
        return f"<signed>\n{text}</signed>\n"

    def detached(self, content: bytes) -> dict[str, bytes]:
        return {ending: fact.learn(_once(content)) for ending, fact in self.facts().items()}

    def facts(self) -> dict[str, Fact]:
        def of(ending: str) -> Fact:
            def learn(read: Read) -> bytes:
                digest = hashlib.sha256(b"".join(pieces_of(read))).hexdigest()
                return f"{ending} of {digest}".encode()

            return Fact(f"stamp {ending}", learn)

        return {ending: of(ending) for ending in (".asc", ".minisig")}


def _once(content: bytes) -> Read:
    return io.BytesIO(content).read
