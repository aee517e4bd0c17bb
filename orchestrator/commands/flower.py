"""`stagefarm flower`: Celery's web page for the farm's tasks."""

from __future__ import annotations

from pathlib import Path

import click

from tasks.errors import BadInput, HostUnfit

LOOPBACK = "127.0.0.1"
COLUMNS = ("name", "args", "kwargs", "state", "received", "runtime", "worker", "exception", "uuid")
RESTORES_AFTER_S = 10 * 365 * 24 * 3600
"""Flower consumes too, the replies of workers, and so would return to their queues the messages
that a lost worker had taken. That is for workers; Flower's user of Redis has no right to it."""


@click.command(short_help="Show the farm's tasks on a web page.")
@click.option("--address", default=LOOPBACK, show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=5555,
    show_default=True,
    type=click.IntRange(1, 65535),
    help="Port to listen on.",
)
@click.option(
    "--auth-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Ask for a login: FILE has a line `user:password` for each user.",
)
@click.option(
    "--no-auth", is_flag=True, help="Listen on other addresses than loopback without a login."
)
@click.option(
    "--writable", is_flag=True, help="Allow revoking tasks and stopping workers from the page."
)
def flower(
    *, address: str, port: int, auth_file: Path | None, no_auth: bool, writable: bool
) -> None:
    """Serve Flower: every task with its job, arch, subarch, build, step and host.

    By default it listens on loopback only and is read-only. On another address it asks for a login
    (--auth-file). The login is HTTP's basic authentication: where others can listen, put a proxy
    with TLS in front of it. /metrics and /healthcheck ask for none.

    \b
    Examples:
      stagefarm flower --port 5555
      stagefarm flower --address 10.0.0.1 --auth-file /etc/stagefarm-flower.users
    """
    from orchestrator.farm.flower_users import read_users, require_login, start_with
    from orchestrator.farm.lookup import open_ledger
    from tasks.app import app

    if auth_file and no_auth:
        raise BadInput("--auth-file and --no-auth exclude each other", "give one of them")
    users = read_users(auth_file) if auth_file else ()
    if not users and not no_auth:
        require_login(address)
    open_ledger(reading=True)
    _require_free(address, port)
    arguments = [f"--address={address}", f"--port={port}", "--max_tasks=20000"]
    arguments += ["--purge_offline_workers=3600", f"--tasks_columns={','.join(COLUMNS)}"]
    if not writable:
        arguments.append("--read_only")
    options = app.conf.broker_transport_options
    app.conf.broker_transport_options = {**options, "visibility_timeout": RESTORES_AFTER_S}
    start_with(users, lambda: app.start(["flower", *arguments]))


def _require_free(address: str, port: int) -> None:
    """`HostUnfit` if the address cannot be bound: Flower itself would end with a traceback."""
    import socket

    try:
        family, *_, found = socket.getaddrinfo(address or None, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(found)
    except OSError as error:
        raise HostUnfit(
            f"cannot listen on {address}:{port}: {error.strerror}",
            "choose another --port or --address",
        ) from error
