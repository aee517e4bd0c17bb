"""`stagefarm supervisor`: recover the builds of lost hosts, and lost messages."""

from __future__ import annotations

import signal

import click


@click.command(short_help="Give the builds of lost hosts to others.")
def supervisor() -> None:
    """Watch over the farm until told to stop: builds of hosts that went silent are queued again,
    lost messages are sent again. Run one, or several on different machines; one leads.

    \b
    Example:
      stagefarm supervisor
    """
    from orchestrator.farm.lookup import open_ledger, warn_of_forgetful_redis
    from orchestrator.farm.supervisor import Supervisor
    from tasks.app import app
    from tasks.settings import current

    ledger = open_ledger()
    warn_of_forgetful_redis(ledger)
    watcher = Supervisor(current(), ledger, app, click.echo)
    signal.signal(signal.SIGTERM, lambda *_: watcher.stopping.set())
    watcher.run()
