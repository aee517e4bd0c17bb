"""`stagefarm notify`: what is wrong with the farm, and whether people can be told."""

from __future__ import annotations

import json
import time
from pathlib import Path

import click

from tasks.errors import BadInput, StagefarmError

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")


@click.group(short_help="Look at what is wrong, test who is told of it.")
def notify() -> None:
    """With `notify_file`, the supervisor tells people what is wrong: one message for each cause,
    when it is new, when it changes, and when it is over, and a digest each morning.

    \b
    Examples:
      stagefarm notify test
      stagefarm notify list
    """


@notify.command(short_help="Send a test message to everybody.")
@json_option
def test(*, as_json: bool) -> None:
    """Send a test message to each URL in `notify_file` of this machine. Exits with 1 if one cannot
    be reached. Needs no Redis.

    \b
    Example:
      sudo stagefarm notify test
    """
    from orchestrator.farm.notifications import writer_of
    from orchestrator.notify.services import named, secret_urls_of, send
    from tasks.settings import current

    file = current().notify_file
    urls = secret_urls_of(Path(file)) if file else ()
    if not urls:
        hint = "it names a file of URLs of apprise, one a line: docs/notifications.md"
        raise BadInput(f"{file} has no URL" if file else "notify_file is not set", hint)
    message = writer_of(current()).test(time.time())
    failed = []
    sent: dict[str, bool] = {}
    for number, url in enumerate(urls):
        name = named(number, url)
        sent[name] = send(url, message.title, message.body)
        failed += [] if sent[name] else [name]
        if not as_json:
            click.echo(f"{name}: {'sent' if sent[name] else 'failed'}")
    if as_json:
        values = [{"target": name, "sent": is_sent} for name, is_sent in sent.items()]
        click.echo(json.dumps(values, indent=2))
    if failed:
        hint = "check the URL, and that this machine may reach the service"
        raise StagefarmError(f"no test message by {', '.join(failed)}", hint)


@notify.command("list", short_help="List what is wrong, and what was lately.")
@json_option
def list_(*, as_json: bool) -> None:
    """List the incidents: those that are open, and those that ended in the last seven days.

    \b
    Example:
      stagefarm notify list
    """
    from orchestrator.display.table import console
    from orchestrator.farm.lookup import open_ledger
    from orchestrator.farm.notifications import targets_in
    from orchestrator.notify.memory import read
    from orchestrator.notify.tables import as_values, in_order, incidents_table, target_lines
    from tasks.ledger.notices import Notices

    ledger = open_ledger(reading=True)
    notices = Notices(ledger.connection)
    notes = notices.read()
    memory = read(notes)
    found = in_order(memory.incidents.values())
    if as_json:
        click.echo(json.dumps(as_values(found), indent=2))
        return
    if not notes.version:
        click.echo("no supervisor looks: it does so where notify_file is set", err=True)
    console().print(incidents_table(found, ledger.now()))
    for line in target_lines(targets_in(notices).values(), memory.outbox):
        click.echo(line, err=True)


@notify.command(short_help="Print the digest.")
@json_option
def digest(*, as_json: bool) -> None:
    """Print the digest as it would be sent now: what is open, what has ended since yesterday, and
    how the builds of the last day ended. Nothing is sent.

    \b
    Example:
      stagefarm notify digest
    """
    from orchestrator.farm.lookup import open_ledger
    from orchestrator.farm.notifications import writer_of
    from orchestrator.farm.observer import Observer
    from orchestrator.notify.memory import read
    from tasks.ledger.notices import Notices
    from tasks.settings import current

    ledger = open_ledger(reading=True)
    memory, now = read(Notices(ledger.connection).read()), ledger.now()
    counts = Observer(current(), ledger, lambda *_: None).counts(now)
    message = writer_of(current()).digest(memory.incidents.values(), counts, now)
    if as_json:
        click.echo(json.dumps({"title": message.title, "body": message.body}, indent=2))
    else:
        click.echo(f"{message.title}\n\n{message.body}")
