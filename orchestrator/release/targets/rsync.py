"""A mirror on another machine, by rsync: over ssh (`host:folder`), or its daemon (`rsync://`).

rsync writes each file under another name and renames it, so files are whole there too. It cannot
lock: publish to one mirror from one machine. Its exit codes are in rsync(1).
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.release.targets.target import (
    Item,
    OnBytes,
    not_what_was_built,
    require_inside,
)
from tasks.errors import HostUnfit, Stale
from tasks.host.files import make_folder
from tasks.host.locks import try_lock
from tasks.host.process import Lines, run, standard_environment
from tasks.reporting import Stream

PASSED_ON = ("SSH_AUTH_SOCK", "RSYNC_RSH", "RSYNC_PASSWORD", "RSYNC_CONNECT_PROG")
"""Variables that rsync and ssh heed: how to get there, and as whom."""

SMALL_BYTES = 1 << 20
MISSING, MISSING_SAID = (3, 12, 23), "No such file or directory"
"""How rsync ends if a file, or the folder of the mirror, is not there, and what it says."""

COMMON = ("--no-motd", "--8-bit-output", "--timeout=300", "--contimeout=30")
SENT = ("--recursive", "--ignore-times", "--mkpath", "--chmod=D755,F644", "--partial-dir=.partial")
_LISTED = re.compile(r"([-dl])[^ ]+ +([0-9]+) [0-9/]+ [0-9:]+ (.*?)(?: -> .*)?$")


@dataclass(frozen=True, slots=True)
class RsyncTarget:
    """`to` is what rsync takes; `locks` a folder of this machine."""

    to: str
    url: str
    locks: Path

    @property
    def label(self) -> str:
        return self.to

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Let no other publisher of this machine write meanwhile."""
        name = hashlib.sha256(self.to.encode()).hexdigest()[:32]
        with try_lock(make_folder(self.locks) / f"{name}.lock") as held:
            if not held:
                raise Stale(
                    f"another publisher is at work on {self.to}", "publish again once it has ended"
                )
            yield

    def read(self, path: str, limit_bytes: int) -> bytes | None:
        with tempfile.TemporaryDirectory(prefix="rsync-") as folder:
            options = ["--copy-links", f"--max-size={limit_bytes}"]
            code, said = self._from_list(options, [path], [self._at(""), f"{folder}/"])
            if code in MISSING and MISSING_SAID in said:
                return None
            self._require(code, said)
            file = Path(folder, path)
            if not file.exists():
                raise HostUnfit(f"{self._at(path)} is larger than {limit_bytes:,} bytes")
            return file.read_bytes()

    def missing(self, items: Iterable[Item]) -> list[Item]:
        wanted = list(items)
        sizes = self._sizes([item.path for item in wanted]) if wanted else {}
        return [item for item in wanted if sizes.get(item.path) != item.size_bytes]

    def put(self, items: Sequence[Item], on_bytes: OnBytes) -> None:
        sources = [item for item in items if item.source]
        others = [item for item in items if not item.source]
        with tempfile.TemporaryDirectory(prefix="rsync-") as folder, ExitStack() as fetched:
            for number, group in enumerate((sources, others)):
                root = Path(folder, str(number))
                for item in group:
                    _stage(item, root, fetched)
                if group:
                    links = "--links" if group is others else "--copy-links"
                    self._send(root, links, on_bytes)

    def switch(self, path: str, content: bytes, before: bytes | None) -> None:
        if self.read(path, SMALL_BYTES) != before:
            raise Stale(f"another publisher has changed {self._at(path)}", "publish again")
        self.put([Item(path=path, content=content)], lambda _: None)

    def remove(self, paths: Sequence[str]) -> None:
        """Remove files, then the folders that they leave empty."""
        if not paths:
            return
        folders = {require_inside(path).rpartition("/")[0] for path in paths} - {""}
        for group in (list(paths), sorted(folders)):
            with tempfile.TemporaryDirectory(prefix="rsync-") as empty:
                for path in group:  # what is missing in these folders is removed there
                    Path(empty, path).parent.mkdir(parents=True, exist_ok=True)
                options = ["--delete-missing-args", "--dirs"]
                code, said = self._from_list(options, group, [f"{empty}/", self._at("")])
            if code and "non-empty" not in said:
                self._require(code, said)

    def pointers(self) -> list[str]:
        code, said = self._rsync(["--list-only", self._at("")])
        self._require(code, said)
        found = [match[3] for match in map(_LISTED.match, said.splitlines()) if match]
        return sorted(name for name in found if name.endswith(".json"))

    # rsync

    def _at(self, path: str) -> str:
        return f"{self.to.rstrip('/')}/{path and require_inside(path)}"

    def _sizes(self, paths: Sequence[str]) -> dict[str, int]:
        options = ["--list-only", "--no-human-readable", "--no-implied-dirs"]
        with tempfile.TemporaryDirectory(prefix="rsync-") as folder:
            code, said = self._from_list(options, paths, [self._at(""), f"{folder}/"])
        if code not in MISSING or MISSING_SAID not in said:
            self._require(code, said)
        found = [match for match in map(_LISTED.match, said.splitlines()) if match]
        return {match[3]: int(match[2]) for match in found if match[1] != "d"}

    def _from_list(
        self, options: Sequence[str], paths: Sequence[str], ends: Sequence[str]
    ) -> tuple[int, str]:
        """Run rsync on these paths, as they are: neither it nor a shell takes them for patterns."""
        listed = "\0".join(map(require_inside, paths)).encode()
        return self._rsync([*options, "--from0", "--files-from=-", *ends], listed)

    def _send(self, root: Path, links: str, on_bytes: OnBytes) -> None:
        def note(line: str, stream: Stream) -> None:
            if stream is Stream.STDOUT and line.startswith("sent "):
                on_bytes(int(line.removeprefix("sent ")))

        options = [*SENT, links, "--out-format=sent %l", f"{root}/", self._at("")]
        self._require(*self._rsync(options, on_line=note))

    def _rsync(
        self, arguments: Sequence[str], stdin: bytes = b"", on_line: Lines = lambda *_: None
    ) -> tuple[int, str]:
        lines: list[str] = []

        def keep(line: str, stream: Stream) -> None:
            lines.append(line)
            on_line(line, stream)

        passed = {name: os.environ[name] for name in PASSED_ON if os.environ.get(name)}
        environment = standard_environment() | passed | {"LC_ALL": "C"}
        common = COMMON if self.to.startswith("rsync://") else COMMON[:-1]
        argv = ["rsync", *common, *arguments]
        return run(argv, on_line=keep, env=environment, stdin=stdin), "\n".join(lines)

    def _require(self, code: int, said: str) -> None:
        if code:
            reason = next((line for line in said.splitlines() if line), f"exit code {code}")
            raise HostUnfit(f"rsync with {self.to} failed: {reason}", f"exit code {code}, rsync(1)")


def _stage(item: Item, root: Path, fetched: ExitStack) -> None:
    """Make what rsync is to send in the folder `root`, with no copy of large files."""
    target = root / require_inside(item.path)
    target.parent.mkdir(parents=True, exist_ok=True)
    if item.body:
        target.symlink_to(os.path.relpath(root / item.body, target.parent))
    elif item.source:
        source = fetched.enter_context(item.source.fetched(item.sha256))
        with source.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != item.sha256:
                raise not_what_was_built(item)
        target.symlink_to(source.absolute())
    else:
        target.write_bytes(item.content)
