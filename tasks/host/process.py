"""Starts every program of a worker or a step: with an argument list and a minimal environment, and
always ended. `run` reads its output line by line; `piped` gives access to its pipes.

A process started here leads a session of its own, so that its group can be killed as one.
Processes that leave the group end with the PID namespace of their step (`tasks.step.launcher`).
(`orchestrator.demo` starts the servers of its farm itself.)
"""

from __future__ import annotations

import fcntl
import os
import selectors
import signal
import subprocess
import termios
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from tasks.errors import HostUnfit, TimedOut
from tasks.reporting import Stream

Lines = Callable[[str, Stream], None]

GRACE_S = 5.0
"""Between TERM and KILL, unless said otherwise."""

LINE_MAX_BYTES = 1024 * 1024
"""A longer line is reported in pieces."""

STANDARD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
STANDARD_LANG = "C.UTF-8"

TICK_S = 1.0
READ_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When to end a process: `timeout_s` after its start, `idle_s` after its last output;
    0 means never."""

    timeout_s: float = 0.0
    idle_s: float = 0.0


NO_LIMITS = Limits()


def run(
    argv: Sequence[str],
    *,
    on_line: Lines,
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    stdin: bytes = b"",
    limits: Limits = NO_LIMITS,
    grace_s: float = GRACE_S,
    on_start: Callable[[int], None] | None = None,
    enter: Callable[[], None] | None = None,
) -> int:
    """Run `argv` to its end, pass each line of its output to `on_line` as it arrives, and return
    its exit code (negative: minus the signal that killed it).

    Its environment is `env` and nothing else (empty if None). Whatever ends this function early,
    such as a signal's exception or an error of `on_line`, ends the process's whole group first
    (TERM, and KILL after `grace_s`); what an exited process left behind keeps running.
    The new process calls `enter` before it becomes the program, which may be another one then.
    Raises `HostUnfit` where the program cannot be started, `TimedOut` where a limit was exceeded.
    """
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with piped(argv, env=env or {}, cwd=cwd, bufsize=0, preexec_fn=enter, **pipes) as process:
        try:
            if on_start:
                on_start(process.pid)
            _feed(process, stdin)
            return _follow(process, on_line, limits)
        except BaseException:
            end_group(process, grace_s)
            raise


def output(argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """The exit code and all output (stdout and stderr together) of a short command."""
    lines: list[str] = []
    code = run(argv, on_line=lambda line, _: lines.append(line), env=env or standard_environment())
    return code, "\n".join(lines)


def run_on_terminal(
    argv: Sequence[str], *, env: Mapping[str, str], enter: Callable[[], None] | None = None
) -> int:
    """Run `argv` in this process's session, on its terminal, whose signals are meant for the
    program; returns its exit code as `run` does."""
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, lambda *_: None)
    streams = dict.fromkeys(("stdin", "stdout", "stderr"))
    with piped(argv, env=env, start_new_session=False, preexec_fn=enter, **streams) as process:
        return process.wait()


def standard_environment() -> dict[str, str]:
    """The few variables of this process that are passed on. Never the broker's password."""
    kept = ("PATH", "HOME", "LANG", "TERM", "COLORTERM", "LS_COLORS")
    defaults = {"PATH": STANDARD_PATH, "HOME": "/root", "LANG": STANDARD_LANG, "TERM": "dumb"}
    return defaults | {name: os.environ[name] for name in kept if os.environ.get(name)}


@contextmanager
def piped(
    argv: Sequence[str], *, env: Mapping[str, str] | None = None, **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `argv` while the body runs, which may use its pipes; wait for it at the end, or kill its
    group if the body fails. `options` are `Popen`'s; streams not named in them are /dev/null.
    `HostUnfit` where it cannot be started."""
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    process = _start(argv, standard_environment() if env is None else env, streams | options)
    try:
        with process:
            try:
                yield process
            except BaseException:
                if process.poll() is None:
                    _signal_group(process.pid, signal.SIGKILL)
                raise
    finally:
        _children.discard(process.pid)


_children: set[int] = set()
"""The processes that `piped` waits for. `reap_orphans` must not: it would take their exit code."""

_starting: list[None] = []
"""One for each process that is being started in some thread, and may not be in `_children` yet."""


def _start(
    argv: Sequence[str], env: Mapping[str, str], options: Mapping[str, Any]
) -> subprocess.Popen[bytes]:
    _starting.append(None)
    try:
        settings = {"start_new_session": True, **options}
        process = subprocess.Popen(list(argv), env=dict(env), **settings)
        _children.add(process.pid)
    except OSError as error:
        hint = f"is {argv[0]} installed?" if error.filename == argv[0] else ""
        raise HostUnfit(f"cannot start {argv[0]}: {error.strerror}", hint) from error
    except subprocess.SubprocessError as error:  # of preexec_fn
        raise HostUnfit(f"cannot start {argv[0]}: {error}") from error
    finally:
        _starting.pop()
    return process


def _feed(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin
    with suppress(BrokenPipeError), process.stdin as pipe:
        view = memoryview(data)
        while view:
            view = view[pipe.write(view) or 0 :]


def _follow(process: subprocess.Popen[bytes], on_line: Lines, limits: Limits) -> int:
    """Read both outputs until the process itself has exited: a daemon that it leaves behind may
    keep them open."""
    assert process.stdout
    assert process.stderr
    readers: dict[IO[bytes], LineReader] = {
        process.stdout: LineReader(on_line, Stream.STDOUT),
        process.stderr: LineReader(on_line, Stream.STDERR),
    }
    _read_while_it_runs(process, readers, _Clock(limits))
    for pipe, reader in readers.items():
        reader.feed(pipe.read(_waiting_bytes(pipe)) or b"")
        reader.close()
    return process.returncode


def _waiting_bytes(pipe: IO[bytes]) -> int:
    """The bytes in `pipe` now: all that an exited process wrote. Processes that it left behind may
    keep writing, and are not waited for."""
    size = array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, size)
    return size[0]


def _read_while_it_runs(
    process: subprocess.Popen[bytes], readers: Mapping[IO[bytes], LineReader], clock: _Clock
) -> None:
    with selectors.DefaultSelector() as selector, _pidfd(process.pid) as end:
        selector.register(end, selectors.EVENT_READ)
        for pipe in readers:
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, selectors.EVENT_READ)
        while process.poll() is None:
            for key, _ in selector.select(clock.wait_s()):
                if key.fileobj == end:
                    continue
                pipe = cast("IO[bytes]", key.fileobj)
                if not _read(pipe, readers[pipe]):
                    selector.unregister(pipe)
                clock.saw_output()
            clock.check()
            if os.getpid() == 1:
                reap_orphans()


@contextmanager
def _pidfd(pid: int) -> Iterator[int]:
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read(pipe: IO[bytes], reader: LineReader) -> bool:
    """Read once without blocking; False if there is no data, or at the end of the file."""
    data = pipe.read(READ_BYTES)
    reader.feed(data or b"")
    return bool(data)


class LineReader:
    """Splits bytes into lines; a carriage return ends one too, as progress displays use it."""

    def __init__(self, on_line: Lines, stream: Stream) -> None:
        self._on_line = on_line
        self._stream = stream
        self._rest = b""
        self._after_return = False

    def feed(self, data: bytes) -> None:
        if not data:
            return
        if self._after_return and data.startswith(b"\n"):
            data = data[1:]  # the two bytes of one line ending arrived one by one
        self._after_return = data.endswith(b"\r")
        data = self._rest + data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._give(line)
        while len(rest) > LINE_MAX_BYTES:
            self._give(rest[:LINE_MAX_BYTES])
            rest = rest[LINE_MAX_BYTES:]
        self._rest = rest

    def close(self) -> None:
        if self._rest:
            self._give(self._rest)
        self._rest = b""

    def _give(self, line: bytes) -> None:
        self._on_line(line.decode(errors="replace"), self._stream)


class _Clock:
    """The two time limits of one process, on the monotonic clock."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._started = self._last_output = time.monotonic()

    def saw_output(self) -> None:
        self._last_output = time.monotonic()

    def wait_s(self) -> float:
        """How long to wait for output before a limit may be exceeded."""
        bounds = [TICK_S]
        if self._limits.timeout_s:
            bounds.append(self._started + self._limits.timeout_s - time.monotonic())
        if self._limits.idle_s:
            bounds.append(self._last_output + self._limits.idle_s - time.monotonic())
        return max(0.0, min(bounds))

    def check(self) -> None:
        now = time.monotonic()
        if self._limits.timeout_s and now - self._started >= self._limits.timeout_s:
            raise TimedOut(f"took longer than its time limit of {self._limits.timeout_s:g} s")
        if self._limits.idle_s and now - self._last_output >= self._limits.idle_s:
            raise TimedOut(f"printed nothing for {self._limits.idle_s:g} s")


def reap_orphans() -> None:
    """As the init of a PID namespace, reap orphaned processes; stop at the first that `piped` waits
    for, or may wait for."""
    with suppress(ChildProcessError):
        while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if _starting or found.si_pid in _children:  # in this order: see `_start`
                return
            os.waitpid(found.si_pid, 0)


def end_group(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Send TERM, then KILL, to the group of `process`; returns once its leader has exited."""
    if process.poll() is None:
        _signal_group(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()


def _signal_group(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
