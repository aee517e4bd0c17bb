"""The `anise` source: packages of a Macaroni OS repository, installed by the `anise` program."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tasks.errors import HostUnfit, SourceFailed
from tasks.host import process
from tasks.model import Line, Source, Stream
from tasks.sources.destination import Destination


def install(source: Source, rootfs: Path, destination: Destination) -> None:
    """Install the source's repositories and packages into `rootfs`, as mark-devkit does; anise
    runs in the folder where the build was started. `SourceFailed` says which of its commands
    failed, `HostUnfit` that it is not there."""
    base = ["anise", "--system-target", str(rootfs)]
    if source.anise_config:
        base += ["--config", source.anise_config]
    for arguments in _commands(source):
        _run([*base, *arguments], destination)


def _commands(source: Source) -> Iterator[list[str]]:
    yield ["repo", "update"]
    if source.anise_repos:
        yield ["install", "-y", "--skip-config-protect", *source.anise_repos]
    if source.anise_packages:
        yield ["install", "--sync-repos", "-y", "--skip-config-protect", *source.anise_packages]
    yield ["cleanup"]


def _run(argv: list[str], destination: Destination) -> None:
    def say(text: str, stream: Stream) -> None:
        destination.report.line(Line(text=text, hook="anise", stream=stream))

    env = process.standard_environment()
    try:
        code = process.run(argv, on_line=say, env=env, cwd=destination.folder)
    except HostUnfit as error:
        raise HostUnfit(
            f"an anise source needs the anise program: {error}",
            "install anise (Macaroni OS) on this machine, or use an http or file source",
        ) from error
    if code:
        raise SourceFailed(f"`{' '.join(argv)}` ended with exit code {code}")
