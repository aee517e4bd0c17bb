"""A hostile seed, whose `bash` tries each way out of `ways.py` before it does its work."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.demo.seed import make_rootfs
from tasks.model import HookType, Network, Privileges
from tests.farmer import Farmer
from tests.security.ways import SHARED_MEMORY_KEY, WAYS, Way

pytestmark = [
    pytest.mark.root,
    pytest.mark.usefixtures("can_isolate"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="the ways are x86-64's"),
]

HOSTILE_BASH = """#!/bin/bash.real
export LC_ALL=C; set -o pipefail
for way in /ways/*; do
    said=$(bash.real "$way" 2>&1 < /dev/null | tr '\\n' ' ') && code=out || code=refused
    IFS= read -r name < "$way"
    echo "$code: ${name#\\# }: $said"
done
exec /bin/bash.real "$@"
"""


def make_hostile_seed(folder: Path, ways: tuple[Way, ...]) -> Path:
    """The seed of the demonstration, with Perl, and with such a bash in place of its own."""
    rootfs = folder / "hostile"
    make_rootfs(rootfs)
    add_program(rootfs, "perl")
    (rootfs / "bin/bash").rename(rootfs / "bin/bash.real")
    (rootfs / "bin/sh").unlink()
    (rootfs / "bin/sh").symlink_to("bash.real")
    (rootfs / "bin/bash").write_text(HOSTILE_BASH)
    (rootfs / "bin/bash").chmod(0o755)
    (rootfs / "ways").mkdir()
    for number, way in enumerate(ways):
        (rootfs / f"ways/{number:03}").write_text(f"# {way.name}\n{way.script}\n")
    tarball = folder / "hostile.tar"
    subprocess.run(["tar", "-C", rootfs, "-cf", tarball, "."], check=True)
    shutil.rmtree(rootfs)
    return tarball


def add_program(rootfs: Path, name: str) -> None:
    program = shutil.which(name)
    if not program:
        pytest.skip(f"needs {name}")
    shutil.copy(program, rootfs / "bin" / name)
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for word in said.split():
        if word.startswith("/") and not (target := rootfs / word.lstrip("/")).exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(word, target)


class Host:
    """What of this machine a hostile seed goes for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.canary = folder / "canary"
        self.canary.write_text("the host's\n")
        self.abstract = f"stagefarm-test-{os.getpid()}"

    def attack(
        self,
        ways: tuple[Way, ...],
        privileges: Privileges,
        network: Network = Network.HOST,
        **variables: str,
    ) -> dict[str, str]:
        """What came of each way, by its name: `out: ...` or `refused: ...`."""
        folder = Path(self.folder, f"{privileges}-{network}-{len(ways)}")
        folder.mkdir()
        farmer = Farmer(folder, make_hostile_seed(folder, ways))
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


@pytest.fixture(scope="module", params=[Privileges.CONTAINED])
def contained(request: pytest.FixtureRequest, host: Host, shared_memory: None) -> dict[str, str]:
    return host.attack(WAYS, request.param)


@pytest.fixture(scope="module")
def real(host: Host, shared_memory: None) -> dict[str, str]:
    """What came of the ways that do no harm, with the host's privileges."""
    return host.attack(tuple(way for way in WAYS if way.real), Privileges.HOST)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_no_way_leads_out_of_a_container(contained: dict[str, str], way: Way) -> None:
    assert contained[way.name].startswith("refused: "), contained[way.name]


@pytest.mark.parametrize("way", [way for way in WAYS if way.real], ids=lambda way: way.name)
def test_a_way_leads_out_with_the_privileges_of_the_host(real: dict[str, str], way: Way) -> None:
    said = real[way.name]
    assert said.startswith("out: ") or "Function not implemented" in said, said
