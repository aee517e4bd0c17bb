"""Builds that hang until the test lets them go on, and note outside which attempts began."""

from __future__ import annotations

from tasks.model import Build, Hook, HookType
from tests.farm import Farm
from tests.waiting import eventually

SH = ("/bin/bash", "-c")


def hook(*commands: str, kind: HookType = HookType.INNER_CHROOT, name: str = "work") -> Hook:
    return Hook(name=name, type=kind, commands=commands, entrypoint=SH)


def hanging(farm: Farm, how: str = "exec sleep 600", name: str = "hangs") -> Build:
    """A build whose second step does `how` unless `go` was called."""
    note = f"echo $PWD >> {farm.folder}/notes; test -e {farm.folder}/go || {how}"
    return farm.build_of((hook(note, kind=HookType.OUTER_PRE_CHROOT),), name=name)


def attempts_begun(farm: Farm, build: Build) -> list[str]:
    """The attempts whose second step began, in order; one twice would be in here twice."""
    notes = farm.folder / "notes"
    lines = notes.read_text().splitlines() if notes.exists() else []
    return [line.split(f"{build.id}.")[1].split("/")[0] for line in lines if build.id in line]


def hangs(farm: Farm, build: Build, attempt: int = 1) -> None:
    """Wait until the build hangs in its second step."""
    assert eventually(lambda: str(attempt) in attempts_begun(farm, build), 60.0), farm.logs()


def go(farm: Farm) -> None:
    (farm.folder / "go").touch()


def stop_reading(farm: Farm, queue: str) -> None:
    """Let the workers take nothing from `queue`, once they listen."""
    assert eventually(lambda: farm.app.control.cancel_consumer(queue, reply=True))


def read_again(farm: Farm, queue: str) -> None:
    assert eventually(lambda: farm.app.control.add_consumer(queue, reply=True))
