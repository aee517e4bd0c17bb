"""The users of Flower's page: read from a file, passed to Flower within this process."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path

from tasks.errors import BadInput

TOO_OPEN = stat.S_IWGRP | stat.S_IRWXO
WANTED = "a line is user:password, in ASCII; lines that begin with # are comments"


def read_users(file: Path) -> tuple[str, ...]:
    """The `user:password` of each line of `file`. `BadInput` if others can read it, if a line is
    none, or if there is none."""
    try:
        with file.open("rb") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            data = opened.read()
    except OSError as error:
        raise BadInput(
            f"cannot read the users of Flower in {file}: {error.strerror}", WANTED
        ) from error
    if mode & TOO_OPEN:
        raise BadInput(
            f"{file} has passwords, and mode {mode:04o}: others can read or change it",
            f"chmod 600 {file}, or 640 for a group",
        )
    users = tuple(_users(file, data))
    if not users:
        raise BadInput(f"{file} has no user", WANTED)
    return users


def _users(file: Path, data: bytes) -> Iterator[str]:
    seen: set[str] = set()
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip() or line.startswith(b"#"):
            continue
        user, _, password = line.decode("ascii", "replace").partition(":")
        if not (user and password and line.isascii() and line.decode().isprintable()):
            raise BadInput(f"{file}:{number}: not a user and a password", WANTED)
        if user in seen:
            raise BadInput(f"{file}:{number}: {user} is there twice", "remove one of the lines")
        seen.add(user)
        yield f"{user}:{password}"


def require_login(address: str) -> None:
    """`BadInput` if others than this machine can reach `address`."""
    if not is_loopback(address):
        raise BadInput(
            f"on {address or 'every address'} the page would be open to all who can reach it",
            "--auth-file FILE asks for a login; --no-auth if a proxy does, or all may see it",
        )


def is_loopback(address: str) -> bool:
    """Whether everything that `address` stands for is this machine alone."""
    try:
        found = socket.getaddrinfo(address or None, 0, flags=socket.AI_PASSIVE)
    except OSError:
        return True  # nothing can listen there; that is said when it is tried
    return all(ip_address(str(place[0]).partition("%")[0]).is_loopback for *_, place in found)


def start_with(users: Sequence[str], start: Callable[[], None]) -> None:
    """Start Flower with these users. They are set as Flower's option after each time it reads its
    options, so neither a command line nor the environment holds them or overrides them."""
    if users:
        import flower.options  # type: ignore[import-untyped]  # noqa: F401  # defines the option
        from tornado.options import options

        options.add_parse_callback(lambda: setattr(options, "basic_auth", list(users)))
    start()
