"""`stagefarm demo`: a farm on this machine that builds the shipped nightly batch."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Run a small farm on this machine.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo-output"),
    show_default=True,
    help="Folder for all files; those of an earlier demonstration are removed.",
)
@click.option("--hold", is_flag=True, help="Keep the farm running until Enter is pressed.")
def demo(folder: Path, *, hold: bool) -> None:
    """Run a small farm: a Redis, two hosts, Flower, and a nightly batch of six builds.

    Everything runs on loopback and stops with the command. As an ordinary user it runs in a user
    namespace, where the kernel allows that.

    \b
    Example:
      stagefarm demo --hold        open Flower while it runs
    """
    from orchestrator.demo.show import become_root, show

    become_root()
    show(folder, hold=hold)
