"""`stagefarm supervisor`: requeue the builds of lost hosts, and resend lost messages."""

from __future__ import annotations

import signal

import click


@click.command(short_help="Requeue the builds of lost hosts.")
def supervisor() -> None:
    """Supervise the farm until stopped: the builds of lost hosts are queued again, lost messages
    are sent again, what failed is tried once more by another host that has nothing to do, and
    batches that name a release are published once they have ended. With
    `rebuilds_per_day`, hosts that have nothing to do repeat what is published; with `schedule_dir`,
    the nights of the batches in it are submitted when they are due; with `notify_file`, people are
    told what is wrong; with `report_dir`, the web site of `stagefarm report` is kept up to date
    there. Run one, or several on different machines; one leads.

    \b
    Example:
      stagefarm supervisor
    """
    from orchestrator.farm.batch_releases import BatchReleases
    from orchestrator.farm.lookup import open_ledger, warn_of_forgetful_redis
    from orchestrator.farm.notifications import Notifications
    from orchestrator.farm.scheduled_nights import ScheduledNights
    from orchestrator.farm.second_opinions import SecondOpinions
    from orchestrator.farm.site_reports import SiteReports
    from orchestrator.farm.spare_rebuilds import SpareRebuilds
    from orchestrator.farm.supervisor import Supervisor
    from tasks.app import app
    from tasks.settings import current

    ledger = open_ledger()
    warn_of_forgetful_redis(ledger)
    releases = BatchReleases(current(), ledger, click.echo)
    rebuilds = SpareRebuilds(current(), ledger, app, click.echo)
    nights = ScheduledNights(current(), ledger, app, click.echo)
    opinions = SecondOpinions(current(), ledger, app, click.echo)
    notifications = Notifications(current(), ledger, click.echo)
    duties = (nights, opinions, releases, rebuilds, notifications)
    own = (SiteReports(current(), click.echo),)
    watcher = Supervisor(current(), ledger, app, click.echo, duties=duties, own_duties=own)
    signal.signal(signal.SIGTERM, lambda *_: watcher.stopping.set())
    watcher.run()
    notifications.finish()
