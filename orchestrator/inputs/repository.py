"""A bare copy of a git repository, a cache of this machine, and the programs that fill and read it.

git runs without prompts, hooks, filters and the user's configuration, within limits of time and
size, and never in a work tree.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from orchestrator.display.printable import visible
from tasks.errors import BadInput, HostUnfit, StagefarmError, TimedOut
from tasks.host.files import make_folder
from tasks.host.locks import exclusive
from tasks.host.process import Limits, piped, run, standard_environment
from tasks.reporting import Stream
from tasks.settings import Settings

COMMIT = re.compile(r"[0-9a-f]{40}")
SHALLOW, WHOLE_HISTORY = "--depth=1", "--depth=2147483647"
TAG_LINES = 3  # object, type, tag
LINE_MAX = 8192
SAID_LINES, SAID_MAX = 4, 400
"""Of what git says of a failure, so many lines and characters are told."""

CONFIGURED = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.quotePath=false",
    "submodule.recurse=false",
    # A server that gives nothing for so long is away.
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=60",
    # What is fetched is one file, a pack, whose size the kernel can limit.
    "fetch.unpackLimit=1",
    "gc.autoDetach=false",
    "maintenance.autoDetach=false",
)


@dataclass(frozen=True, slots=True)
class Repository:
    """What was fetched from `url`. Whoever uses it holds its lock: see `opened`."""

    folder: Path
    url: str
    settings: Settings

    def make(self) -> None:
        """Make it, or ready one that a git that was killed has left: its locks would stop every
        later one."""
        for left in [*self.folder.rglob("*.lock"), *self._unfinished()]:
            left.unlink()
        self._ask("init", "--bare", "--template=", "--initial-branch=main")

    def _unfinished(self) -> list[Path]:
        return list(self.folder.glob("objects/**/tmp_*"))

    def fetch(self, ref: str) -> str:
        """Fetch `ref`, as little of its history as the server can give; returns its commit.
        `StagefarmError` if it cannot be fetched."""
        if COMMIT.fullmatch(ref):
            return self._fetch_commit(ref)
        self._bring(SHALLOW, f"+{ref}:{_kept(ref)}")
        peeled = f"{_kept(ref)}^{{commit}}"
        return self._ask("rev-parse", "--verify", "--end-of-options", peeled)[0]

    def _fetch_commit(self, commit: str) -> str:
        if not self._has(commit):
            try:
                self._bring(SHALLOW, f"+{commit}:{_kept(commit)}")
            except StagefarmError:  # perhaps a server that gives branches and tags only
                self._bring(WHOLE_HISTORY, "+refs/heads/*:refs/all/*", "+refs/tags/*:refs/tags/*")
        if not self._has(commit):
            raise StagefarmError(f"{self.url} has no commit {commit} in its branches and tags")
        return commit

    def verify(self, ref: str, commit: str, signers: str) -> None:
        """`BadInput` unless somebody of the file `signers` signed the commit, or the tag `ref`."""
        what = ("verify-tag", _kept(ref)) if self._is_tag(ref) else ("verify-commit", commit)
        trusted = ("-c", f"gpg.ssh.allowedSignersFile={signers}")
        none = ("-c", "gpg.program=/bin/false", "-c", "gpg.x509.program=/bin/false")
        said: list[str] = []
        if self._git(*what, before=(*trusted, *none), on_line=said.append):
            raise BadInput(
                f"{self.url}: {ref} ({commit[:12]}) is not signed by anyone of {signers}",
                visible(" ".join(said))[:SAID_MAX],
            )

    def _is_tag(self, ref: str) -> bool:
        """Whether `ref` is a tag object. `BadInput` if it is one of another name: somebody may have
        put an older one there."""
        header: list[str] = []

        def take(line: str) -> None:
            if len(header) < TAG_LINES:
                header.append(line)

        if self._git("cat-file", "tag", _kept(ref), on_line=take):
            return False
        if header[TAG_LINES - 1 :] != [f"tag {ref.removeprefix('refs/tags/')}"]:
            raise BadInput(f"{self.url}: {ref} is a signed tag of another name")
        return True

    def entries(self, commit: str, limit: int) -> list[str]:
        """The lines of `git ls-tree` about the files of a commit, at most `limit`."""
        found: list[str] = []

        def take(line: str) -> None:
            found.append(line[:LINE_MAX])  # what is longer has too long a name
            if len(found) > limit:
                raise BadInput(f"{self.url}: {commit[:12]} has more than {limit:,} files")

        if self._git("ls-tree", "-r", "-l", "--full-tree", commit, on_line=take):
            raise HostUnfit(f"cannot read {commit} in {self.folder}", f"remove {self.folder}")
        return found

    @contextmanager
    def contents(self, objects: IO[bytes]) -> Iterator[IO[bytes]]:
        """What `git cat-file --batch` says of the ids in the file `objects`, one a line."""
        argv = self._argv("cat-file", "--batch", "--buffer")
        with piped(argv, env=self._environment(), stdin=objects, stdout=subprocess.PIPE) as process:
            assert process.stdout
            yield process.stdout

    def _has(self, commit: str) -> bool:
        return self._git("cat-file", "-e", f"{commit}^{{commit}}", on_line=_ignore) == 0

    def _bring(self, depth: str, *refspecs: str) -> None:
        said: deque[str] = deque(maxlen=SAID_LINES)
        options = (
            depth,
            "--no-tags",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--quiet",
        )
        code = self._git("fetch", *options, "--", self.url, *refspecs, on_line=said.append)
        if code:
            raise self._not_fetched(visible(" ".join(said))[-SAID_MAX:], code)

    def _not_fetched(self, said: str, code: int) -> StagefarmError:
        limit = self.settings.git_limit_bytes
        if any(path.stat().st_size >= limit for path in self._unfinished()):
            return BadInput(f"{self.url} is larger than {limit:,} bytes", "raise git_limit_bytes")
        hint = ""
        if "transport '" in said and "not allowed" in said:
            hint = f"git_protocols allows {self.settings.git_protocols}"
        return StagefarmError(f"cannot fetch {self.url}: {said or f'git exited with {code}'}", hint)

    def _ask(self, *words: str) -> list[str]:
        """What a command prints; `StagefarmError` if it fails or prints nothing."""
        said: list[str] = []
        if self._git(*words, on_line=said.append) or not said:
            raise StagefarmError(f"{self.url}: {visible(' '.join(said))[:SAID_MAX]}")
        return said

    def _git(
        self, *words: str, on_line: Callable[[str], object], before: Sequence[str] = ()
    ) -> int:
        def take(line: str, _: Stream) -> None:
            on_line(line)

        limits = Limits(timeout_s=self.settings.git_timeout_s)
        argv = self._argv(*before, *words)
        try:
            return run(argv, on_line=take, env=self._environment(), limits=limits)
        except TimedOut as error:
            hint = "raise git_timeout_s, if the repository is large"
            raise StagefarmError(f"git {words[0]} of {self.url} {error}", hint) from error

    def _argv(self, *words: str) -> list[str]:
        """git, which ends with this process, and writes no larger file than it may."""
        within = ["setpriv", "--pdeathsig", "KILL", "--"]
        within += ["prlimit", f"--fsize={self.settings.git_limit_bytes}", "--"]
        options = [word for one in CONFIGURED for word in ("-c", one)]
        return [*within, "git", *options, f"--git-dir={self.folder}", *words]

    def _environment(self) -> dict[str, str]:
        return standard_environment() | {
            "HOME": str(self.folder),  # no ~/.netrc
            "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": self.settings.git_config_file or os.devnull,
            "GIT_ALLOW_PROTOCOL": self.settings.git_protocols,
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "SSH_ASKPASS_REQUIRE": "never",
        }


def inputs_folder(settings: Settings) -> Path:
    """For its owner only: repositories may be private."""
    return make_folder(settings.own_state.absolute() / "inputs", 0o700)


@contextmanager
def opened(url: str, settings: Settings) -> Iterator[Repository]:
    """This machine's copy of `url`, locked, and empty if it was not fetched before."""
    folder = inputs_folder(settings) / "cache" / f"{_digest(url)}.git"
    repository = Repository(folder, url, settings)
    with exclusive(folder):
        repository.make()
        yield repository


def _kept(ref: str) -> str:
    """Where what `ref` names at the server is kept in the copy."""
    return f"refs/fetched/{_digest(ref)}"


def _ignore(_line: str) -> None:
    pass


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
