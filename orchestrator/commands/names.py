"""Names of builds, batches, hosts and queues: which are valid, and shell completion from the
ledger, which offers nothing if Redis does not answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from tasks.errors import BadInput, StagefarmError

if TYPE_CHECKING:
    from tasks.ledger.builds import Ledger

OFFERED = 500


def require_names(names: Iterable[str]) -> None:
    """`BadInput` if one of `names` is not valid for a host or a queue."""
    for name in names:
        if not name or set(name) & set(" ,@:/"):
            raise BadInput(
                f"{name!r} is not a valid name of a queue or host", "such as x86-64bit.generic_64"
            )


def complete_build(
    _ctx: click.Context, _param: click.Parameter, start: str
) -> list[CompletionItem]:
    """The newest builds."""
    return _offered(lambda ledger: ledger.builds(OFFERED), start)


def complete_tarball(
    ctx: click.Context, param: click.Parameter, start: str
) -> list[CompletionItem]:
    """Files, and the newest builds."""
    return [CompletionItem(start, type="file"), *complete_build(ctx, param, start)]


def complete_name(_ctx: click.Context, _param: click.Parameter, start: str) -> list[CompletionItem]:
    """The newest batches and builds."""
    return _offered(lambda ledger: [*ledger.batches(OFFERED), *ledger.builds(OFFERED)], start)


def complete_host(_ctx: click.Context, _param: click.Parameter, start: str) -> list[CompletionItem]:
    from tasks.ledger.hosts import Hosts

    return _offered(lambda ledger: [host.name for host in Hosts(ledger.connection).all()], start)


def _offered(names: Callable[[Ledger], Iterable[str]], start: str) -> list[CompletionItem]:
    from orchestrator.farm.lookup import open_ledger

    try:
        return [
            CompletionItem(name)
            for name in names(open_ledger(reading=True))
            if name.startswith(start)
        ]
    except StagefarmError:
        return []
