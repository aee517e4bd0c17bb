"""`stagefarm worker`: serve one or more queues on this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from orchestrator.commands.names import require_names
from tasks import settings as settings_of

if TYPE_CHECKING:
    from tasks.settings import Settings


@click.command(short_help="Build on this machine what is submitted to its queues.")
@click.option(
    "-Q", "--queue", "queues", multiple=True, required=True, metavar="ARCH.SUBARCH",
    help="Take builds of this queue. Repeatable.",
)  # fmt: skip
@click.option(
    "--slots", default=1, show_default=True, type=click.IntRange(1), help="Builds at once."
)
@click.option("--name", metavar="HOST", help="This machine's name in the farm [default: its own].")
@click.option("--quiet", is_flag=True, help="Log warnings only.")
def worker(*, queues: tuple[str, ...], slots: int, name: str | None, quiet: bool) -> int:
    """Serve one or more queues on this machine, as root, until stopped.

    On TERM (systemctl stop) running steps may continue for up to stop_grace_s, then their builds
    are queued again; `stagefarm drain HOST` only stops the intake of new builds.

    \b
    Example:
      stagefarm worker --queue x86-64bit.generic_64 --slots 2
    """
    from orchestrator.farm.lookup import open_ledger, warn_of_forgetful_redis
    from tasks.step.launcher import require_root
    from tasks.store.opening import open_store
    from tasks.worker.identity import exclusive_state, require_own_name

    settings = settings_of.current()
    require_root()
    open_store(settings)
    host = name or settings.host
    require_names([*queues, host])
    ledger = open_ledger(settings)
    warn_of_forgetful_redis(ledger)
    _say_whom_it_trusts(settings)
    arguments = ["worker", "--queues", ",".join(queues), "--concurrency", str(slots)]
    arguments += ["--hostname", f"stagefarm@{host}", "--loglevel", "WARNING" if quiet else "INFO"]
    with exclusive_state(settings):
        require_own_name(host, settings, ledger)
        return _serve(arguments)


def _say_whom_it_trusts(settings: Settings) -> None:
    """Make this host's key, and tell what a farm of several machines needs."""
    from orchestrator.farm.lookup import warn
    from tasks.trust.policy import host_key, trust_of

    trust, key = trust_of(settings), host_key(settings).public
    if not trust.required:
        warn('trust = "redis": whoever can write to the farm\'s Redis is root on this host')
    elif not trust.where:
        warn(
            f"no {settings.trust_file}: only what this machine signs is built here; for others: "
            f"stagefarm keys trust submitter KEY, and on them: stagefarm keys trust host {key}"
        )


def _serve(arguments: list[str]) -> int:
    from warnings import simplefilter

    from celery.exceptions import SecurityWarning

    from tasks.worker.startup import serve

    simplefilter("ignore", SecurityWarning)  # builds need root; messages are JSON only
    os.environ.setdefault("C_FORCE_ROOT", "1")
    return serve(arguments)
