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
