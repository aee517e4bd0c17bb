"""Runs the `tar` program, and interprets its error messages."""

from __future__ import annotations

import re
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

from tasks.archive.formats import Damaged
from tasks.errors import BuildFailed, PackFailed, SourceFailed
from tasks.host.files import write_all
from tasks.host.pipes import drained, widened
from tasks.host.process import STANDARD_PATH, piped
from tasks.reporting import Line, Report

_METADATA = (
    "--blocking-factor=512",  # 256 KiB at once: a fifth fewer system calls than with 10 KiB
    "--numeric-owner",
    "--acls",
    "--xattrs",
    "--xattrs-include=*",
    # Internal to overlayfs: in a layer they would change the layers above.
    "--xattrs-exclude=trusted.overlay.*",
    "--xattrs-exclude=user.overlay.*",
)
_REPRODUCIBLE = (
    "--format=posix",
    "--sort=name",
    "--sparse",
    "--sparse-version=0.0",  # the later versions write tar's process id into the archive
    "--pax-option=exthdr.name=%d/PaxHeaders/%f",  # its own default has the process id too
)
_CLAMPED = "--pax-option=delete=atime,delete=ctime"
_ENVIRONMENT = {"PATH": STANDARD_PATH, "LC_ALL": "C", "TZ": "UTC0"}
_UMASK = 0o022  # for folders that are missing in an archive, though files in them are not
_NOTES_MAX = 20
_BLOCK_BYTES = 512
_LAST_WORDS = ("Exiting with failure status", "Error is not recoverable")


def unpack(pieces: Iterator[bytes], rootfs: Path, report: Report, *, owners: bool = True) -> None:
    """Unpack the tar stream into the folder `rootfs`, all owned by root without `owners`;
    `SourceFailed` if tar fails, `Damaged` if the stream is not complete."""
    owner = "--same-owner" if owners else "--no-same-owner"
    argv = ["--extract", owner, "--same-permissions", "--block-number", *_METADATA, *_labels()]
    pipes = subprocess.PIPE, subprocess.PIPE
    with _started([*argv, f"--directory={rootfs}"], *pipes) as (tar, complaints):
        assert tar.stdin
        assert tar.stdout
        size = used = 0
        with suppress(BrokenPipeError), widened(tar.stdin) as pipe:  # tar's error says why
            for piece in pieces:
                if filled := len(piece.rstrip(b"\0")):
                    used = size + filled
                size += len(piece)
                write_all(pipe.fileno(), piece)
        said = tar.stdout.read()
        code = tar.wait()
        if complaints.tell_of("Unexpected EOF in archive"):
            raise Damaged("it ends too early")
        complaints.judge(code, SourceFailed, report)
    _check_end(said, used)


def _check_end(said: bytes, used: int) -> None:
    """`Damaged` unless tar has `said` that it found the block of zeros which ends an archive, and
    `used`, the position after the last non-zero byte, is before it: tar itself reads no further,
    and accepts a stream without that block."""
    end = re.search(rb"block (\d+): \*\* Block of NULs", said)
    if not end:
        raise Damaged("it ends too early")
    if used > int(end[1]) * _BLOCK_BYTES:
        raise Damaged("something else follows its end")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What to pack, if not everything: names relative to the folder, and names relative to `/`.
    `all_times` keeps access and change times, so that no two tarballs are identical."""

    names: Iterable[bytes]
    also: Iterable[bytes] = ()
    all_times: bool = False


def pack(
    folder: Path,
    report: Report,
    source_date_epoch: int | None,
    selection: Selection | None = None,
    *,
    without: str = "",
) -> Iterator[bytes]:
    """The tar stream of `folder`, without its folder `without`; identical for identical trees.
    `PackFailed` if tar fails."""
    argv = ["--create", *_REPRODUCIBLE, *_METADATA, *_labels()]
    if not (selection and selection.all_times):
        argv.append(_CLAMPED)
    if without:
        argv += ["--anchored", "--no-wildcards", f"--exclude=./{without}"]
    if source_date_epoch is not None:
        argv += ["--clamp-mtime", f"--mtime=@{source_date_epoch}"]
    with (
        _named(folder, selection) as names,
        _started([*argv, *names], None, subprocess.PIPE) as (tar, complaints),
    ):
        yield from drained(tar.stdout)
        complaints.judge(tar.wait(), PackFailed, report)


@contextmanager
def listed(into: IO[bytes], report: Report) -> Iterator[Callable[[bytes], None]]:
    """A function to call with each piece of a tar stream; `into` then has its content, as listed by
    `tar --list --verbose --verbose`, with times in UTC."""
    argv = ["--list", "-vv", "--full-time", "--numeric-owner"]
    with _started(argv, subprocess.PIPE, into.fileno()) as (tar, complaints):
        assert tar.stdin

        def feed(piece: bytes) -> None:
            try:
                write_all(pipe.fileno(), piece)
            except BrokenPipeError:  # tar's error says why; stop packing
                complaints.judge(tar.wait(), PackFailed, report)

        with widened(tar.stdin) as pipe:
            yield feed
        complaints.judge(tar.wait(), PackFailed, report)


@contextmanager
def _named(folder: Path, selection: Selection | None) -> Iterator[list[str]]:
    """The arguments for what to pack: all of `folder`, or the names of `selection`."""
    if not selection:
        yield [f"--directory={folder}", "."]
        return
    with tempfile.NamedTemporaryFile() as names, tempfile.NamedTemporaryFile() as also:
        for file, wanted in ((names, selection.names), (also, selection.also)):
            file.writelines(name + b"\0" for name in wanted)
            file.flush()
        yield [
            "--no-recursion", "--null", f"--directory={folder}",
            f"--files-from={names.name}", "--directory=/", f"--files-from={also.name}",
        ]  # fmt: skip


def _labels() -> list[str]:
    return ["--selinux"] if Path("/sys/fs/selinux/enforce").exists() else []


@contextmanager
def _started(
    argv: list[str], stdin: int | None, stdout: int | None
) -> Iterator[tuple[subprocess.Popen[bytes], _Complaints]]:
    """A running tar that uses its standard input or output; killed if the body fails."""
    with piped(
        ["tar", "--file=-", *argv],
        env=_ENVIRONMENT,
        stdin=stdin or subprocess.DEVNULL,
        stdout=stdout or subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        umask=_UMASK,
    ) as tar:
        complaints = _Complaints(tar.stderr)
        try:
            yield tar, complaints
        except BaseException:
            tar.kill()
            raise
        finally:
            complaints.end()


class _Complaints:
    """The messages of tar on its standard error, collected while it runs."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        self._lines: list[str] = []
        self._count = 0
        self._unexpected = False
        self._thread = threading.Thread(target=self._collect, args=(pipe,), daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Wait for the last message; tar has exited, or is about to."""
        self._thread.join()

    def _collect(self, pipe: IO[bytes] | None) -> None:
        assert pipe
        for line in pipe:
            text = line.decode(errors="replace").strip().removeprefix("tar: ")
            if not text.startswith(_LAST_WORDS):
                self._count += 1
                self._unexpected |= not _to_be_expected(text)
                if self._count <= _NOTES_MAX:
                    self._lines.append(text)

    def tell_of(self, words: str) -> bool:
        """Whether any message has these words; waits for all of them."""
        self.end()
        return any(words in text for text in self._lines)

    def judge(self, code: int, failure: type[BuildFailed], report: Report) -> None:
        """Report the messages as notes, or raise them as a failure."""
        self.end()
        if code and (self._unexpected or not self._count):
            raise failure(self._failure(code), _hint(self._lines))
        for text in self._lines:
            report.line(Line(text=f"tar: {text}"))
        if self._count > len(self._lines):
            report.line(Line(text=f"tar: {self._count - len(self._lines)} more like these"))

    def _failure(self, code: int) -> str:
        reasons = [text for text in self._lines if not text.startswith("Removing leading")]
        more = f" (and {self._count - 1} more)" if self._count > 1 else ""
        full = "no space left: " if _is_full(self._lines) else ""
        return f"{full}tar: {reasons[0]}{more}" if reasons else f"tar failed with exit code {code}"


def _to_be_expected(complaint: str) -> bool:
    """True for what is not allowed in a user namespace: making devices, changing owners to unmapped
    ids, setting attributes that need the real root."""
    forbidden = complaint.endswith(("Operation not permitted", "Invalid argument"))
    return in_user_namespace() and (
        (forbidden and any(words in complaint for words in _NOT_FOR_USERS))
        or complaint.startswith("Removing leading")
    )


_NOT_FOR_USERS = (
    "Cannot mknod",
    "Cannot change ownership",
    "extended attribute for file",
    "Cannot set POSIX ACLs",
)


@cache
def in_user_namespace() -> bool:
    """False in the initial user namespace, which maps ids to themselves (user_namespaces(7))."""
    return Path("/proc/self/uid_map").read_text().split() != ["0", "0", str(2**32 - 1)]


def _hint(complaints: list[str]) -> str:
    if _is_full(complaints):
        return "free some space on the disk"
    text = " ".join(complaints)
    if "changed as we read it" in text or "removed before we read it" in text:
        return "a process is still writing to the root filesystem: did a hook leave it running?"
    return ""


def _is_full(complaints: list[str]) -> bool:
    """tar reports the first failing write as a short one, later ones with their error; for its
    listing it does not report which error it was."""
    signs = ("No space left", "Disk quota exceeded", "Wrote only", "stdout: write error")
    return any(sign in text for text in complaints for sign in signs)
