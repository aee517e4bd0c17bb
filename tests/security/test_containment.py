"""A hostile seed, whose `bash` tries each way out of `ways.py` before it does its work."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.model import HookType, Network, Privileges
from tests.farmer import Farmer
from tests.gated import results_of
from tests.net import Machine, network
from tests.security.hostile_seed import make_hostile_machine, make_hostile_seed
from tests.security.ways import (
    HOST_NETWORK,
    INIT_MAY,
    SANDBOX_MAY,
    SHARED_MEMORY_KEY,
    WAYS,
    Way,
)

pytestmark = [
    pytest.mark.root,
    pytest.mark.usefixtures("can_isolate"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="the ways are x86-64's"),
]


class Host:
    """What of this machine a hostile seed goes for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.canary = folder / "canary"
        self.canary.write_text("the host's\n")
        self.abstract = f"stagefarm-test-{os.getpid()}"
        self.redis_url = "redis://127.0.0.1:6379/0"

    def attack(
        self,
        ways: tuple[Way, ...],
        privileges: Privileges,
        network: Network = Network.HOST,
        **variables: str,
    ) -> dict[str, str]:
        """What came of each way, by its name: `out: ...` or `refused: ...`."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        farmer = Farmer(folder, make_hostile_seed(folder, ways))
        farmer.settings = replace(farmer.settings, redis_url=self.redis_url)
        seen = {"CANARY": str(self.canary), "ABSTRACT": self.abstract, **variables}
        printed = farmer.hooks(
            HookType.INNER_CHROOT,
            "echo the work is done",
            privileges=privileges,
            network=network,
            environment=seen,
        )
        assert printed[-1] == "the work is done"
        told = [line.split(": ", 2) for line in printed if line.startswith(("out: ", "refused: "))]
        return {name: f"{code}: {said}" for code, name, said in told}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    return Host(tmp_path_factory.mktemp("host"))


@pytest.fixture(scope="module")
def shared_memory() -> Iterator[None]:
    made = f"shmget({SHARED_MEMORY_KEY}, 4096, 01600)"
    subprocess.run(["perl", "-e", f"defined({made}) or die"], check=True)
    yield
    subprocess.run(["perl", "-e", f"shmctl(shmget({SHARED_MEMORY_KEY}, 1, 0), 0, 0)"], check=True)


@pytest.fixture(scope="module")
def listening(host: Host) -> Iterator[dict[str, str]]:
    """An abstract socket, and a server on every address of this host that stands for Redis."""
    with socket.socket(socket.AF_UNIX) as abstract, socket.socket() as server:
        abstract.bind(f"\0{host.abstract}")
        abstract.listen()
        server.bind(("", 0))
        server.listen()
        yield {"REDIS_PORT": str(server.getsockname()[1]), "HOST_ADDRESS": own_address()}


def own_address() -> str:
    """An address of this machine that others reach it by; loopback where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            any_socket.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(any_socket.getsockname()[0])


@pytest.fixture(scope="module")
def contained(host: Host, shared_memory: None) -> dict[str, str]:
    return host.attack(WAYS, Privileges.CONTAINED)


@pytest.fixture(scope="module")
def real(host: Host, shared_memory: None) -> dict[str, str]:
    """What came of the ways that do no harm, with the host's privileges."""
    return host.attack(tuple(way for way in WAYS if way.real), Privileges.HOST)


@pytest.fixture(scope="module")
def sandboxed(host: Host, shared_memory: None) -> dict[str, str]:
    return host.attack(WAYS, Privileges.SANDBOX)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_a_sandbox_may_make_namespaces_and_no_way_leads_out(
    sandboxed: dict[str, str], way: Way
) -> None:
    expected = "out: " if way.name in SANDBOX_MAY else "refused: "
    assert sandboxed[way.name].startswith(expected), sandboxed[way.name]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_no_way_leads_out_of_a_container(contained: dict[str, str], way: Way) -> None:
    assert contained[way.name].startswith("refused: "), contained[way.name]


@pytest.mark.parametrize("way", [way for way in WAYS if way.real], ids=lambda way: way.name)
def test_a_way_leads_out_with_the_privileges_of_the_host(real: dict[str, str], way: Way) -> None:
    said = real[way.name]
    assert said.startswith("out: ") or "Function not implemented" in said, said


def test_an_init_that_boots_gets_no_further_than_a_sandbox(
    host: Host, shared_memory: None, tmp_path: Path
) -> None:
    farmer = Farmer(tmp_path, make_hostile_machine(tmp_path, WAYS, host.canary))
    boot = results_of(farmer, boot=True)["boot"]
    assert boot.outcome == "passed", boot
    out = set(boot.message.removeprefix("failed units: ").replace("%", " ").split("^")) - {""}
    assert out == SANDBOX_MAY | INIT_MAY


@pytest.mark.parametrize("network", [Network.NONE, Network.ISOLATED])
def test_services_of_the_host_are_out_of_reach(
    host: Host, listening: dict[str, str], network: Network
) -> None:
    found = host.attack(HOST_NETWORK, Privileges.CONTAINED, network, **listening)
    assert found.keys() == {way.name for way in HOST_NETWORK}
    assert not [said for said in found.values() if not said.startswith("refused: ")]


def test_services_of_the_host_are_there_with_the_network_of_the_host(
    host: Host, listening: dict[str, str]
) -> None:
    found = host.attack(HOST_NETWORK, Privileges.CONTAINED, Network.HOST, **listening)
    assert not [said for said in found.values() if not said.startswith("out: ")]


def test_an_isolated_network_leads_beyond_the_host_and_not_to_redis(host: Host) -> None:
    """The farm's Redis and a mirror are other machines: network namespaces around a hub."""
    with network() as net, ExitStack() as stack:
        mirror, redis = net.add("mirror"), net.add("redis")
        for machine in (mirror, redis):
            stack.enter_context(serving(machine))
        host.redis_url = f"redis://{redis.address}:6379/0"
        reach = f'exec 3<> /dev/tcp/{{}}/{PORT} && read -r said <&3 && test "$said" = served'
        ways = tuple(
            Way(name, reach.format(address))
            for name, address in (
                ("mirror", mirror.address),
                ("redis", redis.address),
                ("hub", net.hub.address),
            )
        )
        stack.enter_context(serving(net.hub))
        found = host.attack(ways, Privileges.CONTAINED, Network.ISOLATED)
    assert {name: said.partition(":")[0] for name, said in found.items()} == {
        "mirror": "out",
        "redis": "refused",
        "hub": "refused",
    }


PORT = 6379


@contextmanager
def serving(machine: Machine) -> Iterator[None]:
    """Something that answers on `machine`."""
    code = (
        f"import socket; s = socket.create_server(('', {PORT})); print(flush=True)\n"
        "while True: s.accept()[0].sendall(b'served\\n')"
    )
    words = [*machine.within, sys.executable, "-c", code]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as server:
        assert server.stdout
        server.stdout.readline()
        try:
            yield
        finally:
            server.kill()
