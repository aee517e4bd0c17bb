"""Completion of names that are in the ledger: quick, and silent when it does not answer."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from tasks.errors import StagefarmError

OFFERED = 500


def complete_build(
    _ctx: click.Context, _param: click.Parameter, start: str
) -> list[CompletionItem]:
    """The newest builds and batches."""
    from orchestrator.farm import open_ledger

    try:
        ledger = open_ledger()
        names = [*ledger.batches(OFFERED), *ledger.builds(OFFERED)]
    except StagefarmError:
        return []
    return [CompletionItem(name) for name in names if name.startswith(start)]


def complete_host(_ctx: click.Context, _param: click.Parameter, start: str) -> list[CompletionItem]:
    from orchestrator.farm import open_ledger
    from tasks.hosts import Hosts

    try:
        hosts = Hosts(open_ledger().connection).all()
    except StagefarmError:
        return []
    return [CompletionItem(host.name) for host in hosts if host.name.startswith(start)]
