"""Git repositories for tests, also such as git itself would not make, and a server of them."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.redis_server import free_port
from tests.waiting import eventually

AUTHOR = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "a"), ("EMAIL", "a@example.org"), ("DATE", "@1700000000 +0000"))
}
ALONE = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


@dataclass(frozen=True, slots=True)
class Origin:
    """A bare repository at `folder`."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Origin:
        origin = cls(folder)
        folder.mkdir(parents=True)
        origin.git("init", "--bare", "--quiet", "--initial-branch=main")
        return origin

    @property
    def url(self) -> str:
        return self.folder.as_uri()

    def git(self, *words: str, stdin: bytes = b"") -> str:
        done = subprocess.run(
            ["git", *words],
            cwd=self.folder,
            env={**os.environ, **ALONE, **AUTHOR},
            input=stdin,
            stdout=subprocess.PIPE,
            check=True,
        )
        return done.stdout.decode().strip()

    def blob(self, content: bytes) -> str:
        return self.git("hash-object", "-w", "--stdin", stdin=content)

    def tree(self, *entries: tuple[str, bytes, str]) -> str:
        """A tree with these entries (mode, name, id) as they are, checked by nobody."""
        raw = b"".join(
            mode.encode() + b" " + name + b"\0" + bytes.fromhex(id_) for mode, name, id_ in entries
        )
        words = ("hash-object", "-t", "tree", "-w", "--literally", "--stdin")
        return self.git(*words, stdin=raw)

    def commit_tree(self, tree: str, *, branch: str = "main", parent: str = "") -> str:
        words = ("-p", parent) if parent else ()
        commit = self.git("commit-tree", tree, *words, "-m", "a change")
        self.git("update-ref", f"refs/heads/{branch}", commit)
        return commit

    def commit(
        self, files: Mapping[str, str], *, branch: str = "main", parent: str = "", mode: str = ""
    ) -> str:
        """A commit with just these files; returns its id."""
        index = {"GIT_INDEX_FILE": str(self.folder / "index.new")}
        Path(index["GIT_INDEX_FILE"]).unlink(missing_ok=True)
        lines = [
            f"{mode or '100644'} {self.blob(text.encode())}\t{name}" for name, text in files.items()
        ]
        subprocess.run(
            ["git", "update-index", "--add", "--index-info"],
            cwd=self.folder,
            env={**os.environ, **ALONE, **index},
            input="\n".join(lines).encode(),
            check=True,
        )
        tree = subprocess.run(
            ["git", "write-tree"],
            cwd=self.folder,
            env={**os.environ, **ALONE, **index},
            stdout=subprocess.PIPE,
            check=True,
        )
        return self.commit_tree(tree.stdout.decode().strip(), branch=branch, parent=parent)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A git server of the repositories in `folder`; yields its URL."""
    port = free_port()
    place = ("--listen=127.0.0.1", f"--port={port}", "--reuseaddr")
    server = subprocess.Popen(
        ["git", "daemon", *place, "--export-all", f"--base-path={folder}", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert eventually(lambda: _listens(port))
        yield f"git://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, 9)
        server.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
