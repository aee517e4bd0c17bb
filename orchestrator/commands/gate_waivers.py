"""`stagefarm gate accept`, `waivers` and `withdraw`: findings that people accept."""

from __future__ import annotations

import getpass
import json
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.commands.gate_names import (
    complete_finding,
    document_at,
    file_argument,
    holds_at,
    json_option,
)
from tasks.errors import BadInput

if TYPE_CHECKING:
    from orchestrator.formats.reader import Document
    from orchestrator.formats.releasefile import Releasefile
    from orchestrator.gate.findings import Finding
    from orchestrator.gate.holds import Hold
    from orchestrator.gate.waivers import Waivers
    from tasks.trust.keys import PrivateKey


@click.command(short_help="Accept a finding until a date.")
@file_argument
@click.argument("digest", shell_complete=complete_finding)
@click.option(
    "--until", required=True, type=click.DateTime(["%Y-%m-%d"]), metavar="DATE", help="Last day."
)
@click.option("--because", required=True, metavar="TEXT", help="Why; others will read it.")
@click.option(
    "--stage",
    default="*",
    metavar="PATTERN",
    help="Only for stages whose names match, as `gate list` shows them [default: all].",
)
@click.option(
    "--findings",
    type=click.File("rb"),
    metavar="FILE",
    help="Look for the finding in what `gate show --json` or `gate check --json` printed, perhaps "
    "on another machine; - for standard input.",
)
@click.option("--release-key", "by_release", is_flag=True, help="Sign with the release's key.")
def accept(
    *,
    file: Path,
    digest: str,
    until: Any,
    because: str,
    stage: str,
    findings: Any,
    by_release: bool,
) -> None:
    """Accept the finding with this digest, or a unique beginning of it: it does not hold stages of
    the release any more, until the end of DATE in UTC. If the finding changes, it is another one.
    The waiver is signed with the submitter's key, and written beside RELEASE_FILE.

    \b
    Example:
      stagefarm gate accept releases/stages.yaml 3f2a9c0e1b2c --until 2026-12-15 \\
          --because "sudo is wanted now"
    """
    from orchestrator.formats.releasefile import name_of
    from orchestrator.gate.tables import described
    from orchestrator.gate.waivers import Waiver, add_waiver, waivers_file

    document = document_at(file)
    known = _told(findings.read()) if findings else _found(holds_at(file))
    finding = _one(known, digest)
    if not because.strip():
        raise BadInput("--because is empty", "say why the finding is acceptable")
    waiver = Waiver(
        release=name_of(document),
        channel=document.value.channel,
        check=finding.check,
        path=finding.path,
        before=finding.before,
        after=finding.after,
        stage=stage,
        until=until.date(),
        because=because,
        by=_who(),
        at=time.time(),
    )
    key = _signing_key(document, by_release=by_release)
    line = add_waiver(waivers_file(file), waiver, key)
    click.echo(f"accepted until {waiver.until}: {described(finding)}")
    _say_if_void(document, line)
    click.echo(f"it counts when the release is published: stagefarm publish {file}", err=True)


@click.command(short_help="List the findings that were accepted.")
@file_argument
@json_option
def waivers(*, file: Path, as_json: bool) -> None:
    """List the waivers of RELEASE_FILE, and say which do not count on this machine, and why.

    \b
    Example:
      stagefarm gate waivers releases/stages.yaml
    """
    from orchestrator.display.table import console
    from orchestrator.gate.tables import waiver_values, waivers_table

    found = _waivers(document_at(file))
    if as_json:
        counting = [{**waiver_values(one), "counts": True, "reason": ""} for one in found.valid]
        void = [
            {
                **(waiver_values(one.waiver) if one.waiver else {}),
                "line": one.line,
                "counts": False,
                "reason": one.reason,
            }
            for one in found.void
        ]
        click.echo(json.dumps([*counting, *void], indent=2))
    elif found.valid or found.void:
        console().print(waivers_table(found.valid, found.void))
    else:
        click.echo("no finding was accepted")


@click.command(short_help="Accept a finding no longer.")
@file_argument
@click.argument("digest", required=False)
@click.option("--lapsed", is_flag=True, help="All whose date has passed.")
def withdraw(*, file: Path, digest: str | None, lapsed: bool) -> None:
    """Remove the waivers of the finding with this digest, or a unique beginning of it.

    \b
    Examples:
      stagefarm gate withdraw releases/stages.yaml 3f2a9c0e1b2c
      stagefarm gate withdraw releases/stages.yaml --lapsed
    """
    from datetime import UTC, datetime

    from orchestrator.gate.waivers import lines_of, waivers_file, withdraw_waivers

    if bool(digest) is lapsed:
        raise BadInput("give the digest of a finding, or --lapsed", "stagefarm gate waivers FILE")
    today = datetime.now(UTC).date()
    found = lines_of(waivers_file(file), digest or "")
    gone = {number: one for number, one in found.items() if digest or one.until < today}
    if digest and not gone:
        raise BadInput(f"no waiver of a finding {digest!r}", f"see `stagefarm gate waivers {file}`")
    withdraw_waivers(waivers_file(file), gone)
    for one in gone.values():
        click.echo(f"withdrawn: {one.check} {one.path}, until {one.until}")


# Findings


def _found(holds: Iterable[Hold]) -> list[Finding]:
    return [finding for hold in holds for finding in (*hold.findings, *hold.waived)]


def _told(content: bytes) -> list[Finding]:
    """The findings in the JSON that `gate show` or `gate check` printed."""
    try:
        said = json.loads(content)
        stages = said if isinstance(said, list) else [said]
        return [_finding(one) for stage in stages for one in stage["findings"]]
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        hint = "it should be what `stagefarm gate show --json` printed"
        raise BadInput(f"cannot read the findings: {error!r}", hint) from error


def _finding(values: dict[str, Any]) -> Finding:
    from orchestrator.gate.findings import Finding

    return Finding(
        check=str(values["check"]),
        path=str(values["path"]),
        before=str(values["before"]),
        after=str(values["after"]),
        message=str(values["message"]),
    )


def _one(findings: Iterable[Finding], digest: str) -> Finding:
    """The finding whose digest is, or begins with, `digest`."""
    found = {one.digest: one for one in findings if digest and one.digest.startswith(digest)}
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        said = ", ".join(one[:16] for one in list(found)[:5])
        raise BadInput(f"{digest!r} is ambiguous: {said}", "give more digits")
    raise BadInput(
        f"no stage is held for a finding {digest!r}", "see `stagefarm gate show RELEASE_FILE BUILD`"
    )


# Signing


def _signing_key(document: Document[Releasefile], *, by_release: bool) -> PrivateKey:
    from orchestrator.release.gate_setup import own_key
    from tasks.settings import current
    from tasks.trust.policy import submit_key

    if not by_release:
        return submit_key(current())
    if key := own_key(document, current()):
        return key
    raise BadInput("the release's key is not on this machine", "sign without --release-key")


def _who() -> str:
    return f"{getpass.getuser()}@{socket.gethostname()}"


def _waivers(document: Document[Releasefile]) -> Waivers:
    from orchestrator.release.gate_setup import own_key, waivers_of
    from tasks.settings import current

    settings = current()
    return waivers_of(document, settings, time.time(), own_key(document, settings))


def _say_if_void(document: Document[Releasefile], line: int) -> None:
    """Warn of a waiver that does not count on this machine, which may not be the one that
    publishes."""
    from orchestrator.commands.publish import say

    for void in _waivers(document).void:
        if void.line == line:
            say(f"{void.text}; it may count where the release is published")
