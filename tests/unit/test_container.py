"""What containment asks of a host before a build is claimed."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import pytest

from tasks.container import network, seccomp
from tasks.errors import HostUnfit
from tasks.model import Build, HookType, Network, Privileges, Step, StepKind
from tasks.step.launcher import facts
from tests.builds import any_build


def step_of(phase: HookType = HookType.INNER_CHROOT, **changes: Any) -> tuple[Build, Step]:
    step = Step(number=0, kind=StepKind.HOOKS, phase=phase, **changes)
    return any_build(steps=(step,)), step


@pytest.fixture
def no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nothing")


def test_an_isolated_network_needs_programs_of_the_host(no_programs: None) -> None:
    with pytest.raises(HostUnfit, match="`network: isolated` needs slirp4netns, ip, nsenter"):
        facts(*step_of(network=Network.ISOLATED), redis_url="")
    for other in (Network.HOST, Network.NONE):
        network.require(other)


def test_the_addresses_of_redis_are_found_by_name() -> None:
    assert network.addresses_of("rediss://user:word@127.0.0.1:6379/0") == ("127.0.0.1",)
    assert "127.0.0.1" in network.addresses_of("redis://localhost")
    assert network.addresses_of("unix:///run/redis.sock") == ()
    with pytest.raises(HostUnfit, match="cannot resolve nowhere.invalid, the farm's Redis"):
        network.addresses_of("redis://nowhere.invalid:6379/0")


def test_a_filter_is_made_for_each_kind_of_container_and_only_where_one_is_opened() -> None:
    build, step = step_of()
    contained = facts(build, step, redis_url="").filters
    sandboxed = facts(build, replace(step, privileges=Privileges.SANDBOX), redis_url="").filters
    assert contained.keys() == {Privileges.CONTAINED}
    assert sandboxed.keys() == {Privileges.SANDBOX}
    assert contained[Privileges.CONTAINED] != sandboxed[Privileges.SANDBOX]
    for privileges, phase in (
        (Privileges.HOST, HookType.INNER_CHROOT),
        (Privileges.CONTAINED, HookType.OUTER_CHROOT),
    ):
        assert not facts(*step_of(phase, privileges=privileges), redis_url="").filters


def test_a_host_without_libseccomp_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ctypes.util.find_library", lambda name: None if name == "seccomp" else "libc.so.6"
    )
    monkeypatch.delitem(sys.modules, "pyseccomp", raising=False)
    seccomp.program.cache_clear()
    with pytest.raises(HostUnfit, match="libseccomp, which is not installed") as raised:
        facts(*step_of(), redis_url="")
    assert "libseccomp2" in raised.value.hint
