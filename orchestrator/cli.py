"""The command line: finds the command, catches errors in one place, maps them to exit codes.

Commands are in `orchestrator.commands`, each imported when called, so that `--help` and shell
completion stay fast.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from io import TextIOWrapper
from typing import NoReturn

import click

from orchestrator.commands.options import mark_devkit_options
from orchestrator.display.printable import plain
from tasks import __version__
from tasks.errors import HostUnfit, SpecProblems, StagefarmError, of_system

INTERRUPTED = 130

# Section -> command -> (module:attribute, the help line shown before the module is imported).
SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Look before you build": {
        "diagnose": (
            "orchestrator.commands.diagnose:diagnose",
            "Show a job as its templates render it.",
        ),
        "plan": (
            "orchestrator.commands.plan:plan",
            "Show the steps of a job, and what each would do.",
        ),
        "validate": (
            "orchestrator.commands.validate:validate",
            "Check specfiles, hook files, batches, releases and gates.",
        ),
        "schema": (
            "orchestrator.commands.schema:schema",
            "Print the JSON Schema of a file format, for editors.",
        ),
    },
    "Build on this machine": {
        "run": (
            "orchestrator.commands.run:run",
            "Build one job on this machine, with no server.",
        ),
        "enter": (
            "orchestrator.commands.run:enter",
            "Open a shell in the root filesystem of a build.",
        ),
        "metro": (
            "orchestrator.commands.run:metro",
            "The same as `run`, under mark-devkit's name.",
        ),
        "diff": (
            "orchestrator.commands.artifacts:diff",
            "Show what differs between two tarballs.",
        ),
        "cache": (
            "orchestrator.commands.artifacts:cache",
            "List, verify and prune the seeds and downloads of this machine.",
        ),
    },
    "Build on the farm": {
        "submit": (
            "orchestrator.commands.submit:submit",
            "Submit a job, or a batch of jobs, to the farm.",
        ),
        "schedule": (
            "orchestrator.commands.schedule:schedule",
            "Look at the nights that are due, pause them, run one now.",
        ),
        "status": (
            "orchestrator.commands.status:status",
            "Show builds and batches, or one of them.",
        ),
        "follow": ("orchestrator.commands.follow:follow", "Watch builds until they have ended."),
        "logs": ("orchestrator.commands.logs:logs", "Print a build's log, or follow it."),
        "why": ("orchestrator.commands.status:why", "Say why a build waits, or failed."),
        "cause": (
            "orchestrator.commands.cause:cause",
            "Find the cause of a failure in a log, by rules.",
        ),
        "cancel": ("orchestrator.commands.change:cancel", "Stop builds, or whole batches."),
        "retry": ("orchestrator.commands.change:retry", "Build ended builds again."),
        "fetch": ("orchestrator.commands.fetch:fetch", "Copy tarballs from the farm's store."),
        "rebuild": (
            "orchestrator.commands.rebuild:rebuild",
            "Repeat a build and compare the results.",
        ),
    },
    "Publish": {
        "publish": (
            "orchestrator.commands.publish:publish",
            "Publish stages as a release file says.",
        ),
        "gate": (
            "orchestrator.commands.gate:gate",
            "Judge stages, look at what is held, accept findings.",
        ),
        "release": (
            "orchestrator.commands.release:release",
            "Look at what is published, verify it, roll it back.",
        ),
        "freshness": (
            "orchestrator.commands.freshness:freshness",
            "Show the age of stages against their contracts.",
        ),
        "lineage": (
            "orchestrator.commands.lineage:lineage",
            "Show where a stage comes from, generation by generation.",
        ),
        "report": (
            "orchestrator.commands.report:report",
            "Write a web site about stages and builds.",
        ),
    },
    "Run the farm": {
        "demo": (
            "orchestrator.commands.demo:demo",
            "Run a small farm on this machine.",
        ),
        "keys": (
            "orchestrator.commands.keys:keys",
            "Make keys, and say whom this machine trusts.",
        ),
        "worker": (
            "orchestrator.commands.worker:worker",
            "Build on this machine what is submitted to its queues.",
        ),
        "notify": (
            "orchestrator.commands.notify:notify",
            "Look at what is wrong, test who is told of it.",
        ),
        "workers": ("orchestrator.commands.status:workers", "Show the hosts of the farm."),
        "drain": (
            "orchestrator.commands.change:drain",
            "Let a host finish its builds and take no new ones.",
        ),
        "undrain": (
            "orchestrator.commands.change:undrain",
            "Let a drained host take builds again.",
        ),
        "forget": (
            "orchestrator.commands.change:forget",
            "Remove a host that is gone for good from the farm's list.",
        ),
        "supervisor": (
            "orchestrator.commands.supervisor:supervisor",
            "Requeue the builds of lost hosts.",
        ),
        "ledger": (
            "orchestrator.commands.ledger:ledger",
            "Bring the farm's record of builds to a new version.",
        ),
        "flower": (
            "orchestrator.commands.flower:flower",
            "Show the farm's tasks on a web page.",
        ),
    },
}


ALIASES = {"m": "metro", "me": "metro", "d": "diagnose", "di": "diagnose"}
"""mark-devkit's short names of its commands."""


class LazyGroup(click.Group):
    """A group that imports a command's module only when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for commands in SECTIONS.values() for name in commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = ALIASES.get(cmd_name, cmd_name)
        for commands in SECTIONS.values():
            if name in commands:
                module, _, attribute = commands[name][0].partition(":")
                command: click.Command = getattr(import_module(module), attribute)
                return command
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As in click; for an unknown command the error suggests the nearest one."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            if near := get_close_matches(args[0], self.list_commands(ctx), n=1):
                said = f"{error.format_message()} Did you mean {near[0]!r}?"
                raise click.UsageError(said, ctx) from None
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in SECTIONS.items():
            if not commands:
                continue
            with formatter.section(title):
                formatter.write_dl([(name, line) for name, (_, line) in commands.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 1 a build failed, 2 bad input, 3 this machine lacks something, "
    "4 the farm's Redis does not answer, 5 cancelled, "
    "6 another was quicker, 7 not signed by whom is trusted, 8 held by the gate, 130 interrupted. "
    "Settings: /etc/stagefarm.toml, and STAGEFARM_... variables such as STAGEFARM_REDIS_URL.",
)
@click.version_option(__version__, prog_name="stagefarm")
@mark_devkit_options(hidden=True)
def cli() -> None:
    """Build Linux distribution stage tarballs: one on this machine, or dozens on a farm.

    Specfiles are mark-devkit's, unmodified. Try `stagefarm diagnose job` to see a job rendered,
    `stagefarm run` to build it here, `stagefarm submit --follow` to build it on the farm.
    """


def main() -> NoReturn:
    """Run the command line of this process and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # names may have characters this terminal lacks
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code. The only place where errors are caught."""
    try:
        result = cli.main(arguments, prog_name="stagefarm", standalone_mode=False, color=_color())
        return result if isinstance(result, int) else 0
    except StagefarmError as error:
        for problem in error.problems if isinstance(error, SpecProblems) else (error,):
            _complain(str(problem), problem.hint)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _complain("interrupted", "")
        return INTERRUPTED
    except OSError as error:
        return _refused(error)


def _refused(error: OSError) -> int:
    """The exit code for an error of the system. A closed output pipe is not reported."""
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    _complain(str(of_system(error)), "")
    return HostUnfit.exit_code


def _complain(message: str, hint: str) -> None:
    """Print one error to stderr: `error: ...`, and below it what to do."""
    click.echo(f"{click.style('error:', fg='red', bold=True)} {plain(message)}", err=True)
    if hint:
        click.echo(f"{click.style(' hint:', fg='cyan', bold=True)} {plain(hint)}", err=True)


def _color() -> bool | None:
    """False where colours are turned off (no-color.org), else None: the terminal decides."""
    unwanted = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return False if unwanted else None
