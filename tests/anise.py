"""Repositories of packages for anise, and the program: the stand-in of this folder, or the real one
if `ANISE` names it (`make trial-anise`; `LUET_BUILD` names the one that makes repositories)."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
REAL, LUET_BUILD = os.environ.get("ANISE", ""), os.environ.get("LUET_BUILD", "")
STANDIN = f"""#!/bin/sh
PYTHONPATH={ROOT} exec {sys.executable} -m tests.anise_standin "$@"
"""


def install_program(folder: Path) -> None:
    """Put `anise` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    if REAL:
        (folder / "anise").symlink_to(Path(REAL).absolute())
    else:
        (folder / "anise").write_text(STANDIN)
        (folder / "anise").chmod(0o755)


@dataclass(frozen=True, kw_only=True)
class Package:
    """`files` are by their path; `tree` is a folder whose content is in the package too."""

    name: str
    category: str = "system"
    version: str = "1.0"
    files: dict[str, str] = field(default_factory=dict)
    tree: Path | None = None
    requires: tuple[str, ...] = ()
    finalizer: str = ""

    @property
    def about(self) -> dict[str, Any]:
        needed = [{"category": "system", "name": name, "version": ">=0"} for name in self.requires]
        about = {"name": self.name, "category": self.category, "version": self.version}
        return about | ({"requires": needed} if needed else {})

    @property
    def file(self) -> str:
        return f"{self.name}-{self.category}-{self.version}.package.tar.gz"


def make_repository(folder: Path, name: str, packages: Sequence[Package], url: str) -> None:
    """A repository in `folder`, to be served at `url`."""
    shutil.rmtree(folder, ignore_errors=True)
    work = folder.with_name(f"{folder.name}.work")
    shutil.rmtree(work, ignore_errors=True)
    folder.mkdir(parents=True)
    for package in packages:
        _write_definition(package, work / "tree")
        _write_content(package, work / package.name)
        make = _pack_really if LUET_BUILD else _pack
        make(package, work, folder)
    (_index_really if LUET_BUILD else _index)(name, url, work, folder)
    shutil.rmtree(work)


def _write_definition(package: Package, tree: Path) -> None:
    place = tree / package.category / package.name / package.version
    place.mkdir(parents=True)
    (place / "definition.yaml").write_text(json.dumps(package.about))
    if package.finalizer:
        (place / "finalize.yaml").write_text(json.dumps({"install": [package.finalizer]}))


def _write_content(package: Package, content: Path) -> None:
    if package.tree:
        shutil.copytree(package.tree, content, symlinks=True)
    for path, text in package.files.items():
        (content / path).parent.mkdir(parents=True, exist_ok=True)
        (content / path).write_text(text)
        (content / path).chmod(0o644)


def _pack(package: Package, work: Path, folder: Path) -> None:
    with tarfile.open(folder / package.file, "w:gz") as tar:
        for path in sorted((work / package.name).rglob("*")):
            tar.add(path, str(path.relative_to(work / package.name)), recursive=False)
    digest = hashlib.sha256((folder / package.file).read_bytes()).hexdigest()
    about = {"path": str(folder / package.file), "checksums": {"sha256": digest}}
    place = work / "tree" / package.category / package.name / package.version
    (place / "metadata.json").write_text(json.dumps(about | {"runtime": package.about}))


def _index(name: str, url: str, work: Path, folder: Path) -> None:
    about = {"name": name, "type": "http", "urls": [url], "revision": 1}
    (folder / "repository.yaml").write_text(json.dumps(about))
    with tarfile.open(folder / "tree.tar.gz", "w:gz") as tar:
        tar.add(work / "tree", ".")


def _pack_really(package: Package, work: Path, folder: Path) -> None:
    place = work / "tree" / package.category / package.name / package.version
    what = f"{package.category}/{package.name}@{package.version}"
    options = ["--source", str(work / package.name), "--destination", str(folder)]
    _luet_build(work, "pack", what, *options, "--compression", "gzip", cwd=place)


def _index_really(name: str, url: str, work: Path, folder: Path) -> None:
    _luet_build(work, "tree", "genidx", "-t", str(work / "tree"), "--only-upper-level")
    places = ["--tree", str(work / "tree"), "--packages", str(folder), "--output", str(folder)]
    about = ["--name", name, "--descr", name, "--type", "http", "--urls", url]
    tree = ["--tree-compression", "gzip", "--tree-filename", "tree.tar.gz"]
    _luet_build(work, "create-repo", *about, *places, *tree)


def _luet_build(work: Path, *words: str, cwd: Path | None = None) -> None:
    environment = {"LUET_SYSTEM__TMPDIR_BASE": str(work / "tmp"), "HOME": str(work)}
    done = subprocess.run(
        [LUET_BUILD, *words, "--no-spinner"],
        cwd=cwd or work,
        env=environment | {"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


class _Handler(http.server.SimpleHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """`folder` over HTTP on 127.0.0.1: its address, and the paths that are asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    handler = type("Handler", (_Handler,), {"asked": []})
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(handler, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler.asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
