"""A real Debian through every type of hook, and what comes out of the tarball at the end."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from orchestrator.demo.servers import http_server
from tasks.artifacts.gate_tests import ENDING, LIMIT_BYTES, GateTest, Outcome, parse, read
from tasks.artifacts.provenance import verified_beside
from tasks.model import BuildState, HookType, Network, Privileges
from tasks.store.opening import stored_file
from tasks.trust.policy import trust_of
from tests import debian
from tests.farm import Farm
from tests.farmer import Farmer
from tests.redis_server import RedisServer

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.timeout(900),  # debootstrap, through qemu, on a busy machine
    pytest.mark.usefixtures("can_isolate", "host_unchanged"),
]

SPECS = Path(__file__).parents[1] / "data/debian"

ADDED = {
    "stage",
    *(f"stage/{name}" for name in ("before-source", "packages", "one", "two", "three", "fifo")),
    *(f"stage/{name}" for name in ("null", "machine", "number", "architecture")),
}
REMOVED = {"etc/resolv.conf", "srv/everything/file"}
CHANGED = {".", "etc", "srv/everything", "srv/everything/owned", "var/cache"}
UNLINKED = "srv/everything/folder/hardlink"
"""Its other name was removed, so it is now the first of its own."""


@pytest.fixture(scope="module")
def debians(pytestconfig: pytest.Config) -> Path:
    """Where the tarballs are that can be had here, made at the same time."""
    cache = pytestconfig.cache.mkdir("debian")
    wanted = [name for name in ("amd64", "arm64") if debian.can_run(name)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(debian.tarball, cache), wanted))
    return cache


@pytest.fixture
def folder(tmp_path: Path, debians: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A submitter's folder with specfile and hooks, and the seeds served over HTTP."""
    shutil.copytree(SPECS, tmp_path, dirs_exist_ok=True)
    with http_server(debians) as url:
        monkeypatch.setenv("SEEDS_URL", url)
        yield tmp_path


def stagefarm(folder: Path, *words: str, environ: Mapping[str, str] = os.environ) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", *words],
        cwd=folder,
        env={"STAGEFARM_STATE_DIR": str(folder / "state"), "STAGEFARM_XZ_LEVEL": "1", **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def run(folder: Path, job: str, *command: str) -> Path:
    """Build `job` here; gives its tarball."""
    url = f"url={os.environ['SEEDS_URL']}"
    words = [*(command or ("run",)), "--specfile", "stages.yaml", "--job", job, "-o", url, "--json"]
    (artifact,) = json.loads(stagefarm(folder, *words))["artifacts"]
    return Path(artifact["path"])


def test_what_was_there_and_what_hooks_made_is_in_the_tarball(folder: Path, debians: Path) -> None:
    before = debian.unpacked(debian.tarball(debians, "amd64"), folder / "before")
    tarball = run(folder, "stage-zst")
    after = debian.unpacked(tarball, folder / "after")
    assert after.keys() - before.keys() == ADDED
    assert before.keys() - after.keys() - {"etc/resolv.conf"} == REMOVED - {"etc/resolv.conf"}
    assert {
        path for path in before.keys() & after.keys() if before[path] != after[path]
    } == CHANGED | {UNLINKED}
    mode, uid, gid, _, _, first, _, content, *_ = after["stage/two"]
    assert (mode, uid, gid, first, content) == ("-rws--x--x", 1000, 1003, "stage/one", b"data\n")
    assert after["stage/null"][0] == "crw-r--r--"
    assert after["stage/number"][7] == b"3\n"
    assert b"coreutils" in after["stage/packages"][7]  # type: ignore[operator]
    assert (folder / "work/cache/made-by-x86_64").read_text() == "cached\n"
    assert not (folder / "work/rootfs").exists()
    assert not (folder / "work/.stagefarm").exists()
    packages = json.loads((folder / "out/stage-amd64.tar.zst.packages.json").read_text())
    assert "coreutils" in json.dumps(packages)
    tests = parse((folder / "out/stage-amd64.tar.zst.tests.json").read_bytes(), "it")
    assert {test.outcome for test in tests} == {Outcome.PASSED}, tests
    sums = (folder / "out/stage-amd64.tar.zst.sha256").read_text()
    assert sums == (folder / "work/sum-amd64").read_text()


def test_xz_through_the_name_of_mark_devkit_gives_the_same_tree(folder: Path) -> None:
    zst = debian.unpacked(run(folder, "stage-zst"), folder / "zst")
    xz = debian.unpacked(run(folder, "stage-xz", "metro", "run", "--cleanup=true"), folder / "xz")
    assert zst == xz


@pytest.fixture
def farm(folder: Path, seed: Path) -> Iterator[Farm]:
    """A farm of two hosts, one for each architecture."""
    (folder / "farm").mkdir()
    farm = Farm(folder / "farm", seed, RedisServer(folder / "farm/redis"))
    farm.redis.start()
    try:
        farm.worker("amd", "x86-64bit.generic_64")
        farm.worker("arm", "arm-64bit.armv8a")
        yield farm
    finally:
        farm.end()


def test_a_farm_builds_two_architectures_at_once_and_the_same_tree(
    folder: Path, farm: Farm
) -> None:
    if not debian.can_run("arm64"):
        pytest.skip("needs qemu-user-static and binfmt_misc for arm64")
    (folder / "batch.yaml").write_text(BATCH)
    url = f"url={os.environ['SEEDS_URL']}"
    words = ["submit", "--batch", "batch.yaml", "-o", url, "--follow", "--json"]
    stagefarm(folder, *words, environ=farm.environment("tester"))
    records = [farm.ledger.record(build) for build in farm.ledger.builds(10)]
    arm, amd = sorted(records, key=lambda record: record.job)
    assert [(record.host, record.state) for record in (amd, arm)] == [
        ("amd", BuildState.SUCCEEDED),
        ("arm", BuildState.SUCCEEDED),
    ]
    assert max(amd.claimed, arm.claimed) < min(amd.ended, arm.ended), "at the same time"
    (tarball,) = farm.store.glob("**/stage-arm64.tar.zst")
    for build, path in ((arm.id, tarball), (amd.id, *farm.store.glob("**/stage-amd64.tar.zst"))):
        tests = signed_tests(farm, build, path)
        assert {test.outcome for test in tests} == {Outcome.PASSED}, tests
    built = debian.unpacked(tarball, folder / "built")
    assert built["stage/machine"][7] == b"aarch64\n"
    assert built["stage/architecture"][7] == b"arm64\n"
    (tarball,) = farm.store.glob("**/stage-amd64.tar.zst")
    here = debian.unpacked(run(folder, "stage-zst"), folder / "here")
    assert debian.unpacked(tarball, folder / "there") == here


def signed_tests(farm: Farm, build: str, tarball: Path) -> tuple[GateTest, ...]:
    """The results beside `tarball`, which its host signed."""
    settings = farm.settings_of("tester")
    file = stored_file(tarball.as_uri(), settings)
    results = file.sibling(f"{file.name}.{ENDING}")
    signed = verified_beside(file, trust_of(settings), build).result.files[results.name]
    assert hashlib.sha256(results.read(LIMIT_BYTES)).hexdigest() == signed
    return read(results)


BATCH = """
name: two
builds:
- {specfile: stages.yaml, jobs: [stage-zst, stage-arm64]}
"""


PACKAGE = """
mkdir -p /build/{bell,ringer}/DEBIAN /build/ringer/usr/share/bells
for name in bell ringer; do printf 'Package: %s\\nVersion: 1\\nArchitecture: all\\n' $name
    printf 'Maintainer: M <m@example.org>\\nDescription: %s\\n' $name; done > /build/both
head -5 /build/both > /build/bell/DEBIAN/control; tail -5 /build/both > /build/ringer/DEBIAN/control
echo 'interest-noawait /usr/share/bells' > /build/bell/DEBIAN/triggers
cd /build/bell/DEBIAN
printf '#!/bin/sh\\n[ "$1" = triggered ] && echo "$2" > /rung || true\\n' > postinst
chmod 755 postinst; touch /build/ringer/usr/share/bells/one
for name in bell ringer; do dpkg-deb --build /build/$name > /dev/null; done
for name in bell ringer; do dpkg --install /build/$name.deb > /dev/null; done; cat /rung
"""
USERS = """
useradd --create-home builder && chown builder: /srv && su builder -c 'touch /srv/mine'
stat -c %U /srv/mine
"""
SETUID = """
cp /usr/bin/id /usr/local/bin/id && chmod 4755 /usr/local/bin/id
su builder -c '/usr/local/bin/id -u'
"""
CAPABILITY = """
cp /usr/bin/perl /usr/local/bin/binds
perl -e 'my ($file, $name) = ("/usr/local/bin/binds", "security.capability");
    my $bind = pack("I5", 0x02000001, 1 << 10, 0, 0, 0);
    syscall(188, $file, $name, $bind, 20, 0) and die $!'
echo 'use IO::Socket; my %port = (LocalPort => 80, Listen => 1);' > /b.pl
echo 'print IO::Socket::INET->new(%port) ? "bound\\n" : "$!\\n"' >> /b.pl
su builder -c "/usr/local/bin/binds /b.pl"
"""
DEVICE = """
mknod /srv/disk b 8 0 && stat -c %t:%T /srv/disk
head -c 1 /srv/disk 2>&1 | grep -o 'Permission denied'
"""
CHROOT = """
mkdir /jail && cp --parents /bin/true $(ldd /bin/true | grep -o '/[^ ]*') /jail
chroot /jail /bin/true && echo chrooted
"""


@pytest.mark.parametrize("privileges", [Privileges.CONTAINED, Privileges.SANDBOX])
def test_package_managers_and_what_they_need_work_in_a_container(
    tmp_path: Path, pytestconfig: pytest.Config, privileges: Privileges
) -> None:
    seed = debian.tarball(pytestconfig.cache.mkdir("debian"), "amd64")
    work = [PACKAGE, USERS, SETUID, CAPABILITY, CHROOT]
    work += [DEVICE] if privileges is Privileges.CONTAINED else []
    printed = Farmer(tmp_path, seed).hooks(
        HookType.INNER_CHROOT, *work, privileges=privileges, network=Network.NONE
    )
    done = ["/usr/share/bells", "builder", "0"]
    if privileges is Privileges.CONTAINED:
        assert printed == [*done, "bound", "chrooted", "8:0", "Permission denied"]
    else:  # the network is not of its user namespace
        assert printed == [*done, "Permission denied", "chrooted"]
