"""A release as this machine publishes it: its file, its key, its mirrors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from orchestrator.formats.releasefile import load_release, name_of
from orchestrator.release.known import Known
from orchestrator.release.publisher import Publisher
from orchestrator.release.targets.opening import open_target
from tasks.artifacts.store import FileStore
from tasks.reporting import Report
from tasks.settings import Settings
from tasks.trust.policy import release_key


def publisher_of(
    file: Path,
    settings: Settings,
    report: Report,
    say: Callable[[str], object],
    *,
    verify_all: bool = False,
    recover: bool = False,
    dry_run: bool = False,
) -> Publisher:
    """The publisher of the release file; `BadInput` with all that is wrong in it, or its key."""
    document = load_release(file)
    release, folder = document.value, file.absolute().parent
    return Publisher(
        release=release,
        name=name_of(document),
        key=release_key(settings, folder / release.key if release.key else None),
        targets=[open_target(target, folder) for target in release.targets],
        known=Known.of(settings),
        store=FileStore.at(settings.store).root,
        report=report,
        say=say,
        verify_all=verify_all,
        recover=recover,
        dry_run=dry_run,
    )
