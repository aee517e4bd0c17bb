"""`stagefarm gate check`: judge a stage without publishing it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.commands.gate_names import html_option, json_option
from orchestrator.commands.names import complete_tarball
from tasks.errors import BadInput, Held

if TYPE_CHECKING:
    from orchestrator.gate.findings import Judgement
    from orchestrator.gate.gatekeeper import Compared, Gatekeeper
    from orchestrator.gate.waivers import Waivers
    from tasks.reporting import Report


@click.command(short_help="Judge a stage without publishing it.")
@click.argument("named", metavar="BUILD|TARBALL", shell_complete=complete_tarball)
@click.option(
    "--release",
    "release_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="By the gate of this release file, against what it has published.",
)
@click.option(
    "--policy",
    "policy_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="By this gate file alone.",
)
@click.option(
    "--against",
    metavar="BUILD|TARBALL|URL",
    shell_complete=complete_tarball,
    help="Compare it with this one [default: the newest published one of the same stage].",
)
@html_option
@json_option
def check(
    *,
    named: str,
    release_file: Path | None,
    policy_file: Path | None,
    against: str | None,
    html: Path | None,
    as_json: bool,
) -> int:
    """Judge a build of the farm, or a tarball, by the checks of a gate, and print what was found.
    Nothing is published, and no hold is noted. Exits with 8 if the gate would hold it. `stagefarm
    gate BUILD` is the same.

    \b
    Examples:
      stagefarm gate check stage3-20261122-7f3a9c0e --release releases/stages.yaml
      stagefarm gate check new.tar.zst --policy gate.yaml --against old.tar.zst
    """
    from orchestrator.display.terminal import bars
    from orchestrator.gate.findings import Verdict

    with bars() as report:
        if release_file and not policy_file:
            found = _by_release(release_file, named, against, report)
        elif policy_file and not release_file:
            found = _by_policy(policy_file, named, against, report)
        else:
            raise BadInput("give --release FILE or --policy FILE", "stagefarm gate check --help")
    if html:
        _write_page(html, found)
    _show(found.judgement, as_json=as_json)
    return Held.exit_code if found.judgement.verdict is Verdict.HOLD else 0


def _write_page(file: Path, found: Compared) -> None:
    from orchestrator.commands.artifacts import write_page
    from orchestrator.display.diff_page import diff_page

    said = found.judgement
    write_page(
        file, diff_page(found.before, found.after, findings=said.findings, waived=said.waived)
    )


def _by_release(file: Path, named: str, against: str | None, report: Report) -> Compared:
    from orchestrator.commands.publish import say
    from orchestrator.farm.judging import candidate_named, is_build
    from orchestrator.release.setup import publisher_of
    from orchestrator.release.taking import take
    from tasks.settings import current
    from tasks.trust.policy import trust_of

    publisher = publisher_of(file, current(), report, say)
    if not publisher.gate:
        raise BadInput(f"{file} has no gate", "add `gate: gate.yaml`, or give --policy")
    if not against and (candidate := candidate_named(named, current())):
        taken = take([candidate], publisher.release, trust_of(current()))
        for _, error in taken.refused:
            if is_build(named):
                raise error
            say(f"{named} is compared with nothing that is published: {error}")
        if taken.stages:
            return publisher.compare(taken)
    waivers = publisher.gate.waivers(time.time())
    return _by(publisher.gate.keeper, named, against, waivers)


def _by_policy(file: Path, named: str, against: str | None, report: Report) -> Compared:
    from orchestrator.gate.policy import load_policy
    from orchestrator.gate.waivers import NO_WAIVERS
    from orchestrator.release.gate_setup import gatekeeper_alone
    from tasks.settings import current

    return _by(gatekeeper_alone(load_policy(file), current(), report), named, against, NO_WAIVERS)


def _by(keeper: Gatekeeper, named: str, against: str | None, waivers: Waivers) -> Compared:
    """The judgement on any tarball, compared with another one, or alone."""
    from orchestrator.farm.judging import subject_named
    from tasks.settings import current

    candidate = keeper.known(subject_named(named, current()))
    published = keeper.known(subject_named(against, current())) if against else None
    return keeper.compared(candidate, published, waivers)


def _show(judged: Judgement, *, as_json: bool) -> None:
    from orchestrator.display.printable import plain
    from orchestrator.display.table import console
    from orchestrator.gate.tables import counted, findings_table, judgement_values

    if as_json:
        click.echo(json.dumps(judgement_values(judged), indent=2))
        return
    if judged.findings or judged.waived:
        console().print(findings_table(judged.findings, judged.waived))
    against = f"compared with {judged.against}" if judged.against else "compared with nothing"
    click.echo(plain(f"{judged.verdict}: {counted(judged.findings)}, {against}"))
