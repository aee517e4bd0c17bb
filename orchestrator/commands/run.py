"""`stagefarm run`, `metro run` and `enter`: one build on this machine."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from orchestrator.commands.options import (
    AliasedGroup,
    gate_option,
    job_options,
    mark_devkit_options,
)
from tasks.model import ChrootKind

F = TypeVar("F", bound=Callable[..., Any])


def switch(name: str, *, default: bool = False, help_text: str) -> Callable[[F], F]:
    """An on-off option as mark-devkit takes them: `--name`, `--name=true`, `--name=false`."""
    return click.option(
        f"--{name}",
        is_flag=False,
        flag_value="true",
        type=bool,
        default=default,
        show_default=True,
        metavar="[=true|false]",
        help=help_text,
    )


chroot_option = click.option(
    "--chroot",
    type=click.Choice([kind.value for kind in ChrootKind]),
    default=ChrootKind.NATIVE.value,
    show_default=True,
    help="How to enter the root filesystem.",
)

cpu_option = click.option(
    "--cpu", default="", metavar="NAME", help="CPU model for QEMU, for foreign architectures."
)


@click.command(short_help="Build one job on this machine, with no server.")
@job_options
@mark_devkit_options()
@switch("cleanup", default=True, help_text="Remove the root filesystem when the build ends.")
@switch("skip-source-phase", help_text="Use the root filesystem that an earlier run left.")
@switch("skip-hooks-phase", help_text="Run no hooks.")
@switch("skip-packer-phase", help_text="Make no tarball.")
@chroot_option
@cpu_option
@gate_option
@switch("fchroot-debug", help_text="With --chroot=fchroot: turn on its debug output.")
@switch("quiet", help_text="Hide the output of hooks.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print the summary as JSON, also of a failed build; the rest to stderr.",
)
def run(
    specfile: Path,
    job: str,
    overrides: tuple[str, ...],
    now: str | None,
    *,
    cleanup: bool,
    quiet: bool,
    as_json: bool,
    **plan_flags: Any,
) -> None:
    """Build one job on this machine, as root, with no server.

    The root filesystem is made in the job's `workspacedir`, the tarball in its `output.dir`.
    The output of hooks is shown as they run. Ctrl-C stops everything and cleans up.

    \b
    Examples:
      stagefarm run --specfile jobs/stages.yaml --job stage3-minimal
      stagefarm run --specfile F --job J --cleanup=false      keep the root filesystem
      stagefarm run --specfile F --job J --gate               test the stage, too
      stagefarm enter --specfile F --job J                    open a shell in it
      stagefarm run --specfile F --job J --cleanup=false --skip-source-phase
    """
    from orchestrator.display.terminal import Terminal
    from orchestrator.formats.spec import load_specfile
    from orchestrator.local import run_here
    from orchestrator.planning.prepare import moment, parse_overrides, render_and_plan
    from tasks import settings

    build = render_and_plan(
        load_specfile(specfile),
        job,
        overrides=parse_overrides(overrides),
        now=moment(now, os.environ),
        options=_plan_options(**plan_flags),
    )
    _stop_on_signals()
    with Terminal(build, quiet=quiet, json=as_json) as terminal:
        summary = run_here(
            build, settings.current(), terminal, keep=not cleanup, on_step=terminal.step
        )
    if as_json:
        click.echo(summary.as_json())
    if summary.cause and summary.cause.rule and not as_json:
        terminal.cause(summary.cause)
    if summary.failure:
        raise summary.failure
    if not as_json:
        terminal.summary([(t.step.title, t.seconds) for t in summary.steps], summary.artifacts)


@click.group(
    cls=AliasedGroup,
    aliases={"r": "run", "j": "run"},
    short_help="The same as `run`, under mark-devkit's name.",
)
@mark_devkit_options(hidden=True)
def metro() -> None:
    """Commands under mark-devkit's names: a script only has to change the program's name."""


metro.add_command(run, "run")


@click.command(short_help="Open a shell in the root filesystem of a build.")
@job_options
@chroot_option
@cpu_option
@click.argument("command", nargs=-1)
def enter(
    specfile: Path,
    job: str,
    overrides: tuple[str, ...],
    now: str | None,
    chroot: str,
    cpu: str,
    command: tuple[str, ...],
) -> None:
    """Open a shell, or run COMMAND, in the root filesystem that `run --cleanup=false` kept.

    It has the same variables and binds as an inner-chroot hook of the job.

    \b
    Examples:
      stagefarm enter --specfile jobs/stages.yaml --job stage3-minimal
      stagefarm enter --specfile F --job J -- emerge --info
    """
    from orchestrator.formats.spec import load_specfile
    from orchestrator.planning.prepare import moment, parse_overrides, render_and_plan
    from tasks import settings
    from tasks.rootfs.workspace import Workspace
    from tasks.step.shell import exec_shell

    build = render_and_plan(
        load_specfile(specfile),
        job,
        overrides=parse_overrides(overrides),
        now=moment(now, os.environ),
        options=_plan_options(chroot=chroot, cpu=cpu, skip_source_phase=True),
    )
    found = settings.current()
    workspace = Workspace.here(build, found)
    exec_shell(build, workspace, command or ("/bin/bash", "-l"), found.redis_url)


def _plan_options(
    *,
    chroot: str,
    cpu: str = "",
    fchroot_debug: bool = False,
    skip_source_phase: bool = False,
    skip_hooks_phase: bool = False,
    skip_packer_phase: bool = False,
    gate: bool = False,
) -> Any:
    from orchestrator.planning.plan import PlanOptions

    return PlanOptions(
        chroot=ChrootKind(chroot),
        cpu=cpu,
        fchroot_debug=fchroot_debug,
        skip_source=skip_source_phase,
        skip_hooks=skip_hooks_phase,
        skip_packer=skip_packer_phase,
        gate=gate,
    )


def _stop_on_signals() -> None:
    """Let TERM and HUP stop a build as Ctrl-C does; signals during cleanup are ignored."""

    def stop(*_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
