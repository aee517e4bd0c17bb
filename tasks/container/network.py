"""The network of a container: none but its own loopback, or what lies beyond this host.

For the latter slirp4netns passes packets on from a network namespace by its own sockets, as an
ordinary program of this host would: nothing is set up on the host, and nothing of it is left. Its
gateway does not lead to the host's loopback, and routes without an end keep the container away from
the host's other addresses, from those of the farm's Redis, and from link-local ones, where clouds
give out credentials. Its name server is the host's, port 53 alone.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from tasks.errors import HostUnfit
from tasks.host.process import output, piped, run
from tasks.model import Network

PROGRAMS = ("slirp4netns", "ip", "nsenter")
TUN = Path("/dev/net/tun")
NAME_SERVER = "10.0.2.3"
"""Where slirp4netns answers for the host's name server."""

LINK_LOCAL = "169.254.0.0/16"
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
READY_S = 20.0


def require(network: Network) -> None:
    """`HostUnfit` where this machine cannot make `network`."""
    if network is not Network.ISOLATED:
        return
    if missing := [name for name in PROGRAMS if not shutil.which(name)]:
        raise HostUnfit(
            f"`network: isolated` needs {', '.join(missing)}, which this machine does not have",
            "install slirp4netns and iproute2, or use `network: none`",
        )
    if not TUN.exists():
        raise HostUnfit(f"`network: isolated` needs {TUN}", "modprobe tun")


def addresses_of(redis_url: str) -> tuple[str, ...]:
    """The IPv4 addresses of the farm's Redis; `HostUnfit` where its name cannot be resolved."""
    parts = urlsplit(redis_url)
    if not parts.hostname or parts.scheme == "unix":
        return ()
    try:
        found = socket.getaddrinfo(parts.hostname, None, socket.AF_INET, socket.SOCK_STREAM)
    except OSError as error:
        raise HostUnfit(
            f"cannot resolve {parts.hostname}, the farm's Redis: {error.strerror}",
            "`network: isolated` has to know what to keep builds away from",
        ) from error
    return tuple(sorted({str(address[0]) for *_, address in found}))


def bring_up_loopback() -> None:
    """In a new network namespace it is there, and down. netdevice(7)."""
    request = struct.pack("16sH14x", b"lo", IFF_UP)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, request)


@contextmanager
def outgoing(pid: int, keep_from: Sequence[str]) -> Iterator[None]:
    """Give the network namespace of process `pid` a way out, as long as the body runs, but not to
    this host or the addresses `keep_from`."""
    ready, its = os.pipe()
    options = ("--configure", "--mtu=65520", "--disable-host-loopback")
    words = ["slirp4netns", *options, f"--ready-fd={its}", str(pid), "tap0"]
    try:
        with piped(words, pass_fds=(its,), stderr=subprocess.PIPE) as slirp:
            os.close(its)
            try:
                if not os.read(ready, 1):
                    raise HostUnfit(f"slirp4netns failed: {_last_words(slirp)}")
                _block(pid, (*_own_addresses(), *keep_from, LINK_LOCAL))
                yield
            finally:
                slirp.kill()
    finally:
        os.close(ready)


def _last_words(program: subprocess.Popen[bytes]) -> str:
    assert program.stderr
    return program.stderr.read().decode(errors="replace").strip().rpartition("\n")[2]


def _block(pid: int, addresses: Sequence[str]) -> None:
    """Routes on which packets are refused. What runs in the container may not change them."""
    lines = "".join(f"route replace unreachable {address}\n" for address in addresses)
    words = ["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-batch", "-"]
    said: list[str] = []
    if run(words, on_line=lambda line, _: said.append(line), stdin=lines.encode()):
        raise HostUnfit(f"cannot keep a container from this host's addresses: {' / '.join(said)}")


class _Address(msgspec.Struct):
    local: str


class _Link(msgspec.Struct):
    addr_info: tuple[_Address, ...] = ()


def _own_addresses() -> list[str]:
    """This host's IPv4 addresses but those of loopback, which a route cannot lead to."""
    code, said = output(["ip", "-4", "-json", "address"])
    if code:
        raise HostUnfit(f"cannot list this host's addresses: {said}")
    links = msgspec.json.decode(said, type=tuple[_Link, ...])
    found = (address.local for link in links for address in link.addr_info)
    return [address for address in found if not address.startswith("127.")]
