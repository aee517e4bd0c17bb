"""Tests of a stage on its build host: a real Debian passes them all, and fails the one that it
should where one thing in it is wrong."""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from tasks.artifacts.gate_tests import Outcome
from tasks.host import cgroup
from tasks.model import Bind, ChrootKind, Privileges, SmokeTest
from tests import debian
from tests.farmer import Farmer
from tests.gated import PACK, SOURCE, a_test, named, results_of, stage

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("can_isolate", "host_unchanged"),
]

PASSED, FAILED, SKIPPED = Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED
UNITS = "/etc/systemd/system"
UNBOOTED = set(SmokeTest) - {SmokeTest.BOOT}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Farmer:
    """Builds of a real Debian that can be booted."""
    seed = debian.tarball(pytestconfig.cache.mkdir("debian"), "amd64")
    return Farmer(tmp_path_factory.mktemp("real"), seed)


@pytest.fixture
def small(tmp_path: Path, seed: Path) -> Farmer:
    return Farmer(tmp_path, seed)


def test_a_real_debian_passes_every_test_and_boots(real: Farmer) -> None:
    tests = results_of(real, a_test("test -e /etc/debian_version"), boot=True)
    assert named(tests, PASSED) == {*SmokeTest, "mine"}, tests
    assert {test.message for test in tests.values()} == {""}
    assert all(test.duration_s > 0 for test in tests.values())
    assert list(tests) == [*SmokeTest, "mine"]
    groups = Path("/sys/fs/cgroup").rglob(f"{cgroup.PREFIX}{os.getpid()}-*")
    assert list(groups) == [], "a control group is left"


LOSE_COMPAT = """
sed -i 's/^group:.*/group: compat [NOTFOUND=return] files/' /etc/nsswitch.conf
rm /lib/x86_64-linux-gnu/libnss_compat* && ldconfig
"""
SPOILED = {
    "a profile that exits": ("echo 'exit 3' > /etc/profile", "shell", "`sh -lc true` exited"),
    "a package that is half configured": (
        r"sed -i '0,/^Status: .*/s//Status: install ok half-configured/' /var/lib/dpkg/status",
        *("package-manager", "`dpkg --audit`: .*(?i:configur)"),
    ),
    "a status file of dpkg that is damaged": (
        "echo Package >> /var/lib/dpkg/status",
        *("package-manager", "dpkg"),
    ),
    "a dependency that is missing": (
        r"sed -i '0,/^Depends: /s//Depends: nothing-of-the-kind, /' /var/lib/dpkg/status",
        *("package-manager", "`apt-get .* check` exited with 100: .*nothing-of-the-kind"),
    ),
    "no dpkg": ("rm /usr/bin/dpkg", "package-manager", "has the database of dpkg, but not"),
    "no root": ("sed -i '/^root:/d' /etc/passwd", "user-database", "`getent passwd root` exited"),
    "a line of passwd that is damaged": (
        "echo 'daemon:x:1' >> /etc/passwd",
        *("user-database", "`pwck -r -q` exited with 2"),
    ),
    "a group that is there twice": (
        "echo 'games:x:60:' >> /etc/group",
        *("user-database", "`grpck -r -q` exited with 2"),
    ),
    "a name service without its library": (
        "sed -i 's/^passwd:.*/passwd: files ldap/' /etc/nsswitch.conf",
        *("name-service", "names ldap, whose library cannot be loaded"),
    ),
    "a library of libc's name service that is lost": (
        LOSE_COMPAT,
        *("name-service", "names compat, whose library"),
    ),
    "a localhost that is a comment": (
        "echo '#127.0.0.1 localhost' > /etc/hosts",
        *("name-service", "`getent hosts localhost` exited with 2"),
    ),
    "no ldconfig": ("rm /sbin/ldconfig*", "ldconfig", "but no ldconfig"),
    "no cache": ("rm /etc/ld.so.cache", "ldconfig", "/etc/ld.so.cache is missing"),
    "a cache that is old": (
        "cp /lib/x86_64-linux-gnu/libm.so.6 /usr/local/lib/libnew.so.1",
        *("ldconfig", "does not match the libraries: libm.so.6"),
    ),
    "a locale that was not made": (
        "echo LANG=xx_YY.UTF-8 > /etc/default/locale",
        *("locale", "sets LANG=xx_YY.UTF-8, which cannot be used"),
    ),
}


@pytest.mark.parametrize("what", SPOILED)
def test_what_is_wrong_with_a_stage_fails_one_test(real: Farmer, what: str) -> None:
    spoil, name, message = SPOILED[what]
    tests = results_of(real, spoil=spoil)
    assert named(tests, FAILED) == {name}, tests
    assert named(tests, PASSED) == UNBOOTED - {name}
    assert re.search(message, tests[name].message), tests[name].message


BROKEN_UNIT = f"""
printf '[Service]\\nType=oneshot\\nExecStart=/bin/false\\n' > {UNITS}/broken.service
mkdir -p {UNITS}/multi-user.target.wants
ln -s ../broken.service {UNITS}/multi-user.target.wants/
"""


LIKE_OPENRC = r"""
printf '#!/bin/sh\nmkdir -p /run/openrc/rc.starting; echo default > /run/openrc/softlevel\n' > /init
printf 'sleep 1; rmdir /run/openrc/rc.starting; exec sleep 600\n' >> /init
chmod 755 /init && ln -sf /init /sbin/init && ln -s /bin/true /bin/rc-status
"""
"""An init that leaves what OpenRC leaves."""


@pytest.mark.parametrize(
    ("spoil", "outcome", "message"),
    [
        (BROKEN_UNIT, PASSED, "failed units: broken.service"),
        (f"ln -s /gone {UNITS}/default.target", FAILED, "did not reach its default target"),
        ("rm /sbin/init && ln -s /bin/true /sbin/init && ln -s /bin/true /bin/rc-status", FAILED,
         "its init exited"),
        (LIKE_OPENRC, PASSED, ""),
        ("rm /sbin/init", SKIPPED, "the stage has no init"),
        ("rm /sbin/init && cp /bin/sleep /sbin/init", SKIPPED, "neither systemd nor OpenRC"),
    ],
)  # fmt: skip
def test_a_stage_that_does_not_boot_is_told(
    real: Farmer, spoil: str, outcome: Outcome, message: str
) -> None:
    boot = results_of(real, spoil=spoil, boot=True)[SmokeTest.BOOT]
    assert boot.outcome is outcome, boot
    assert message in boot.message


def test_tests_change_nothing_of_what_was_packed_nor_each_other(
    real: Farmer, tmp_path: Path
) -> None:
    spoil_all = (
        "touch /new; rm -rf /bin /usr/bin/dpkg /etc/passwd; chmod 0 /root; : > /etc/ld.so.cache; "
        'for file in "$MARKDEVKIT_OUTPUTDIR/$MARKDEVKIT_OUTPUTNAME"*; do echo >> "$file"; done; '
        "kill -9 -1"
    )
    shown = "test -e /bin/sh -a -s /etc/ld.so.cache -a ! -e /new && grep -q ^root: /etc/passwd"
    (tmp_path / "fixture").write_text("of the host\n")
    bind = Bind(source=str(tmp_path), target="/mnt")
    hooks = (
        a_test(spoil_all, "true", name="hostile"),
        a_test(shown, "grep host /mnt/fixture", name="next", chroot_binds=(bind,)),
        a_test("exit 3", "echo not reached", name="fails"),
        a_test("sleep 600", name="hangs", timeout_s=0.5),
        a_test("true", name="no program", entrypoint=("/bin/none",)),
    )
    with stage(real, *hooks) as made:
        packed = made.do(SOURCE, PACK)
        files = {Path(one.path): one for one in (*packed.artifacts, *packed.sidecars)}
        before = {path: path.read_bytes() for path in files}
        tests = made.tests()
        assert {path: path.read_bytes() for path in files} == before
        assert made.do(PACK).artifacts == packed.artifacts, "the tree is as it was"
        assert not any(Path(made.workspace.home, "gate").iterdir())
    assert named(tests, FAILED) == {"hostile", "fails", "hangs", "no program"}
    assert named(tests, PASSED) == {*UNBOOTED, "next"}
    assert "exited with 3" in tests["fails"].message
    assert "took longer than its time limit of 0.5 s" in tests["hangs"].message
    assert "not reached" not in made.farmer.log.printed


def test_a_stage_is_tested_without_a_network_and_contained_whatever_its_job_may(
    real: Farmer,
) -> None:
    hooks = (
        a_test('test "$(ls /sys/class/net)" = lo', name="network"),
        a_test("! mount -t tmpfs none /mnt", name="mount"),
        a_test("test ! -e /var/cache/packages", name="binds of the job"),
    )
    with stage(real, *hooks, chroot=ChrootKind.FCHROOT, privileges=Privileges.HOST) as made:
        made.do(SOURCE)
        tests = made.tests()
    assert named(tests, PASSED) == {*UNBOOTED, "network", "mount", "binds of the job"}


def test_what_a_stage_does_not_have_is_skipped(small: Farmer, tmp_path: Path) -> None:
    tests = results_of(small, boot=True)
    assert named(tests, PASSED) == {"shell", "user-database"}
    assert named(tests, SKIPPED) == set(SmokeTest) - {"shell", "user-database"}
    assert tests["package-manager"].message == (
        "the stage has no package manager that this test knows"
    )
    small.seed = archive(tmp_path / "empty.tar", {"etc/motd": b"hello\n"})
    tests = results_of(small, boot=True)
    assert named(tests, SKIPPED) == set(SmokeTest)
    assert tests["shell"].message == "the stage has no shell"


def test_a_stage_that_no_container_can_show_fails_its_tests_not_the_build(
    small: Farmer, tmp_path: Path
) -> None:
    small.seed = archive(tmp_path / "odd.tar", {"bin/sh": b"#!", "dev": b"no folder"})
    tests = results_of(small, a_test("true"))
    assert named(tests, FAILED) == {"shell", "mine"}
    assert "cannot create /dev in the root filesystem" in tests["mine"].message


def test_what_this_host_cannot_run_is_skipped(small: Farmer, tmp_path: Path) -> None:
    m68k = b"\x7fELF\x01\x02\x01" + bytes(9) + b"\0\x02\0\x04" + bytes(64)
    small.seed = archive(tmp_path / "m68k.tar", {"bin/sh": m68k})
    tests = results_of(small, a_test("true"))
    assert named(tests, FAILED) == set()
    for name in ("shell", "mine"):
        assert tests[name].outcome is SKIPPED
        assert "cannot run programs of m68k" in tests[name].message


def test_tests_are_skipped_where_nothing_can_be_laid_above_the_stage(
    seed: Path, tmp_path: Path
) -> None:
    """The kernel stacks two overlays, and no third one."""
    for name in ("lower", "one", "two"):
        (tmp_path / name).mkdir()
    mounted = []
    try:
        for lower, target in (("lower", "one"), ("one", "two")):
            overlay(tmp_path / lower, tmp_path / target)
            mounted.append(tmp_path / target)
        farmer = Farmer(tmp_path / "two", seed)
        tests = results_of(farmer, a_test("true"))
    finally:
        for target in reversed(mounted):
            subprocess.run(["umount", str(target)], check=True)
    assert named(tests, SKIPPED) == {*UNBOOTED, "mine"}
    assert "cannot mount an overlay" in tests["mine"].message


def overlay(lower: Path, target: Path) -> None:
    for name in ("upper", "work"):
        Path(f"{target}-{name}").mkdir()
    folders = f"lowerdir={lower},upperdir={target}-upper,workdir={target}-work"
    subprocess.run(["mount", "-t", "overlay", "o", "-o", folders, str(target)], check=True)


def archive(tarball: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(tarball, "w") as made:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            made.addfile(entry, BytesIO(content))
    return tarball
