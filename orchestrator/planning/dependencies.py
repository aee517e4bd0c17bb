"""Finds builds of a batch that start from the output of other builds.

If the source of a job is the file that another build of the batch makes, as with `run` of one after
`run` of the other, the farm builds them in that order, and takes the tarball from its store.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from os.path import normpath

from tasks.errors import Problem, SpecProblems
from tasks.model import Build, SourceType


def chained(builds: Sequence[Build]) -> list[Build]:
    """`builds` with `after` set, each after the build it starts from. `SpecProblems` if several
    builds make a source, or builds wait for each other."""
    makers: dict[str, list[Build]] = defaultdict(list)
    for build in builds:
        makers[_makes(build)].append(build)
    named = [_named(build, makers) for build in builds]
    try:
        return [build for level in levels(named) for build in level]
    except CycleError as error:
        raise SpecProblems((_cycle(named, error.args[1]),)) from None


def levels(builds: Sequence[Build]) -> Iterator[list[Build]]:
    """First the builds that start from no other of `builds`, then those that start from these, and
    so on; `CycleError` if there is a cycle."""
    known = {build.id: build for build in builds}
    sorter = TopologicalSorter({name: {one.after} & known.keys() for name, one in known.items()})
    sorter.prepare()
    while sorter.is_active():
        ready = set(sorter.get_ready())
        yield [build for build in builds if build.id in ready]
        sorter.done(*ready)


def _named(build: Build, makers: dict[str, list[Build]]) -> Build:
    path = normpath(build.source.path)
    if build.source.type is not SourceType.FILE or path == _makes(build):
        return build  # in the second case, its own output of an earlier run
    match makers.get(path, []):
        case []:
            return build
        case [maker]:
            return replace(build, after=maker.id)
        case several:
            hint = "put the options of the matrix into output.name"
            message = f"{len(several)} builds of the batch make its source {path}"
            raise SpecProblems((_problem(build, message, hint),))


def _makes(build: Build) -> str:
    return normpath(f"{build.output.dir}/{build.output.name}")


def _cycle(builds: Sequence[Build], ids: Sequence[str]) -> Problem:
    jobs = {build.id: build.job for build in builds}
    chain = " from ".join(jobs[name] for name in ids)
    first = next(build for build in builds if build.id == ids[0])
    return _problem(first, f"jobs start from each other: {chain}", "give one another source")


def _problem(build: Build, message: str, hint: str) -> Problem:
    return Problem(build.specfile, 0, 0, f"job {build.job}", message, hint)
