"""Makes a build from user input: a specfile, the name of a job, overrides, a time.

Used by every command that builds: `run`, `submit`, `plan` and batches.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from orchestrator.formats.reader import Document
from orchestrator.formats.spec import Specfile, load_specfile
from orchestrator.formats.yaml12 import load, plain
from orchestrator.planning.anise_config import config_problems, farm_problems
from orchestrator.planning.plan import PlanOptions, build_id, plan
from orchestrator.planning.render import Overrides, RenderedJob, merge, render_job
from tasks.errors import BadInput, SpecProblems
from tasks.model import Build, GitInput, StepKind

_MOMENT_HINT = "give it as 2026-11-22, 2026-11-22T14:30:00+01:00, or @seconds since 1970"


def new_id(name: str, now: datetime) -> str:
    """An id for a build of the job `name`, or a batch: unique, with 64 random bits."""
    return build_id(name, f"{now:%Y%m%d}", secrets.token_hex(8))


def render_and_plan(
    specfile: Document[Specfile],
    job: str,
    *,
    overrides: Overrides,
    now: datetime,
    options: PlanOptions,
    folder: Path | None = None,
) -> Build:
    """The build of `job` in `specfile`, with a new id; `folder` is where the command was run
    (default: the current folder). Raises the errors of `render_job` and `plan`, and `SpecProblems`
    for a configuration of anise that cannot be used."""
    rendered = render_job(
        specfile,
        job,
        overrides=merge(dict(overrides), _shown_inputs(options.inputs)),
        now=now,
        folder=folder or here(),
    )
    build = plan(rendered, new_id(job, now), options)
    if StepKind.SOURCE in {step.kind for step in build.steps}:
        _require_anise_config(rendered, farm=options.farm)
    return replace(
        build,
        source_date_epoch=_epoch(os.environ),
        overrides=json.dumps(overrides) if overrides else "",
        now=f"{now.isoformat()} {now.tzname() or ''}".strip(),
    )


def _shown_inputs(inputs: Sequence[GitInput]) -> dict[str, Any]:
    """What templates see of the repositories that a build is made from."""
    shown = {one.name: {"url": one.url, "ref": one.ref, "commit": one.commit} for one in inputs}
    return {"inputs": shown} if shown else {}


def _require_anise_config(rendered: RenderedJob, *, farm: bool) -> None:
    found = [*config_problems(rendered), *(farm_problems(rendered) if farm else ())]
    if found:
        raise SpecProblems(tuple(found))


def render_again(build: Build, inputs: Sequence[GitInput] = ()) -> Build:
    """`build` from its current specfile and hook files, with its options, its `now` and its id;
    they are of `inputs`, if it has any. `BadInput` if they are not on this machine."""
    if not build.now:
        raise BadInput(
            f"{build.id} has no record of how it was rendered", "submit it as a new build"
        )
    if not Path(build.specfile).is_file():
        raise BadInput(
            f"{build.specfile} is not on this machine",
            f"run this where {build.id} was submitted",
        )
    made = render_and_plan(
        load_specfile(Path(build.specfile)),
        build.job,
        overrides=json.loads(build.overrides or "{}"),
        now=moment_of(build),
        folder=Path(build.folder),
        options=PlanOptions(
            farm=True,
            chroot=build.chroot,
            cpu=build.cpu,
            fchroot_debug=build.fchroot_debug,
            batch=build.batch,
            release=build.release,
            variant=build.variant,
            priority=build.priority,
            optional=build.optional,
            timeout_s=build.timeout_s if build.batch else 0.0,
            max_age_s=build.max_age_s,
            gate=any(step.kind is StepKind.GATE for step in build.steps),
            inputs=tuple(inputs),
        ),
    )
    return replace(made, id=build.id, now=build.now, source_date_epoch=build.source_date_epoch)


def here() -> Path:
    """The current folder; `BadInput` if it has been removed."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise BadInput("the current folder no longer exists", "cd to another folder") from None


def moment_of(build: Build) -> datetime:
    """The `now` with which `build` was rendered, with the same zone and its name."""
    text, _, zone = build.now.partition(" ")
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=timezone(found.utcoffset() or timedelta(), zone)) if zone else found


def _epoch(environ: Mapping[str, str]) -> int | None:
    """$SOURCE_DATE_EPOCH: no file of a tarball may be newer (reproducible-builds.org)."""
    given = environ.get("SOURCE_DATE_EPOCH", "")
    return int(_parse_moment(f"@{given}", "SOURCE_DATE_EPOCH").timestamp()) if given else None


def moment(given: str | None, environ: Mapping[str, str], *, what: str = "--now") -> datetime:
    """The value of `now`: `given`, else $SOURCE_DATE_EPOCH (in UTC), else the current time in the
    machine's zone."""
    if given:
        return _parse_moment(given, what)
    if epoch := environ.get("SOURCE_DATE_EPOCH"):
        return _parse_moment(f"@{epoch}", "SOURCE_DATE_EPOCH")
    return datetime.now().astimezone()


def _parse_moment(text: str, what: str) -> datetime:
    try:
        if match := re.fullmatch(r"@?(\d+)", text, re.ASCII):
            return datetime.fromtimestamp(int(match[1]), UTC)
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        raise BadInput(f"{what}: {text.lstrip('@')!r} is not a time", _MOMENT_HINT) from None
    return found if found.tzinfo else found.astimezone()


def parse_overrides(given: Iterable[str]) -> dict[str, Any]:
    """`key=value` texts as a tree of options. Values are typed as in YAML, an empty one is empty
    text; `a.b=1` sets `b` in mapping `a`, and `\\.` is a dot in a name."""
    options: dict[str, Any] = {}
    for item in given:
        name, equals, text = item.partition("=")
        if not equals or not name:
            raise BadInput(f"-o {item}: expected key=value", "such as -o subarch=haswell")
        *outer, last = (part.replace("\\.", ".") for part in re.split(r"(?<!\\)\.", name))
        place = options
        for key in outer:
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                raise BadInput(f"-o {item}: {key!r} already has a value that is not a mapping")
        place[last] = _typed(item, text)
    return options


def _typed(item: str, text: str) -> Any:
    if not text:
        return ""
    try:
        return plain(load(text, "-o"))
    except SpecProblems as error:
        message = f"-o {item}: {error.problems[0].message}"
        raise BadInput(
            message, "values are typed as in YAML; quote text: -o 'key=\"...\"'"
        ) from error
