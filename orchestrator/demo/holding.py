"""A stage that the gate holds: built once more with a setuid program, held, accepted, published."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console

from orchestrator.demo.servers import output_of, run
from tasks.errors import Held
from tasks.model import short_id

PROGRAM = "/bin/tar"
ACCEPTED = timedelta(days=30)


def build_again(specs: Path, seed_url: str, environ: Mapping[str, str]) -> str:
    """Submit one stage once more, where everybody may run PROGRAM as root; returns the build."""
    words = ["--specfile", "jobs/demo/stages.yaml", "--job", "stage3-minimal", "--json"]
    options = ["-o", f"seed_url={seed_url}", "-o", f"setuid=[{PROGRAM}]"]
    (build,) = json.loads(output_of("submit", *words, *options, environ=environ, folder=specs))
    return str(build["id"])


def show_hold(release: Path, build: str, environ: Mapping[str, str], console: Console) -> None:
    """Show that the gate holds the build, accept its finding, and publish it."""
    console.print(f"\n[bold]7[/] {short_id(build)}, where {PROGRAM} is setuid, is held\n")
    output_of("follow", build, environ=environ)
    publish = ["publish", str(release), build]
    run(*publish, environ=environ, code=Held.exit_code)
    (hold,) = json.loads(output_of("gate", "list", str(release), "--json", environ=environ))
    (finding,) = (one for one in hold["findings"] if one["verdict"] == "hold")
    until = (datetime.now(UTC) + ACCEPTED).date()
    because = "the demonstration wants it"
    accept = ["gate", "accept", str(release), finding["digest"][:12]]
    accept += ["--until", str(until), "--because", because]
    console.print(f"\n[bold]8[/] stagefarm {shlex.join(accept)}\n", soft_wrap=True)
    run(*accept, environ=environ)
    run(*publish, environ=environ)
