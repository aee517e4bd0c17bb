"""`stagefarm flower`: Celery's own web page on the farm's tasks."""

from __future__ import annotations

import click

LOOPBACK = "127.0.0.1"
COLUMNS = ("name", "args", "kwargs", "state", "received", "runtime", "worker", "exception", "uuid")


@click.command(short_help="Show the farm's tasks on a web page.")
@click.option("--address", default=LOOPBACK, show_default=True, help="Where to listen.")
@click.option("--port", default=5555, show_default=True, help="On which port.")
@click.option(
    "--writable", is_flag=True, help="Let people revoke tasks and stop workers from the page."
)
def flower(*, address: str, port: int, writable: bool) -> None:
    """Serve Flower: every task with its job, arch, subarch, build, step and host.

    It listens on this machine only and changes nothing, unless told otherwise. It asks nobody who
    they are: before you bind it to more, put a proxy before it that does.

    \b
    Example:
      stagefarm flower --port 5555
    """
    from tasks.app import app

    arguments = [f"--address={address}", f"--port={port}", "--max_tasks=20000"]
    arguments += ["--purge_offline_workers=3600", f"--tasks_columns={','.join(COLUMNS)}"]
    if not writable:
        arguments.append("--read_only")
    app.start(["flower", *arguments])
