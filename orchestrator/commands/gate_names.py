"""What the commands of the gate have in common: their arguments, and names of what is held."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from tasks.errors import StagefarmError

if TYPE_CHECKING:
    from orchestrator.formats.reader import Document
    from orchestrator.formats.releasefile import Releasefile
    from orchestrator.gate.holds import Hold

DIGEST_CHARS = 12

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
html_option = click.option(
    "--html",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write a web page about it: one file that can be sent to others.",
)
file_argument = click.argument("file", metavar="RELEASE_FILE", type=click.Path(path_type=Path))


def document_at(file: Path) -> Document[Releasefile]:
    from orchestrator.formats.releasefile import load_release

    return load_release(file)


def holds_at(file: Path) -> tuple[Hold, ...]:
    """What this machine knows to be held of the release, the oldest first."""
    from orchestrator.release.gate_setup import holds_of
    from tasks.settings import current

    return holds_of(document_at(file), current()).current


def complete_held(ctx: click.Context, _param: click.Parameter, start: str) -> list[CompletionItem]:
    """The builds that are held."""
    return _offered(ctx, start, lambda holds: (hold.build for hold in holds))


def complete_finding(
    ctx: click.Context, _param: click.Parameter, start: str
) -> list[CompletionItem]:
    """The findings that hold stages, by their digests."""
    return _offered(
        ctx,
        start,
        lambda holds: (one.digest[:DIGEST_CHARS] for hold in holds for one in hold.holding),
    )


def _offered(
    ctx: click.Context, start: str, names: Callable[[Iterable[Hold]], Iterable[str]]
) -> list[CompletionItem]:
    file = ctx.params.get("file")
    try:
        found = dict.fromkeys(names(holds_at(Path(file)))) if file else {}
    except StagefarmError:
        return []
    return [CompletionItem(name) for name in found if name.startswith(start)]
