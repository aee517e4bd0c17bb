"""A stage that is being tested: what lies in it, and its programs, run in a container."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from tasks.container.container import Enter
from tasks.errors import BuildFailed, HostUnfit, TimedOut
from tasks.host.chroot_paths import inside
from tasks.host.process import STANDARD_PATH, Limits, Lines, run
from tasks.reporting import Stream

COMMAND_LIMIT_S = 60.0
"""For one command of a test; all of them are quick."""

TEXT_MAX = 64 * 1024
LINES_MAX, LINE_MAX_CHARS = 20_000, 500
SHOWN_LINES = 5
NOT_FOUND, NOT_RUNNABLE = 127, 126
OF_THE_PROGRAM = (errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ELOOP, errno.ENOTDIR)
"""Errors of exec that a program of the stage causes, not this host."""

NO_VARIABLES: Mapping[str, str] = MappingProxyType({})
ENVIRONMENT = {"PATH": STANDARD_PATH, "HOME": "/root", "LANG": "C", "TERM": "dumb"}


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended, and the first lines that it printed, cut."""

    code: int
    printed: tuple[str, ...] = ()
    complained: tuple[str, ...] = ()

    @property
    def last_words(self) -> str:
        said = [line.strip() for line in (*self.printed, *self.complained) if line.strip()]
        return " / ".join(said[-SHOWN_LINES:]) or "it printed nothing"


@dataclass(frozen=True, slots=True)
class Packed:
    """The root filesystem as it was packed. Nothing runs in it, so it is safe to read."""

    root: Path

    def path_of(self, program: str) -> str:
        """The path of `program` in the stage, empty if it has none."""
        names = [f"{folder}/{program}" for folder in STANDARD_PATH.split(":")]
        return next((name for name in names if self._is_program(name)), "")

    def has(self, *programs: str) -> bool:
        return all(self.path_of(program) for program in programs)

    def has_file(self, path: str) -> bool:
        found = self._found(path)
        return bool(found and found.is_file())

    def text(self, path: str) -> str:
        """The beginning of a small file, empty if there is none."""
        if not (found := self._found(path)) or not found.is_file():
            return ""
        with found.open(errors="replace") as file:
            return file.read(TEXT_MAX)

    def _is_program(self, path: str) -> bool:
        found = self._found(path)
        return bool(found and found.is_file() and found.stat().st_mode & 0o111)

    def _found(self, path: str) -> Path | None:
        try:
            return inside(self.root, path)
        except BuildFailed:  # links that lead nowhere
            return None


@dataclass(frozen=True, slots=True)
class Stage(Packed):
    """The same, with a throw-away copy of it where programs run: `enter` leads there, and `say` is
    told what they printed before they failed."""

    enter: Enter
    say: Lines

    def run(
        self,
        *argv: str,
        variables: Mapping[str, str] = NO_VARIABLES,
        timeout_s: float = COMMAND_LIMIT_S,
    ) -> Ran:
        """Run a program of the stage; `TimedOut` if it takes too long."""
        lines: Mapping[Stream, list[str]] = {Stream.STDOUT: [], Stream.STDERR: []}

        def take(text: str, stream: Stream) -> None:
            if len(lines[stream]) < LINES_MAX:
                lines[stream].append(text[:LINE_MAX_CHARS])

        code = self._run(argv, take, variables, timeout_s)
        ran = Ran(code, tuple(lines[Stream.STDOUT]), tuple(lines[Stream.STDERR]))
        if code:
            for line in (*ran.printed[-SHOWN_LINES:], *ran.complained[-SHOWN_LINES:]):
                self.say(line, Stream.STDERR)
        return ran

    def _run(
        self, argv: Sequence[str], take: Lines, variables: Mapping[str, str], timeout_s: float
    ) -> int:
        try:
            return run(
                argv,
                on_line=take,
                env={**ENVIRONMENT, **variables},
                limits=Limits(timeout_s=timeout_s),
                enter=self.enter,
            )
        except TimedOut as error:
            raise TimedOut(f"`{' '.join(argv)}` {error}") from error
        except HostUnfit as error:
            cause = error.__cause__
            number = cause.errno if isinstance(cause, OSError) else None
            if number not in OF_THE_PROGRAM:
                raise
            return NOT_FOUND if number == errno.ENOENT else NOT_RUNNABLE

    def failing(
        self, *argv: str, quiet: bool = False, variables: Mapping[str, str] = NO_VARIABLES
    ) -> Iterator[str]:
        """What is wrong, if the command fails; with `quiet` it may not complain either."""
        ran = self.run(*argv, variables=variables)
        command = f"`{' '.join(argv)}`"
        if ran.code == NOT_FOUND and not ran.complained:
            yield f"{command} cannot be started: it, or its dynamic loader, is missing"
        elif ran.code:
            yield f"{command} {_ended(ran.code)}: {ran.last_words}"
        elif quiet and ran.complained:
            yield f"{command}: {ran.last_words}"


def _ended(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"exited with {code}"
