"""`stagefarm cancel`, `retry`, `drain` and `undrain`: change the state of builds and hosts."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from orchestrator.commands.follow import watch
from orchestrator.commands.names import complete_host, complete_name, require_names

if TYPE_CHECKING:
    from tasks.ledger.builds import Ledger

RENAMED = {"mended": "reload-spec"}
"""Options of `retry` by their former names, which are still accepted."""


@click.command(short_help="Stop builds, or whole batches.")
@click.argument(
    "names", nargs=-1, required=True, metavar="BUILD|BATCH...", shell_complete=complete_name
)
@click.option("--reason", metavar="TEXT", help="Stored in the record of each build.")
def cancel(*, names: tuple[str, ...], reason: str | None) -> None:
    """Stop builds in any state: queued ones at once, running ones within seconds, with all their
    processes. Nothing of them is published.

    \b
    Example:
      stagefarm cancel nightly-20261122-7f3a9c0e
    """
    from orchestrator.farm.lookup import builds_named, open_ledger
    from tasks.ledger.answers import CancelOutcome
    from tasks.model import short_id

    ledger = open_ledger()
    said = {
        CancelOutcome.CANCELLED: "cancelled",
        CancelOutcome.ASKED: "stopping on its host",
        CancelOutcome.ENDED: "had already ended",
    }
    for build in builds_named(ledger, names):
        answer = ledger.cancel(build, reason or f"cancelled by {getpass.getuser()}")
        click.echo(f"{short_id(build)}: {said[answer]}")


@click.command(
    short_help="Build ended builds again.",
    context_settings={"token_normalize_func": lambda name: RENAMED.get(name, name)},
)
@click.argument(
    "names", nargs=-1, required=True, metavar="BUILD|BATCH...", shell_complete=complete_name
)
@click.option(
    "--from",
    "start",
    metavar="STEP",
    help="Resume from the newest checkpoint before step STEP, a number as in `status`; `last` "
    "is the newest of all.",
)
@click.option(
    "--reload-spec",
    "respecified",
    is_flag=True,
    help="Read the specfile and hook files again, and bundle the folder again.",
)
@click.option(
    "--follow", is_flag=True, help="Watch until all have ended; fail if one did not succeed."
)
def retry(*, names: tuple[str, ...], start: str | None, respecified: bool, follow: bool) -> None:
    """Build BUILD again, as its next attempt; of a batch, the builds that did not succeed.

    Without --from it starts from the first step. Checkpoints are kept after the hooks of jobs and
    hook files with `checkpoint: true`, until the build has succeeded. With --reload-spec, nothing
    before the checkpoint may have changed.

    \b
    Examples:
      stagefarm retry stage3-20261122-7f3a9c0e
      stagefarm retry stage3-20261122-7f3a9c0e --from last --reload-spec
    """
    from orchestrator.farm.lookup import open_ledger
    from orchestrator.farm.retry import Retry, send_all
    from orchestrator.farm.retry import retry as queue_again
    from tasks.app import app
    from tasks.model import short_id
    from tasks.settings import current

    ledger, retried = open_ledger(), list[Retry]()
    try:
        for build in _to_retry(ledger, names):
            made = queue_again(
                build, start=start, respecified=respecified, ledger=ledger, settings=current()
            )
            retried.append(made)
            state = "blocked" if made.blocked else "queued"
            resumed = f", from step {made.step + 1}" if made.step else ""
            click.echo(f"{short_id(build)}: {state} as attempt {made.attempt}{resumed}")
    finally:
        send_all(retried, app)
    if follow and retried:
        watch(ledger, [one.build.id for one in retried], as_json=False)


def _to_retry(ledger: Ledger, names: tuple[str, ...]) -> Iterator[str]:
    """The builds that are named, and of named batches those that did not succeed."""
    from orchestrator.farm.lookup import builds_named, is_batch
    from tasks.model import BuildState

    unsuccessful = (BuildState.FAILED, BuildState.CANCELLED)
    for name in names:
        records = ledger.records(builds_named(ledger, [name]))
        whole_batch = is_batch(ledger, name)
        yield from (r.id for r in records if not whole_batch or r.state in unsuccessful)


@click.command(short_help="Let a host finish its builds and take no new ones.")
@click.argument("host", shell_complete=complete_host)
def drain(*, host: str) -> None:
    """Let HOST finish its builds and take no new ones until `stagefarm undrain HOST`. Its worker
    may be restarted in between. `stagefarm workers` shows when it is drained.

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
    click.echo(f"{host}: {'drained' if new else 'was already drained'}, {count}")


@click.command(short_help="Let a drained host take builds again.")
@click.argument("host", shell_complete=complete_host)
def undrain(*, host: str) -> None:
    """Let HOST take builds again; it does so within seconds.

    \b
    Example:
      stagefarm undrain builder7
    """
    from orchestrator.farm.lookup import open_ledger
    from tasks.ledger.hosts import Hosts

    undrained = Hosts(open_ledger().connection).undrain(host)
    click.echo(f"{host}: {'takes builds again' if undrained else 'was not drained'}")


@click.command(short_help="Remove a host that is gone for good from the farm's list.")
@click.argument("host", shell_complete=complete_host)
def forget(*, host: str) -> None:
    """Remove HOST from the list of hosts. Its worker must have stopped; if it starts again, the
    host is listed again.

    \b
    Example:
      stagefarm forget builder7
    """
    from orchestrator.farm.lookup import nearest, open_ledger
    from tasks.errors import BadInput
    from tasks.ledger.hosts import Hosts
    from tasks.settings import current

    ledger = open_ledger()
    hosts = Hosts(ledger.connection)
    known = {one.name: one for one in hosts.all()}
    if not (found := known.get(host)):
        near = nearest(host, list(known))
        hint = f"did you mean {near}?" if near else "see `stagefarm workers`"
        raise BadInput(f"there is no host {host}", hint)
    if found.alive(ledger.now(), current().lease_s) or found.builds:
        raise BadInput(f"{host} is running, or still holds builds", f"stagefarm drain {host}")
    hosts.forget(host)
    click.echo(f"{host}: removed")
