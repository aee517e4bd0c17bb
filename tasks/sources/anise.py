"""The `anise` source: packages of a Macaroni OS repository, installed by the `anise` program."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tasks import process
from tasks.errors import HostUnfit, SourceFailed
from tasks.model import Line, Source, Stream
from tasks.sources.place import Place


def install(source: Source, rootfs: Path, place: Place) -> None:
    """Install the source's repositories and packages into `rootfs`, as mark-devkit does; anise
    runs in the folder where the build was started. `SourceFailed` says which of its commands
    failed, `HostUnfit` that it is not there."""
    base = ["anise", "--system-target", str(rootfs)]
    if source.anise_config:
        base += ["--config", source.anise_config]
    for arguments in _commands(source):
        _run([*base, *arguments], place)


def _commands(source: Source) -> Iterator[list[str]]:
    yield ["repo", "update"]
    if source.anise_repos:
        yield ["install", "-y", "--skip-config-protect", *source.anise_repos]
    if source.anise_packages:
        yield ["install", "--sync-repos", "-y", "--skip-config-protect", *source.anise_packages]
    yield ["cleanup"]


def _run(argv: list[str], place: Place) -> None:
    def say(text: str, stream: Stream) -> None:
        place.report.line(Line(text=text, hook="anise", stream=stream))

    env = process.standard_environment()
    try:
        code = process.run(argv, on_line=say, env=env, cwd=place.folder)
    except HostUnfit as error:
        raise HostUnfit(
            f"an anise source needs the anise program: {error}",
            "install anise (Macaroni OS) on this machine, or use an http or file source",
        ) from error
    if code:
        raise SourceFailed(f"`{' '.join(argv)}` ended with exit code {code}")
