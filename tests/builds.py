"""Builds for tests that need one, and hardly mind which."""

from __future__ import annotations

from dataclasses import replace

from tasks.model import Build, Output, Source, SourceType


def any_build(**changes: object) -> Build:
    """A build with nothing special about it save `changes`."""
    build = Build(
        id="job-1",
        job="job",
        specfile="/s.yaml",
        folder="/",
        source=Source(type=SourceType.FILE, path="/seed.tar"),
        output=Output(name="a.tar", dir="/out"),
        steps=(),
        workspacedir="/w",
        arch="x86-64bit",
        subarch="generic_64",
    )
    return replace(build, **changes)  # type: ignore[arg-type]
