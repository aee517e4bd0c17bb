"""`stagefarm lineage`: show where a stage comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.commands.names import complete_tarball
from tasks.errors import Untrusted

if TYPE_CHECKING:
    from orchestrator.origin.chain import Lineage
    from orchestrator.origin.ring import Ring
    from tasks.settings import Settings
    from tasks.store.store import StoredFile


@click.command(short_help="Show where a stage comes from, generation by generation.")
@click.argument("where", metavar="FILE|BUILD|URL", shell_complete=complete_tarball)
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="KEY",
    help="A public key that you know: of the release, a host or a submitter. Repeatable.",
)
@click.option(
    "--trust",
    "trust_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Whom to trust, instead of this machine's trust file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
def lineage(*, where: str, keys: tuple[str, ...], trust_file: Path | None, as_json: bool) -> None:
    """Show the stages that a stage was built from, the youngest first, to the first seed: on which
    host each was built, who signed its job, what the gate said, and which other hosts have built
    the same bytes again. Exits with 7 where something is missing, was changed, or is not signed by
    whom this machine knows.

    A FILE is verified without a network, by what lies beside it or at the root of the copied mirror
    in which it lies. Of a URL, the tarball itself is not fetched, only what lies beside it. Of a
    BUILD, the evidence is gathered from the store.

    \b
    Examples:
      stagefarm lineage stage3-x86-64bit.tar.zst --key ed25519:…
      stagefarm lineage https://mirror.example.org/files/stage3_20261122T030405Z.tar.zst
      stagefarm lineage stage3-20261122-7f3a9c0e --json
    """
    from tasks.settings import current

    settings = current()
    found = _found(where, _ring(settings, keys, trust_file), settings)
    _show(found, as_json=as_json)
    if found.broken:
        raise Untrusted(f"{where}: {found.broken}")
    if not found.is_shown:
        raise Untrusted(
            f"{where}: its origin is not shown by signatures that are known here",
            "give the release's key with --key; docs/lineage.md says what each key proves",
        )


def _ring(settings: Settings, keys: tuple[str, ...], trust_file: Path | None) -> Ring:
    """Whom the user trusts."""
    from orchestrator.origin.ring import Ring
    from tasks.trust.keys import PublicKey
    from tasks.trust.policy import own_release_keys, read_trust, trust_of

    trust = read_trust(trust_file) if trust_file else trust_of(settings)
    releases = () if trust_file else own_release_keys(settings)
    return Ring(trust, releases, tuple(map(PublicKey.parse, keys)))


def _found(where: str, ring: Ring, settings: Settings) -> Lineage:
    if where.startswith(("http://", "https://")):
        return _of_url(where, ring)
    if (path := Path(where)).is_file():
        return _of_file(path, ring, settings)
    return _of_build(where, ring, settings)


def _of_url(url: str, ring: Ring) -> Lineage:
    from orchestrator.release.lineages import lineage_at

    return lineage_at(url, ring)


def _of_file(path: Path, ring: Ring, settings: Settings) -> Lineage:
    from orchestrator.display.terminal import bars
    from orchestrator.release.lineages import lineage_beside
    from orchestrator.release.offline import digest_of_file

    with bars() as report:
        sha256 = digest_of_file(path, report)
    return lineage_beside(path, sha256, ring, settings)


def _of_build(name: str, ring: Ring, settings: Settings) -> Lineage:
    from orchestrator.farm.lookup import one_build, open_ledger
    from orchestrator.farm.rebuild import made_by

    ledger = open_ledger(reading=True)
    record = ledger.record(one_build(ledger, name))
    tarball, sha256 = made_by(record, settings)
    return _gathered(tarball, sha256, record.batch, ring, settings)


def _gathered(
    tarball: StoredFile, sha256: str, batch: str, ring: Ring, settings: Settings
) -> Lineage:
    from orchestrator.release.lineages import lineage_in_store
    from orchestrator.release.shelves import Shelves

    return lineage_in_store(tarball, sha256, batch, ring, Shelves(settings))


def _show(found: Lineage, *, as_json: bool) -> None:
    from orchestrator.display.table import console
    from orchestrator.release.lineage_table import as_values, lineage_table, summary_lines

    if as_json:
        click.echo(json.dumps(as_values(found), indent=2))
        return
    console().print(lineage_table(found))
    for line in summary_lines(found):
        click.echo(line)
