"""A container: the namespaces in which programs of a root filesystem run, and the way in.

Its first process, forked from the step's, is the init of a PID namespace, stands in the root
filesystem, and only waits; orphans are its children, and the kernel reaps them. A command joins its
namespaces as it starts, and gives up what it may not do: so a command costs a fork, and no more.
What runs inside reaches neither the init nor a command that has not yet become a program of the
root filesystem, by ptrace or /proc: their program and the descriptors they hold are the host's.

The step's process must have one thread, and starts nothing but commands of the container as long
as that is open: what it forks is born in the container's PID namespace.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tasks.container import capabilities, network
from tasks.container.view import enter_rootfs
from tasks.errors import HostUnfit, StagefarmError, by_name, of_system
from tasks.host import syscalls
from tasks.host.syscalls import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
)
from tasks.model import Bind, Network, Privileges

OWN = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP
READY, CONNECT, MAP_USERS = b"ready", b"connect", b"map users"
SAID_MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Init:
    """A program of the root filesystem that becomes the first process of the container, as it would
    on a machine. `group` is the folder of an empty control group of version 2, below which it makes
    its own."""

    argv: Sequence[str]
    environment: Mapping[str, str]
    group: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Contained:
    """How to contain: `filter` is the compiled filter of system calls (`seccomp.program`),
    `narrow` whether programs are told that the machine is a 32-bit one, `keep_from` what addresses
    an isolated network does not lead to. With `init` the root filesystem is booted; then its
    `privileges` must be those of a sandbox, since an init mounts."""

    rootfs: Path
    binds: Sequence[Bind]
    privileges: Privileges
    network: Network
    filter: bytes
    narrow: bool = False
    keep_from: Sequence[str] = ()
    init: Init | None = None

    @property
    def namespaces(self) -> int:
        """Those that a container has besides its PID and user namespaces."""
        return OWN if self.network is Network.HOST else OWN | CLONE_NEWNET


Enter = Callable[[], None]
"""What a new process does before it becomes a program of the container."""


@contextmanager
def container(wanted: Contained) -> Iterator[Enter]:
    """Open a container, and end all that runs in it at the end; yields how a process enters it.
    `HostUnfit` or `BuildFailed` where it cannot be made."""
    with machine(wanted) as (enter, _):
        yield enter


@contextmanager
def machine(wanted: Contained) -> Iterator[tuple[Enter, int]]:
    """The same; yields a descriptor of the first process too, which can be read once that has
    exited."""
    with _init(wanted) as init:
        joined = wanted.namespaces
        if wanted.privileges is Privileges.SANDBOX:
            joined |= CLONE_NEWUSER

        def enter() -> None:
            syscalls.close_to_others()
            syscalls.join(init, joined)
            if wanted.narrow:
                syscalls.personality(syscalls.PER_LINUX32)
            syscalls.filter_system_calls(wanted.filter)
            if wanted.privileges is Privileges.CONTAINED:
                capabilities.keep_only()

        yield enter, init


@contextmanager
def _init(wanted: Contained) -> Iterator[int]:
    """The first process of a container, as a descriptor; killed at the end, and all others of its
    PID namespace with it. As long as the body runs, children of this process are born there."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ExitStack() as stack:
        stack.enter_context(ours)
        with its:
            pid = _fork_into_new_pid_namespace(lambda: _run_init(wanted, its))
        init = os.pidfd_open(pid)
        stack.callback(_kill, pid, init)
        _serve(pid, ours, wanted, stack)
        with _children_in(init):
            yield init


def _fork_into_new_pid_namespace(run: Callable[[], NoReturn]) -> int:
    """The process that calls `run` is the init of a PID namespace; later children are not in it."""
    own = os.open("/proc/self/ns/pid", os.O_RDONLY)
    try:
        syscalls.unshare(CLONE_NEWPID)
        if not (pid := os.fork()):
            run()
        syscalls.join(own, CLONE_NEWPID)
        return pid
    finally:
        os.close(own)


@contextmanager
def _children_in(init: int) -> Iterator[None]:
    own = os.open("/proc/self/ns/pid", os.O_RDONLY)
    try:
        syscalls.join(init, CLONE_NEWPID)
        yield
    finally:
        syscalls.join(own, CLONE_NEWPID)
        os.close(own)


def _kill(pid: int, descriptor: int) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    with suppress(ChildProcessError):  # `process.reap_orphans` was first
        os.waitpid(pid, 0)
    os.close(descriptor)


def _serve(pid: int, channel: socket.socket, wanted: Contained, stack: ExitStack) -> None:
    """Wait until the init has entered, and help it; raises why it could not."""
    while (said := channel.recv(SAID_MAX_BYTES)) != READY:
        if said == MAP_USERS:
            _map_users(pid, booted=wanted.init is not None)
        elif said == CONNECT:
            stack.enter_context(network.outgoing(pid, wanted.keep_from))
        else:
            raise _error(said)
        channel.send(said)


def _error(said: bytes) -> StagefarmError:
    """What `_tell` told; nothing where the init was killed."""
    if not said:
        return HostUnfit("the first process of the container was killed")
    kind, message, hint = said.decode().split("\0")
    return by_name(kind)(message, hint)


def _map_users(pid: int, *, booted: bool) -> None:
    """Every user and group of this namespace is the same in that of the process. A map without the
    very last one tells systemd that it is in a user namespace, where some mounts cannot be made."""
    for name in ("uid_map", "gid_map"):
        lines = Path("/proc/self", name).read_text().splitlines()
        ranges = [(int(line.split()[0]), int(line.split()[2])) for line in lines]
        text = "".join(f"{first} {first} {count - booted}\n" for first, count in ranges)
        Path("/proc", str(pid), name).write_text(text)


# --- In the first process -------------------------------------------------------------------------


def _run_init(wanted: Contained, channel: socket.socket) -> NoReturn:
    try:
        _ignore_signals()
        _enter(wanted, channel)
        channel.send(READY)
        _close_all()
        if wanted.init:
            _become(wanted.init)
        while True:
            signal.pause()
    except OSError as error:
        _tell(channel, of_system(error))
    except StagefarmError as error:
        _tell(channel, error)
    finally:
        os._exit(1)


def _ignore_signals() -> None:
    """Children that nobody waits for are reaped by the kernel."""
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _enter(wanted: Contained, channel: socket.socket) -> None:
    if wanted.init:
        (wanted.init.group / "cgroup.procs").write_text("0")
    syscalls.unshare(wanted.namespaces)
    if wanted.network is not Network.HOST:
        network.bring_up_loopback()
    if wanted.network is Network.ISOLATED:
        _ask(channel, CONNECT)
    enter_rootfs(wanted.rootfs, wanted.binds, own_groups=wanted.init is not None)
    if wanted.privileges is Privileges.SANDBOX:
        # What is mounted now is locked for those in the new namespaces: they cannot uncover it.
        more = CLONE_NEWIPC | CLONE_NEWUTS if wanted.init else 0
        syscalls.unshare(CLONE_NEWUSER | CLONE_NEWNS | more)
        _ask(channel, MAP_USERS)
    syscalls.close_to_others()
    syscalls.filter_system_calls(wanted.filter)


def _ask(channel: socket.socket, request: bytes) -> None:
    """Have the step's process do something, and wait until it has."""
    channel.send(request)
    if channel.recv(SAID_MAX_BYTES) != request:
        os._exit(1)


def _tell(channel: socket.socket, error: StagefarmError) -> None:
    channel.send("\0".join((type(error).__name__, str(error), error.hint)).encode())


def _become(init: Init) -> NoReturn:
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    for _ in range(3):
        os.set_inheritable(os.open("/dev/null", os.O_RDWR), True)  # noqa: FBT003
    capabilities.keep_only(capabilities.KEPT_BY_INIT)
    os.execve(init.argv[0], list(init.argv), dict(init.environment))


def _close_all() -> None:
    """Hold nothing of the host's."""
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the listing's own
            os.close(int(path.name))
