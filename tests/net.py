"""Machines of their own on one: network namespaces with an address each, on a bridge.

Nothing of it shows on the host: no interface, no address, no mount.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field

CLONE_NEWNET = 0x40000000


@dataclass
class Machine:
    """A network namespace, held by a process that sleeps in it."""

    address: str
    holder: subprocess.Popen[bytes]
    link: str = ""

    @property
    def within(self) -> list[str]:
        """Words that start a command on this machine."""
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net"]

    def run(self, *words: str) -> None:
        subprocess.run([*self.within, *words], check=True, capture_output=True)


@dataclass
class Network:
    """A hub, where this process is too, and machines around it."""

    hub: Machine
    machines: dict[str, Machine] = field(default_factory=dict)

    def add(self, name: str) -> Machine:
        number = len(self.machines) + 2
        machine = Machine(f"10.77.0.{number}", _holder(), f"veth{number}")
        words = ("ip", "link", "add", machine.link, "type", "veth", "peer", "name", "eth0")
        self.hub.run(*words, "netns", str(machine.holder.pid))
        self.hub.run("ip", "link", "set", machine.link, "master", "br0", "up")
        for command in (
            f"ip addr add {machine.address}/24 dev eth0",
            "ip link set eth0 up",
            "ip link set lo up",
        ):
            machine.run(*command.split())
        self.machines[name] = machine
        return machine

    def cut(self, name: str) -> None:
        self.hub.run("ip", "link", "set", self.machines[name].link, "down")

    def mend(self, name: str) -> None:
        self.hub.run("ip", "link", "set", self.machines[name].link, "up")


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """A network; this thread and the processes it starts are on its hub until the end."""
    hub = Machine("10.77.0.1", _holder())
    made = Network(hub)
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for command in (
            "ip link add br0 type bridge",
            f"ip addr add {hub.address}/24 dev br0",
            "ip link set br0 up",
            "ip link set lo up",
        ):
            hub.run(*command.split())
        with open(f"/proc/{hub.holder.pid}/ns/net", "rb") as there:  # noqa: PTH123
            _enter(there.fileno())
        yield made
    finally:
        _enter(home)
        os.close(home)
        for machine in (*made.machines.values(), hub):
            machine.holder.kill()
            machine.holder.wait()


def _holder() -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"], stdout=subprocess.PIPE
    )
    with process.stdout as told:  # type: ignore[union-attr]
        told.readline()  # by then it is in its namespace
    return process


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
