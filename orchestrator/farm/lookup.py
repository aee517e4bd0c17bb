"""Opens the ledger for commands, finds builds and batches by name, and warns about Redis."""

from __future__ import annotations

from collections.abc import Sequence

import click

from tasks.errors import BadInput
from tasks.ledger.builds import Ledger
from tasks.ledger.connection import durability_problems
from tasks.settings import Settings, current

RECENT = 1000


def open_ledger(settings: Settings | None = None, *, reading: bool = False) -> Ledger:
    """The ledger of the farm in the settings; `FarmUnreachable` if its Redis does not answer.
    `reading`: for a command that changes nothing, and so takes an older ledger too."""
    return Ledger.open(settings or current(), reading=reading)


def warn_of_forgetful_redis(ledger: Ledger) -> None:
    """Warn if Redis is configured to lose builds when it restarts or its memory is full."""
    for problem in durability_problems(ledger.connection):
        warn(f"Redis: {problem}")


def warn(text: str) -> None:
    click.echo(f"{click.style('warning:', fg='yellow', bold=True)} {text}", err=True)


def builds_named(ledger: Ledger, names: Sequence[str]) -> list[str]:
    """The builds that `names` refer to, each once. A name is the id of a build or batch, or the
    beginning of only one id. `BadInput`, with the nearest known name, if nothing matches."""
    found: dict[str, None] = {}
    for name in names:
        one = _one(ledger, name)
        found.update(dict.fromkeys(ledger.batch(one) or [one]))
    return list(found)


def is_batch(ledger: Ledger, name: str) -> bool:
    """Whether `name`, as in `builds_named`, refers to a batch."""
    return bool(ledger.batch(_one(ledger, name)))


def one_build(ledger: Ledger, name: str) -> str:
    """The one build whose id is `name` or begins with it."""
    one = _one(ledger, name)
    if ledger.batch(one):
        raise BadInput(
            f"{name} is a batch", f"give one of its builds, see `stagefarm status {name}`"
        )
    return one


def _one(ledger: Ledger, name: str) -> str:
    """The id of the one build or batch that `name` is, or is the beginning of."""
    if not name:
        raise BadInput("the name of a build or batch is empty", "see `stagefarm status`")
    if ledger.knows(name) or ledger.batch(name):
        return name
    for count in (RECENT, 0):  # what people name is nearly always recent
        known = [*ledger.builds(count), *ledger.batches(count)]
        match [one for one in known if one.startswith(name)]:
            case []:
                continue
            case [one]:
                return one
            case several:
                hint = "give more characters of the id"
                raise BadInput(f"{name!r} is ambiguous: {', '.join(several[:5])}", hint)
    near = nearest(name, [*ledger.builds(RECENT), *ledger.batches(RECENT)])
    raise BadInput(
        f"no such build or batch: {name!r}",
        f"did you mean {near}?" if near else "see `stagefarm status`",
    )


def nearest(name: str, known: Sequence[str]) -> str:
    """The name in `known` that is most similar to `name`; empty if none is."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(name, known, n=1)), "")
