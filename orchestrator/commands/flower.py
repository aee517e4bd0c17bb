"""`stagefarm flower`: Celery's web page for the farm's tasks."""

from __future__ import annotations

import click

from tasks.errors import HostUnfit

LOOPBACK = "127.0.0.1"
COLUMNS = ("name", "args", "kwargs", "state", "received", "runtime", "worker", "exception", "uuid")


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
    "--writable", is_flag=True, help="Allow revoking tasks and stopping workers from the page."
)
def flower(*, address: str, port: int, writable: bool) -> None:
    """Serve Flower: every task with its job, arch, subarch, build, step and host.

    By default it listens on loopback only and is read-only. It has no login: before you listen on
    another address, put a proxy with authentication in front of it.

    \b
    Example:
      stagefarm flower --port 5555
    """
    from orchestrator.farm.lookup import open_ledger
    from tasks.app import app

    open_ledger(reading=True)
    _require_free(address, port)
    arguments = [f"--address={address}", f"--port={port}", "--max_tasks=20000"]
    arguments += ["--purge_offline_workers=3600", f"--tasks_columns={','.join(COLUMNS)}"]
    if not writable:
        arguments.append("--read_only")
    app.start(["flower", *arguments])


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
