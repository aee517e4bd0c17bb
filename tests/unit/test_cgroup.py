"""Limits in control groups of version 2, on a tree of files that stands for the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.host import cgroup
from tasks.model import StepLimits

LIMITS = StepLimits(memory_bytes=2**30, cpu_weight=50, pids=64)


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The group of a service, whose worker runs in a group of its own in it."""
    (tmp_path / "service/worker").mkdir(parents=True)
    monkeypatch.setattr(cgroup, "MOUNT", tmp_path)
    monkeypatch.setattr(cgroup, "_memberships", lambda: [([], "service/worker")])
    monkeypatch.setattr(cgroup, "REMOVE_S", 0.0)
    return tmp_path / "service"


def test_each_limit_is_written_to_one_group_beside_the_worker(service: Path) -> None:
    (service / "cgroup.subtree_control").write_text("cpu memory pids\n")
    with cgroup.limited(LIMITS) as group:
        (folder,) = group.folders
        assert folder.parent == service
        written = {path.name: path.read_text() for path in folder.iterdir()}
        assert written == {"memory.max": str(2**30), "cpu.weight": "50", "pids.max": "64"}
        assert group.unmet == ()
        assert group.enter[-2:] == ("1", str(folder / "cgroup.procs"))


def test_what_the_group_does_not_have_is_not_kept(service: Path) -> None:
    (service / "cgroup.subtree_control").write_text("pids\n")
    with cgroup.limited(LIMITS) as group:
        assert group.unmet == ("memory", "cpu")
        assert [path.name for path in group.folders[0].iterdir()] == ["pids.max"]


def test_without_control_groups_nothing_is_made(service: Path) -> None:
    with cgroup.limited(LIMITS) as group:
        assert (group.folders, group.enter) == ((), ())


def test_kills_for_memory_are_counted_in_the_group(service: Path) -> None:
    (service / "cgroup.subtree_control").write_text("memory pids\n")
    (service / "memory.events").write_text("low 0\noom 1\noom_kill 1\noom_group_kill 0\n")
    with cgroup.limited(LIMITS) as group:
        assert not group.ran_out_of_memory()
        (service / "memory.events").write_text("low 0\noom 3\noom_kill 2\noom_group_kill 0\n")
        assert group.ran_out_of_memory()


def test_a_group_that_systemd_has_left_to_the_service_gets_its_controllers(
    service: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (service / "cgroup.subtree_control").write_text("")
    monkeypatch.setattr("os.getxattr", lambda path, name: b"1")
    with cgroup.limited(StepLimits(pids=3)) as group:
        assert group.unmet == ()
    assert (service / "cgroup.subtree_control").read_text() == "+pids"


@pytest.mark.parametrize("mount", ["", "unified/"])
def test_an_init_gets_an_empty_group_which_goes_with_those_in_it(
    service: Path, tmp_path: Path, mount: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup, "REMOVE_S", 20.0)
    own = tmp_path / mount / "service/worker"
    own.mkdir(parents=True, exist_ok=True)
    (own / "cgroup.subtree_control").write_text("")
    with cgroup.limited(StepLimits()) as group, cgroup.place_for_init(group) as place:
        assert Path(place).parent == own
        assert list(Path(place).iterdir()) == []
        (Path(place) / "system.slice/a.service").mkdir(parents=True)
    assert [path.name for path in own.iterdir()] == ["cgroup.subtree_control"]


def test_the_group_of_an_init_is_within_that_of_its_step(service: Path, tmp_path: Path) -> None:
    step = tmp_path / "step"
    step.mkdir()
    (step / "cgroup.subtree_control").write_text("")
    with cgroup.place_for_init(cgroup.Group((step,), (), None, 0)) as place:
        assert Path(place).parent == step


def test_a_machine_without_groups_of_version_2_has_none_for_an_init(service: Path) -> None:
    with cgroup.limited(StepLimits()) as group, cgroup.place_for_init(group) as place:
        assert place == ""
