"""What tests of every kind share."""

from __future__ import annotations

import ctypes
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


def pytest_configure(config: pytest.Config) -> None:
    """Give this process, one of several that run tests, a mount namespace of its own: what it
    mounts shows in no other, and a mount that is left is its own."""
    if os.geteuid() == 0 and unshare_mounts() == 0:
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long, so that the processes that run tests end together."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def unshare_mounts() -> int:
    """unshare(2) with CLONE_NEWNS, which Python has only since 3.12."""
    return int(ctypes.CDLL(None, use_errno=True).unshare(0x20000))


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


def devices() -> tuple[set[str], set[str]]:
    """What is in the host's /dev: all names, and those that are no device."""
    found = list(Path("/dev").iterdir())
    files = {path.name for path in found if not (path.is_char_device() or path.is_block_device())}
    return {path.name for path in found}, files


@pytest.fixture
def host_unchanged() -> Iterator[None]:
    """Fails the test that leaves a mount, or touches the host's /dev."""
    mounts, (names, files) = mount_points(), devices()
    yield
    names_after, files_after = devices()
    assert mount_points() == mounts
    assert names <= names_after, "devices are missing"  # the kernel may add some at any time
    assert files_after <= files, "files were made in /dev"
