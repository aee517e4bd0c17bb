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
from tests.farm import Farm, processes_with
from tests.fault_proxy import Proxy, proxying
from tests.redis_server import RedisServer
from tests.s3_servers import SERVERS, S3Server
from tests.waiting import eventually

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


@pytest.fixture
def farm(tmp_path: Path, seed: Path, can_isolate: None, host_unchanged: None) -> Iterator[Farm]:
    """A farm with a Redis and nothing else yet; every process ends with the test."""
    farm = Farm(tmp_path, seed, RedisServer(tmp_path / "redis"))
    farm.redis.start()
    try:
        yield farm
    finally:
        farm.end()
        assert eventually(lambda: not processes_with(str(tmp_path))), "processes are left"


@pytest.fixture(scope="module", params=SERVERS)
def s3_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[S3Server]:
    with SERVERS[request.param](tmp_path_factory.mktemp(request.param)) as server:
        yield server


@pytest.fixture(scope="module")
def s3_line(s3_server: S3Server) -> Iterator[Proxy]:
    with proxying(s3_server.endpoint) as proxy:
        yield proxy


@pytest.fixture
def s3_proxy(s3_line: Proxy) -> Proxy:
    """What is between client and server; without faults yet."""
    s3_line.faults.clear()
    s3_line.lines.clear()
    return s3_line
