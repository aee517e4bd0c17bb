"""`stagefarm logs`: the output of a build, from any host."""

from __future__ import annotations

from collections.abc import Iterator

import click

from orchestrator.commands.names import complete_build
from orchestrator.display.printable import coloured, plain
from tasks.ledger.builds import Ledger
from tasks.ledger.logs import Entry, Logbook

WAIT_S = 2.0


@click.command(short_help="Print a build's log, or follow it.")
@click.argument("build", shell_complete=complete_build)
@click.option("-f", "--follow", is_flag=True, help="Keep printing until the build has ended.")
def logs(*, build: str, follow: bool) -> None:
    """Print the newest lines of a build's log. The whole log is in the store once it has ended.

    \b
    Example:
      stagefarm logs -f stage3-20261122-7f3a9c0e
    """
    from orchestrator.farm.lookup import one_build, open_ledger

    ledger = open_ledger(reading=True)
    name = one_build(ledger, build)
    entries = following(ledger, name) if follow else all_of(Logbook(ledger.connection), name)
    for entry in entries:
        hook = f"{plain(entry.line.hook)} │ " if entry.line.hook else ""
        click.echo(f"{click.style(hook, dim=True)}{coloured(entry.line.text)}")
    record = ledger.record(name)
    if record.url:
        click.echo(f"the whole log: {record.url}/build.log", err=True)


def all_of(book: Logbook, build: str, after: str = "-") -> Iterator[Entry]:
    while entries := book.read(build, after):
        yield from entries
        after = entries[-1].id


def following(ledger: Ledger, build: str) -> Iterator[Entry]:
    """The lines so far, then new ones as they arrive, until the build has ended."""
    book, last = Logbook(ledger.connection), "0-0"
    while True:
        ended = ledger.record(build).state.ended
        entries = book.wait(build, last, 0.01 if ended else WAIT_S)
        yield from entries
        if entries:
            last = entries[-1].id
        elif ended:
            return
