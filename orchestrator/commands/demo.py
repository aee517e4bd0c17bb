"""`stagefarm demo`: a farm on this machine that builds the shipped nightly batch."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Show a farm at work, on this machine alone.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("demo-output"),
    show_default=True,
    help="Where everything goes; what an earlier demonstration left there is removed.",
)
@click.option("--hold", is_flag=True, help="Leave the farm up until Enter is pressed.")
def demo(folder: Path, *, hold: bool) -> None:
    """Show a farm at work: its own Redis, two hosts, Flower, and a nightly batch of six builds.

    Everything runs on loopback and ends with the command. As an ordinary user it runs in a user
    namespace, where the kernel allows that.

    \b
    Example:
      stagefarm demo --hold        and look at Flower meanwhile
    """
    from orchestrator.demo.show import become_root, show

    become_root()
    show(folder, hold=hold)
