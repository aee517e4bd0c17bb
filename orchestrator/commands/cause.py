"""`stagefarm cause`: what rules find in the log of a failed build."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from orchestrator.commands.names import complete_build

if TYPE_CHECKING:
    from tasks.causes.rules import RuleSet
    from tasks.results import Cause


@click.command(short_help="Find the cause of a failure in a log, by rules.")
@click.argument("log", required=False, metavar="[LOGFILE|BUILD]", shell_complete=complete_build)
@click.option(
    "--rules",
    "folder",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False),
    help="Rules of your own; default: the setting cause_rules_dir.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
def cause(*, log: str | None, folder: str | None, as_json: bool) -> int:
    """Find the cause of a failure in LOGFILE, or in the log of BUILD in the store: to try rules,
    or to read old failures again. Without either, check the rules and list them. Exits with 1 if
    no rule matches.

    \b
    Examples:
      stagefarm cause build.log
      stagefarm cause build.log --rules ./my-rules --json
      stagefarm cause stage3-20261122-7f3a9c0e
      stagefarm cause --rules ./my-rules
    """
    from tasks.causes.rules import load_rules
    from tasks.settings import current

    rules = load_rules(folder or current().cause_rules_dir)
    if log is None:
        _list(rules, as_json=as_json)
        return 0
    found = _find(log, rules)
    _show(found, as_json=as_json)
    return 0 if found and found.rule else 1


def _find(log: str, rules: RuleSet) -> Cause | None:
    from tasks.causes.log import read_tail
    from tasks.causes.reader import find_cause
    from tasks.errors import BadInput

    if Path(log).is_file():
        try:
            with Path(log).open("rb") as opened:
                return find_cause(read_tail(opened), rules)
        except OSError as error:
            raise BadInput(f"cannot read {log}: {error.strerror}") from error
    if "/" in log or log.endswith((".log", ".txt")):
        raise BadInput(f"{log}: no such file")
    return _find_of_build(log, rules)


def _find_of_build(name: str, rules: RuleSet) -> Cause | None:
    from orchestrator.farm.lookup import one_build, open_ledger
    from tasks.causes.log import read_tail
    from tasks.causes.reader import find_cause
    from tasks.errors import BadInput

    ledger = open_ledger(reading=True)
    record = ledger.record(one_build(ledger, name))
    if not record.url:
        raise BadInput(f"{record.id} has no log in the store", "it is there once a build has ended")
    with tempfile.TemporaryFile() as copy:
        _copy(f"{record.url}/build.log", copy)
        lines = read_tail(copy)
    return find_cause(lines, rules, error=record.error, reason=record.reason)


def _copy(url: str, into: BinaryIO) -> None:
    from tasks.errors import BadInput
    from tasks.settings import current
    from tasks.store.opening import stored_file

    try:
        into.writelines(stored_file(url, current()).pieces())
    except OSError as error:
        raise BadInput(f"cannot read {url}: {error.strerror or error}") from error


def _show(found: Cause | None, *, as_json: bool) -> None:
    import msgspec

    from orchestrator.display.cause import described, excerpt

    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(found), indent=2))
    elif found:
        rule = f" (rule {found.rule})" if found.rule else ""
        click.echo("\n".join([f"{described(found)}{rule}", *excerpt(found)]))
    else:
        click.echo("no rule matches")


def _list(rules: RuleSet, *, as_json: bool) -> None:
    import msgspec

    if as_json:
        told = {"rules": rules.rules, "places": rules.places}
        click.echo(json.dumps(msgspec.to_builtins(told), indent=2))
        return
    for rule in sorted(rules.rules, key=lambda rule: (rule.order, rule.name)):
        click.echo(f"{rule.order:>3}  {rule.kind:<12}{rule.name}")
