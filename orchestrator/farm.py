"""The farm as commands see it: its ledger, found builds and batches, warnings about its Redis."""

from __future__ import annotations

from collections.abc import Sequence

import click

from tasks.connection import durability_problems
from tasks.errors import BadInput
from tasks.ledger import Ledger
from tasks.settings import Settings, current


def open_ledger(settings: Settings | None = None) -> Ledger:
    """The ledger of the farm in the settings; `FarmUnreachable` if its Redis does not answer."""
    return Ledger.open(settings or current())


def warn_of_forgetful_redis(ledger: Ledger) -> None:
    """Say so where Redis is set up to lose builds when it restarts or its memory is full."""
    for problem in durability_problems(ledger.connection):
        click.echo(f"{click.style('warning:', fg='yellow', bold=True)} Redis: {problem}", err=True)


def builds_named(ledger: Ledger, names: Sequence[str]) -> list[str]:
    """The builds that `names`, of builds and batches, stand for, each once; `BadInput` with the
    nearest known name where there is no such thing."""
    found: dict[str, None] = {}
    for name in names:
        found.update(dict.fromkeys(ledger.batch(name) or [one_build(ledger, name)]))
    return list(found)


def one_build(ledger: Ledger, name: str) -> str:
    """The one build whose id is `name` or begins with it."""
    if not name:
        raise BadInput("the name of a build or batch is empty", "see `stagefarm status`")
    known = ledger.builds(1000)
    if name in known or ledger.knows(name):
        return name
    begins = [build for build in known if build.startswith(name)]
    if len(begins) == 1:
        return begins[0]
    if begins:
        raise BadInput(f"{name!r} may be any of {', '.join(begins[:5])}", "say more of its id")
    if ledger.batch(name):
        raise BadInput(
            f"{name} is a batch", f"name one of its builds, see `stagefarm status {name}`"
        )
    near = nearest(name, [*known, *ledger.batches(100)])
    raise BadInput(
        f"there is no build or batch {name!r}",
        f"did you mean {near}?" if near else "see `stagefarm status`",
    )


def nearest(name: str, known: Sequence[str]) -> str:
    """The one of `known` that `name` is nearly, or nothing."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, known, n=1)), "")
