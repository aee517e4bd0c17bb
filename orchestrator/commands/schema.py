"""`stagefarm schema`: JSON Schemas for editors."""

from __future__ import annotations

import click


@click.command(short_help="Print the JSON Schema of a file format, for editors.")
@click.argument(
    "name",
    type=click.Choice(["specfile", "hooks", "batch", "release", "gate", "scenario"]),
)
def schema(name: str) -> None:
    """Print the JSON Schema (2020-12) of specfiles, hook files, batches, releases, gates
    or scenarios.

    \b
    Example:
      stagefarm schema specfile > specfile.json
    """
    import json

    from orchestrator.formats.schema import schema as make

    click.echo(json.dumps(make(name), indent=2))
