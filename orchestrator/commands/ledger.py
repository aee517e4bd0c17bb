"""`stagefarm ledger`: care for the farm's record of builds in Redis."""

from __future__ import annotations

import click


@click.group(short_help="Bring the farm's record of builds to a new version.")
def ledger() -> None:
    """Care for the ledger, the record in Redis of all builds and hosts."""


@ledger.command(short_help="Bring the ledger of an older stagefarm to this one's schema.")
@click.option("--dry-run", is_flag=True, help="Only say what would be changed.")
def migrate(*, dry_run: bool) -> None:
    """Bring the ledger of the stagefarm before this one to the schema of this one. Workers and
    supervisors have to be stopped; builds that they held go on, or are built again, as after any
    restart. Should it be interrupted, run it again.

    \b
    Examples:
      stagefarm ledger migrate --dry-run
      stagefarm ledger migrate
    """
    from tasks.ledger.connection import SCHEMA, connect
    from tasks.ledger.migration import Migration
    from tasks.settings import current

    settings = current()
    migration = Migration(connect(settings), settings.lease_s, click.echo)
    where = f"the ledger under {settings.key_prefix!r}"
    if not migration.needed():
        click.echo(f"{where} needs no migration")
        return
    found = migration.look() if dry_run else migration.run()
    counts = f"{found.builds} builds, {found.hosts} hosts"
    become = "would have" if dry_run else "has"
    click.echo(f"{where} {become} schema {SCHEMA}{'' if dry_run else ' now'}: {counts}")
    if not dry_run and settings.trust == "signed":
        click.echo("builds of before have no signatures: stagefarm ledger sign", err=True)


@ledger.command(short_help="Sign the builds that were submitted without signatures.")
@click.option("--dry-run", is_flag=True, help="Only list them.")
def sign(*, dry_run: bool) -> None:
    """Sign with your key the builds that have no signatures, so that hosts build them, and `retry`
    and `rebuild` take them: those that an earlier stagefarm submitted, or that were submitted with
    trust = "redis". Until now, whoever could write to Redis could change them; you answer for them
    from then on.

    \b
    Examples:
      stagefarm ledger sign --dry-run
      stagefarm ledger sign
    """
    from orchestrator.farm.lookup import open_ledger
    from orchestrator.farm.signing import sign_unsigned
    from tasks.errors import BadInput
    from tasks.model import short_id
    from tasks.settings import current

    settings = current()
    if settings.trust != "signed":
        raise BadInput('trust = "redis": nothing is signed here', 'set trust = "signed"')
    known = open_ledger()
    for name in known.unsigned():
        build = known.build(name) if dry_run else sign_unsigned(name, known, settings)
        click.echo(f"{short_id(name)}: {build.job} in {build.queue}{'' if dry_run else ', signed'}")
