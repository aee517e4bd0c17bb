"""`stagefarm fetch`: copy tarballs from the farm's store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.commands.names import complete_build
from tasks.errors import BadInput

if TYPE_CHECKING:
    from orchestrator.farm.fetch import Copy
    from tasks.ledger.builds import Ledger
    from tasks.ledger.records import Record


@click.command(short_help="Copy tarballs from the farm's store.")
@click.argument(
    "names", nargs=-1, required=True, metavar="BUILD|BATCH...", shell_complete=complete_build
)
@click.option(
    "--into", type=click.Path(path_type=Path), metavar="DIR", help="One folder for all of them."
)
@click.option("--json", "as_json", is_flag=True, help="Print the tarballs as JSON.")
def fetch(*, names: tuple[str, ...], into: Path | None, as_json: bool) -> None:
    """Copy the tarballs of builds, with their sidecar files, from the store to where `run` would
    put them: the `output.dir` of their jobs. Of a batch, the succeeded builds. Each is verified: by
    the signatures of its submitter and its host, and its checksum.

    \b
    Examples:
      stagefarm fetch nightly-20261122-7f3a9c0e
      stagefarm fetch stage3-20261122-7f3a9c0e --into /srv/mirror/incoming
    """
    from orchestrator.farm.fetch import check_apart, copies
    from orchestrator.farm.lookup import open_ledger
    from orchestrator.farm.signing import own_trust
    from tasks.settings import current
    from tasks.store.opening import stored_file

    settings = current()
    ledger, trust = open_ledger(reading=True), own_trust(settings)
    file_of = partial(stored_file, settings=settings)
    wanted = [
        copy
        for record in _succeeded(ledger, names)
        for copy in copies(record, into, trust, ledger.build, file_of)
    ]
    check_apart(wanted)
    _bring(wanted)
    tarballs = [str(copy.target) for copy in wanted if copy.is_tarball]
    click.echo(json.dumps(tarballs, indent=2) if as_json else "\n".join(tarballs))


def _succeeded(ledger: Ledger, names: Sequence[str]) -> list[Record]:
    """The builds that succeeded; `BadInput` if one that is named itself, not its batch, did not."""
    from orchestrator.farm.lookup import builds_named, is_batch
    from tasks.model import BuildState, short_id

    found = []
    for name in names:
        for record in ledger.records(builds_named(ledger, [name])):
            if record.state is BuildState.SUCCEEDED:
                found.append(record)
            elif is_batch(ledger, name):
                click.echo(f"{short_id(record.id)} is {record.state}: nothing to fetch", err=True)
            else:
                build = short_id(record.id)
                raise BadInput(f"{build} is {record.state}", f"stagefarm follow {build}")
    return found


def _bring(wanted: Sequence[Copy]) -> None:
    from orchestrator.display.terminal import bars
    from orchestrator.farm.fetch import bring
    from tasks.metering import Meter

    with bars() as report:
        meter = Meter(report, "fetch", total=sum(copy.source.size() for copy in wanted))
        for copy in wanted:
            bring(copy, meter.add)
        meter.finish()
