"""The errors of stagefarm, each with its exit code.

    StagefarmError            1   any error that ends the command
    ├── BadInput              2   the user's input cannot be used
    │   ├── SpecProblems      2   all problems of the given specfiles at once
    │   └── TemplateError     2   a template that does not parse or render
    ├── HostUnfit             3   this machine lacks something: root, a program, disk, a handler
    │   └── Altered           3   what lies in the store is not what was built
    ├── FarmUnreachable       4   Redis does not answer
    ├── BuildFailed           1   a build ended without its artifact
    │   ├── SourceFailed      1   the seed could not be fetched or unpacked
    │   ├── CheckpointLost    1   the checkpoint to resume from could not be restored
    │   ├── HookFailed        1   a hook's command exited non-zero
    │   ├── PackFailed        1   the tarball could not be written
    │   ├── StepKilled        1   the step's process was killed from outside of the step
    │   └── TimedOut          1   a time limit was exceeded
    ├── BuildCancelled        5   the build was cancelled
    ├── Stale                 6   this attempt has been taken over by a later one
    ├── Untrusted             7   something is not signed, or not by whom this machine trusts
    └── Held                  8   the gate holds a stage; what passes is published all the same

Everything an error needs is in `args`, and constructors do nothing, because Celery rebuilds an
exception as `cls(*args)`. The first argument is the message, the optional second one a hint.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import ClassVar


class StagefarmError(Exception):
    """`StagefarmError(message, hint="")`: one clear sentence, and one about what to do."""

    exit_code: ClassVar[int] = 1

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else type(self).__name__

    @property
    def hint(self) -> str:
        return str(self.args[1]) if len(self.args) > 1 else ""


class BadInput(StagefarmError):
    exit_code = 2


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One error in a file: `line` and `column` count from 1, 0 if unknown; `path` is the path into
    the document, such as `jobs[2].source.uri`."""

    file: str
    line: int
    column: int
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        return ": ".join(part for part in (place, self.path, self.message) if part)


class SpecProblems(BadInput):
    """`SpecProblems(problems)`: a non-empty tuple of `Problem`, in the order of the files."""

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)

    @property
    def problems(self) -> tuple[Problem, ...]:
        return tuple(self.args[0])

    @property
    def hint(self) -> str:
        return ""


class TemplateError(BadInput):
    """`TemplateError(message, hint="", file="", line=0, column=0, expression="")`."""

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        at = f" at <{self.expression}>" if self.expression else ""
        return f"{place}: {self.args[0]}{at}" if place else f"{self.args[0]}{at}"

    def _arg(self, index: int, default: object) -> object:
        return self.args[index] if len(self.args) > index else default

    @property
    def file(self) -> str:
        return str(self._arg(2, ""))

    @property
    def line(self) -> int:
        return int(str(self._arg(3, 0)))

    @property
    def column(self) -> int:
        return int(str(self._arg(4, 0)))

    @property
    def expression(self) -> str:
        return str(self._arg(5, ""))


class HostUnfit(StagefarmError):
    exit_code = 3


class Altered(HostUnfit):
    pass


class FarmUnreachable(StagefarmError):
    exit_code = 4


class BuildFailed(StagefarmError):
    pass


class SourceFailed(BuildFailed):
    pass


class CheckpointLost(BuildFailed):
    pass


class HookFailed(BuildFailed):
    pass


class PackFailed(BuildFailed):
    pass


class StepKilled(BuildFailed):
    pass


class TimedOut(BuildFailed):
    pass


class BuildCancelled(StagefarmError):
    exit_code = 5


class Stale(StagefarmError):
    exit_code = 6


class Untrusted(StagefarmError):
    exit_code = 7


class Held(StagefarmError):
    exit_code = 8


HOST_ERRNOS = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE),
        *(errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENODEV, errno.ENXIO),
    }
)
"""What the system says because of the machine, whatever a build does: its disk, its memory. The
rest (no such file, not a folder, ...) can come of what lies in the root filesystem."""


def of_system(error: OSError) -> HostUnfit:
    """An error of the system, such as a full disk, as a `HostUnfit` with a clear message."""
    return HostUnfit(_in_words(error))


def of_step(error: OSError) -> StagefarmError:
    """What the system refused a step: `HostUnfit` where the machine is the cause, else
    `BuildFailed`."""
    return of_system(error) if error.errno in HOST_ERRNOS else BuildFailed(_in_words(error))


def _in_words(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason


def why_unreadable(error: OSError | UnicodeDecodeError) -> str:
    """Why a file of text could not be read."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else "not UTF-8 text"


def by_name(name: str) -> type[StagefarmError]:
    """The class of that name, for errors from another process; `BuildFailed` if unknown."""
    found = globals().get(name)
    if isinstance(found, type) and issubclass(found, StagefarmError):
        return found
    return BuildFailed
