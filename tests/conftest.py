"""What tests of every kind share."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from orchestrator.demo.seed import make_seed

settings.register_profile(
    "steady", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")  # time is measured by `make bench`, never by a test


@pytest.fixture(scope="session")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tarball of a small root filesystem with bash and coreutils."""
    tarball = tmp_path_factory.mktemp("seed") / "seed.tar"
    make_seed(tarball)
    return tarball


@pytest.fixture(scope="session")
def can_isolate() -> None:
    """Skips where this machine or user can make no namespaces."""
    if os.geteuid():
        pytest.skip("needs root")
    tried = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "true"],
        capture_output=True,
        check=False,
    )
    if tried.returncode:
        pytest.skip(f"needs mount and PID namespaces: {tried.stderr.decode().strip()}")


def mount_points() -> list[str]:
    """Every mount of this namespace, in order."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split()[4] for line in lines]


def device_nodes() -> list[str]:
    """What is in the host's /dev; terminals and the like come and go by themselves."""
    return sorted(path.name for path in Path("/dev").iterdir())


@pytest.fixture
def host_unchanged() -> Iterator[None]:
    """Fails the test that leaves a mount, or touches the host's /dev."""
    before = mount_points(), device_nodes()
    yield
    assert (mount_points(), device_nodes()) == before
