"""`stagefarm cancel`, `retry`, `drain` and `undrain`: what people tell the farm to do."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from orchestrator.commands.follow import watch
from orchestrator.commands.names import complete_host, complete_name, require_names

if TYPE_CHECKING:
    from tasks.ledger.builds import Ledger


@click.command(short_help="Stop builds, or whole batches.")
@click.argument(
    "names", nargs=-1, required=True, metavar="BUILD|BATCH...", shell_complete=complete_name
)
@click.option("--reason", metavar="TEXT", help="Kept in the record of each build.")
def cancel(*, names: tuple[str, ...], reason: str | None) -> None:
    """Stop builds in whatever state: queued ones at once, running ones within seconds, with all
    their processes. Nothing of them is published.

    \b
    Example:
      stagefarm cancel nightly-20261122-7f3a
    """
    from orchestrator.farm.lookup import builds_named, open_ledger
    from tasks.ledger.answers import CancelOutcome
    from tasks.model import short_id

    ledger = open_ledger()
    said = {
        CancelOutcome.CANCELLED: "cancelled",
        CancelOutcome.ASKED: "its host stops it",
        CancelOutcome.ENDED: "had ended before",
    }
    for build in builds_named(ledger, names):
        answer = ledger.cancel(build, reason or f"cancelled by {getpass.getuser()}")
        click.echo(f"{short_id(build)}: {said[answer]}")


@click.command(short_help="Build ended builds anew.")
@click.argument(
    "names", nargs=-1, required=True, metavar="BUILD|BATCH...", shell_complete=complete_name
)
@click.option(
    "--from",
    "start",
    metavar="STEP",
    help="Go on from the newest checkpoint before step STEP, a number as `status` shows it; `last` "
    "is the newest of all.",
)
@click.option(
    "--mended",
    is_flag=True,
    help="Read specfile and hook files again, and send the folder along again.",
)
@click.option(
    "--follow", is_flag=True, help="Watch until all have ended; fail if one did not succeed."
)
def retry(*, names: tuple[str, ...], start: str | None, mended: bool, follow: bool) -> None:
    """Build BUILD anew, as its next attempt; of a batch, what did not succeed.

    Without --from it starts over. Checkpoints are kept after the hooks of jobs and hook files with
    `checkpoint: true`, until the build has succeeded. With --mended, what comes before the
    checkpoint has to be as it was.

    \b
    Examples:
      stagefarm retry stage3-20261122-7f3a
      stagefarm retry stage3-20261122-7f3a --from last --mended
    """
    from orchestrator.farm.lookup import open_ledger
    from orchestrator.farm.retry import Retry, send_all
    from orchestrator.farm.retry import retry as build_on
    from tasks.app import app
    from tasks.model import short_id
    from tasks.settings import current

    ledger, retried = open_ledger(), list[Retry]()
    try:
        for build in _to_retry(ledger, names):
            made = build_on(build, start=start, mended=mended, ledger=ledger, settings=current())
            retried.append(made)
            state = "blocked" if made.blocked else "queued"
            behind = f", to go on with step {made.step + 1}" if made.step else ""
            click.echo(f"{short_id(build)}: {state} as attempt {made.attempt}{behind}")
    finally:
        send_all(retried, app)
    if follow and retried:
        watch(ledger, [one.build.id for one in retried], as_json=False)


def _to_retry(ledger: Ledger, names: tuple[str, ...]) -> Iterator[str]:
    """Builds that are named, and what did not succeed of batches that are."""
    from orchestrator.farm.lookup import builds_named, is_batch
    from tasks.model import BuildState

    unsuccessful = (BuildState.FAILED, BuildState.CANCELLED)
    for name in names:
        records = ledger.records(builds_named(ledger, [name]))
        whole_batch = is_batch(ledger, name)
        yield from (r.id for r in records if not whole_batch or r.state in unsuccessful)


@click.command(short_help="Let a host finish what runs and take nothing new.")
@click.argument("host", shell_complete=complete_host)
def drain(*, host: str) -> None:
    """Let HOST finish what it has begun and take nothing new, until `stagefarm undrain HOST`;
    its worker may be restarted meanwhile. `stagefarm workers` shows when it is drained.

    \b
    Example:
      stagefarm drain builder7
    """
    from orchestrator.farm.lookup import nearest, open_ledger
    from tasks.ledger.hosts import Hosts

    require_names([host])
    hosts = Hosts(open_ledger().connection)
    new = hosts.drain(host)
    hosts_known = {known.name: known for known in hosts.all()}
    known = hosts_known.pop(host)
    if not known.incarnation:
        near = nearest(host, list(hosts_known))
        hint = f"; did you mean {near}? (stagefarm undrain {host})" if near else ""
        click.echo(f"warning: no worker of that name has been seen yet: {host}{hint}", err=True)
    count = f"{len(known.builds)} build{'s' * (len(known.builds) != 1)} to finish"
    click.echo(f"{host}: {'drained' if new else 'was drained before'}, {count}")


@click.command(short_help="Let a drained host take builds again.")
@click.argument("host", shell_complete=complete_host)
def undrain(*, host: str) -> None:
    """End the drain of HOST: it takes builds again within seconds.

    \b
    Example:
      stagefarm undrain builder7
    """
    from orchestrator.farm.lookup import open_ledger
    from tasks.ledger.hosts import Hosts

    undrained = Hosts(open_ledger().connection).undrain(host)
    click.echo(f"{host}: {'takes builds again' if undrained else 'was not drained'}")
