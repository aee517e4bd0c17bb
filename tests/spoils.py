"""Ways to spoil a Debian root filesystem, each with what the gate has to find, and nothing else."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from py_compile import compile as compile_python

from tests import elf

BUILD_PATH = b"/var/lib/stagefarm/builds"
KEY = (
    "-----BEGIN OPENSSH PRIVATE KEY-----\n"
    "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZWQyNTUx\n"
    "-----END OPENSSH PRIVATE KEY-----\n"
)
GLSA = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE glsa SYSTEM "http://www.gentoo.org/dtd/glsa.dtd">
<glsa id="202611-01">
  <title>bells: Remote ringing</title>
  <affected>
    <package name="app-misc/bells" auto="yes" arch="*">
      <unaffected range="ge">3.2-r1</unaffected>
      <unaffected range="lt">3.0</unaffected>
      <vulnerable range="lt">3.2-r1</vulnerable>
    </package>
  </affected>
</glsa>
"""

ARM_LIBRARY = "usr/lib/aarch64-linux-gnu/libarm.so.1"

DEBSECAN = """VERSION 1
CVE-2026-0001,,Names of hosts

hostname,0,SL  ,,{version} {version}~rc1

"""
"""All versions but two are vulnerable."""

Found = tuple[str, str, str, str]
"""Check, path, before, after."""


class _Like(str):
    """Equal to any text that matches: sizes and versions are those of today's Debian."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and bool(re.fullmatch(self, other))

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


SIZE, VERSION = _Like(r"[0-9.]+ [kM]?B"), _Like(r"[0-9].*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoil:
    name: str
    make: Callable[[Path], object]
    finds: tuple[Found, ...]


def prepare(root: Path) -> None:
    """Clean a Debian of what debootstrap leaves, and take away what makes it large. Put in what it
    has not: foreign programs, Python, a Gentoo tree."""
    for path in ("share/doc", "share/locale", "lib/x86_64-linux-gnu/gconv"):
        shutil.rmtree(root / "usr" / path)
    (root / "srv/everything/sparse").unlink()
    text(root, "etc/resolv.conf", "")
    text(root, "etc/machine-id", "")
    program(
        root,
        "usr/local/bin/tool",
        interpreter="/lib64/ld-linux-x86-64.so.2",
        needed=["libtool.so.1"],
    )
    program(root, "opt/tool/lib/libtool.so.1", needed=["libc.so.6"], soname="libtool.so.1")
    text(root, "etc/ld.so.conf.d/tool.conf", "# tool\n/opt/tool/lib\n")
    program(
        root,
        "opt/near/bin/near",
        interpreter="/lib64/ld-linux-x86-64.so.2",
        needed=["libnear.so"],
        runpath="$ORIGIN/../lib",
    )
    program(root, "opt/near/lib/libnear.so")
    arm = {"machine": elf.AARCH64}
    program(root, "lib/ld-linux-aarch64.so.1", **arm)
    program(root, "usr/lib/aarch64-linux-gnu/libarm.so.1.2", **arm)
    link(root, "usr/lib/aarch64-linux-gnu/libarm.so.1", "libarm.so.1.2")
    program(
        root,
        "usr/local/bin/arm",
        interpreter="/lib/ld-linux-aarch64.so.1",
        needed=["libarm.so.1"],
        **arm,
    )
    program(root, "lib/ld-musl-riscv64.so.1", machine=elf.RISCV)
    text(root, "etc/ld-musl-riscv64.path", "/lib\n/opt/musl\n")
    program(root, "opt/musl/libmusical.so", machine=elf.RISCV)
    program(
        root,
        "usr/local/bin/musl",
        interpreter="/lib/ld-musl-riscv64.so.1",
        needed=["libc.so", "libmusical.so"],
        machine=elf.RISCV,
    )
    text(root, "usr/local/bin/script", "#!/bin/sh -e\n", mode=0o755)
    text(root, "usr/lib/python3/bells.py", "RING = 1\n")
    text(root, "usr/lib/python3/old.py", "RING = 0\n")
    for name in ("bells", "old"):
        source = root / f"usr/lib/python3/{name}.py"
        os.utime(source, (1_700_000_000, 1_700_000_000))
        compiled = source.parent / f"__pycache__/{name}.cpython-311.pyc"
        compile_python(str(source), str(compiled), doraise=True)
    text(root, "var/db/pkg/app-misc/bells-2.9/SLOT", "0\n")
    text(root, "var/db/pkg/app-misc/bells-2.9/LICENSE", "|| ( MIT GPL-2+ )\n")
    status = (root / STATUS).read_text()
    match = re.search(VERSION_OF_HOSTNAME, status, re.MULTILINE)
    assert match
    text(root, "var/lib/debsecan/GENERIC", DEBSECAN.format(version=match[2]))
    text(root, "var/db/repos/gentoo/metadata/glsa/glsa-202611-01.xml", GLSA)


def text(root: Path, path: str, content: str, mode: int = 0o644) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    file.write_text(content)
    file.chmod(mode)


def program(root: Path, path: str, **headers: object) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(elf.elf(**headers))  # type: ignore[arg-type]
    file.chmod(0o755)


def link(root: Path, path: str, target: str) -> None:
    (root / path).symlink_to(target)


def edit(path: str, before: str, after: str) -> Callable[[Path], object]:
    """Replace text that is there once."""

    def make(root: Path) -> None:
        content = (root / path).read_text()
        found, count = re.subn(before, after, content, flags=re.MULTILINE)
        assert count == 1, (path, before, count)
        (root / path).write_text(found)

    return make


def chmod(path: str, mode: int) -> Callable[[Path], object]:
    return lambda root: (root / path).chmod(mode)


def chown(path: str, uid: int, gid: int) -> Callable[[Path], object]:
    def make(root: Path) -> None:
        mode = (root / path).lstat().st_mode & 0o7777
        os.chown(root / path, uid, gid)
        (root / path).chmod(mode)  # chown takes the setuid bit away

    return make


def remove(*paths: str) -> Callable[[Path], object]:
    def make(root: Path) -> None:
        for path in paths:
            file = root / path
            (shutil.rmtree if file.is_dir() and not file.is_symlink() else os.remove)(file)

    return make


def write(path: str, content: str, mode: int = 0o644) -> Callable[[Path], object]:
    return lambda root: text(root, path, content, mode)


def put(path: str, **headers: object) -> Callable[[Path], object]:
    return lambda root: program(root, path, **headers)


def links(**targets: str) -> Callable[[Path], object]:
    def make(root: Path) -> None:
        for name, target in targets.items():
            link(root, f"srv/{name}", target)

    return make


def device(path: str, kind: int, major: int, minor: int) -> Callable[[Path], object]:
    def make(root: Path) -> None:
        (root / path).unlink(missing_ok=True)
        os.mknod(root / path, kind | 0o600, os.makedev(major, minor))

    return make


def run(*words: str) -> Callable[[Path], object]:
    """Run a program of this machine in the root."""
    return lambda root: subprocess.run(words, cwd=root, check=True, capture_output=True)


def fill(size: int, *paths: str, sparse: bool = False) -> Callable[[Path], object]:
    def make(root: Path) -> None:
        for path in paths:
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("wb") as opened:
                opened.truncate(size) if sparse else opened.write(os.urandom(size))

    return make


STATUS = "var/lib/dpkg/status"
NEW_PACKAGE = "Package: bells\nStatus: install ok installed\nArchitecture: all\nVersion: 1.0-1\n\n"
STATUS_OF_HOSTNAME = r"(^Package: hostname\n(?:\S.*\n| .*\n)*?Status: \w+ \w+ )installed"
VERSION_OF_HOSTNAME = r"(^Package: hostname\n(?:\S.*\n| .*\n)*?Version: )(\S+)"


def drop_package(root: Path) -> None:
    blocks = (root / STATUS).read_text().split("\n\n")
    kept = [block for block in blocks if not block.startswith("Package: hostname\n")]
    assert len(kept) == len(blocks) - 1
    (root / STATUS).write_text("\n\n".join(kept))


def add_package(root: Path) -> None:
    (root / STATUS).write_text(NEW_PACKAGE + (root / STATUS).read_text())


def make_vulnerable(root: Path) -> None:
    folder = root / "var/db/pkg/app-misc"
    shutil.copytree(folder / "bells-2.9", folder / "bells-3.2")
    shutil.rmtree(folder / "bells-2.9")


def not_utf8(root: Path) -> None:
    file = Path(os.fsdecode(os.fsencode(root) + b"/srv/\xff\xfe"))
    file.write_text("all\n")
    file.chmod(0o666)


def chain(root: Path) -> None:
    """Links of which each leads to the next: Linux follows 40."""
    for number in range(60):
        link(root, f"srv/{number:02}", f"{number + 1:02}")
    text(root, "srv/60", "the end\n")


SPOILS = (
    # packages
    Spoil(
        name="a package is lost",
        make=drop_package,
        finds=(("packages_lost", "hostname", VERSION, ""),),
    ),
    Spoil(
        name="of a package only its settings are left",
        make=edit(STATUS, STATUS_OF_HOSTNAME, r"\1config-files"),
        finds=(("packages_lost", "hostname", VERSION, ""),),
    ),
    Spoil(
        name="a package is new",
        make=add_package,
        finds=(("packages_added", "bells", "", "1.0-1"),),
    ),
    Spoil(
        name="a package is older",
        make=edit(STATUS, VERSION_OF_HOSTNAME, r"\g<1>\g<2>~rc1"),
        finds=(("packages_downgraded", "hostname", VERSION, _Like(".*~rc1")),),
    ),
    Spoil(
        name="a package has an advisory",
        make=make_vulnerable,
        finds=(("advisories", "app-misc/bells", "", "GLSA-202611-01"),),
    ),
    Spoil(
        name="a package of Debian has a vulnerability",
        make=edit(STATUS, VERSION_OF_HOSTNAME, r"\g<1>\g<2>+bad"),
        finds=(("advisories", "hostname", "", "CVE-2026-0001"),),
    ),
    Spoil(
        name="a package has another licence",
        make=write("var/db/pkg/app-misc/bells-2.9/LICENSE", "BUSL-1.1\n"),
        finds=(("licences", "app-misc/bells", "|| ( MIT GPL-2+ )", "BUSL-1.1"),),
    ),
    # sizes
    Spoil(
        name="a folder is larger",
        make=fill(5_000_000, "opt/tool/share/data"),
        finds=(("folder_size", "/opt/tool", SIZE, "5 MB"),),
    ),
    Spoil(
        name="a folder is smaller",
        make=remove("var/lib/dpkg/info"),
        finds=(("folder_size", "/var/lib", SIZE, SIZE),),
    ),
    Spoil(
        name="the tree is larger, everywhere",
        make=fill(1_000_000, *(f"data{number}/file" for number in range(20)), sparse=True),
        finds=(("tree_size", "/", SIZE, SIZE),),
    ),
    # permissions
    Spoil(
        name="a shell has the setuid bit",
        make=chmod("usr/bin/dash", 0o4755),
        finds=(("setuid", "/usr/bin/dash", "0755 root:root", "4755 root:root"),),
    ),
    Spoil(
        name="su has lost the setuid bit",
        make=chmod("usr/bin/su", 0o755),
        finds=(("setuid", "/usr/bin/su", "4755 root:root", "0755 root:root"),),
    ),
    Spoil(
        name="su belongs to another user",
        make=chown("usr/bin/su", 1, 0),
        finds=(("setuid", "/usr/bin/su", "4755 root:root", "4755 daemon:root"),),
    ),
    Spoil(
        name="a new program has the setuid bit",
        make=write("usr/local/bin/rootsh", "new\n", 0o4755),
        finds=(("setuid", "/usr/local/bin/rootsh", "", "4755 root:root"),),
    ),
    Spoil(
        name="a setuid program is gone",
        make=remove("usr/bin/chfn"),
        finds=(("setuid", "/usr/bin/chfn", "4755 root:root", ""),),
    ),
    Spoil(
        name="a program has lost the setgid bit",
        make=chmod("usr/bin/chage", 0o755),
        finds=(("setgid", "/usr/bin/chage", "2755 root:shadow", "0755 root:shadow"),),
    ),
    Spoil(
        name="a setgid program belongs to another group",
        make=chown("usr/bin/chage", 0, 6),
        finds=(("setgid", "/usr/bin/chage", "2755 root:shadow", "2755 root:disk"),),
    ),
    Spoil(
        name="a folder has the setgid bit",
        make=chmod("opt", 0o2755),
        finds=(("setgid", "/opt", "0755 root:root", "2755 root:root"),),
    ),
    Spoil(
        name="a program has capabilities",
        make=run("setcap", "cap_setuid,cap_dac_override=ep", "usr/bin/dash"),
        finds=(("capabilities", "/usr/bin/dash", "", "cap_dac_override,cap_setuid=ep"),),
    ),
    Spoil(
        name="a program has lost its capabilities",
        make=run("setcap", "-r", "srv/everything/ping"),
        finds=(("capabilities", "/srv/everything/ping", "cap_net_raw=ep", ""),),
    ),
    Spoil(
        name="everybody may write a file",
        make=chmod("etc/profile", 0o666),
        finds=(("world_writable", "/etc/profile", "", "0666"),),
    ),
    Spoil(
        name="everybody may write a folder",
        make=chmod("opt", 0o777),
        finds=(("world_writable", "/opt", "", "0777"),),
    ),
    Spoil(
        name="/tmp is not sticky",
        make=chmod("tmp", 0o777),
        finds=(("world_writable", "/tmp", "", "0777"),),
    ),
    Spoil(
        name="a folder belongs to nobody that is known",
        make=run("chown", "-R", "4242:0", "usr/share/perl5"),
        finds=(("unknown_owners", "/usr/share/perl5", "", "user 4242"),),
    ),
    Spoil(
        name="a file belongs to no group that is known",
        make=chown("etc/profile", 0, 4242),
        finds=(("unknown_owners", "/etc/profile", "", "group 4242"),),
    ),
    Spoil(
        name="a disk is in /dev",
        make=device("dev/sda", stat.S_IFBLK, 8, 0),
        finds=(("device_nodes", "/dev/sda", "", "block device 8:0"),),
    ),
    Spoil(
        name="/dev/null is the memory",
        make=device("dev/null", stat.S_IFCHR, 1, 1),
        finds=(("device_nodes", "/dev/null", "", "character device 1:1"),),
    ),
    Spoil(
        name="a device is outside /dev",
        make=device("etc/zero", stat.S_IFCHR, 1, 5),
        finds=(("device_nodes", "/etc/zero", "", "character device 1:5"),),
    ),
    Spoil(
        name="a named pipe was left",
        make=run("mkfifo", "run/initctl"),
        finds=(("special_files", "/run/initctl", "", "fifo"),),
    ),
    # links
    Spoil(
        name="a link leads nowhere",
        make=links(x="../nowhere"),
        finds=(("dangling_links", "/srv/x", "", "../nowhere"),),
    ),
    Spoil(
        name="what a link leads to is gone",
        make=remove("usr/lib/os-release"),
        finds=(("dangling_links", "/etc/os-release", "", "../usr/lib/os-release"),),
    ),
    Spoil(
        name="a link leads elsewhere, to nothing",
        make=run("ln", "-sfn", "/gone", "srv/everything/link"),
        finds=(("dangling_links", "/srv/everything/link", "../../outside", "/gone"),),
    ),
    Spoil(
        name="a link leads above the root",
        make=links(x="../../../../etc/shadow"),
        finds=(("escaping_links", "/srv/x", "", "../../../../etc/shadow"),),
    ),
    Spoil(
        name="a link leads to itself",
        make=links(x="./x"),
        finds=(("dangling_links", "/srv/x", "", "./x"),),
    ),
    Spoil(
        name="links lead in a circle through folders",
        make=links(x="../srv/y/../z", y=".", z="/srv/x/a"),
        finds=(
            ("dangling_links", "/srv/x", "", "../srv/y/../z"),
            ("dangling_links", "/srv/z", "", "/srv/x/a"),
        ),
    ),
    Spoil(
        name="a chain of links is too long",
        make=chain,
        finds=tuple(
            ("dangling_links", f"/srv/{number:02}", "", f"{number + 1:02}") for number in range(20)
        ),
    ),
    Spoil(
        name="links into what is there at run time only, which is no fault",
        make=links(a="/proc/self/exe", b="/run/x", c="../tmp/x", d="/dev/log", e="/var/run/y"),
        finds=(),
    ),
    # programs
    Spoil(
        name="a library is gone",
        make=remove(f"{ARM_LIBRARY}", f"{ARM_LIBRARY}.2"),
        finds=(("missing_libraries", "/usr/local/bin/arm", "", "libarm.so.1"),),
    ),
    Spoil(
        name="a library is of another machine",
        make=put("usr/lib/aarch64-linux-gnu/libarm.so.1.2", machine=elf.X86_64),
        finds=(("missing_libraries", "/usr/local/bin/arm", "", "libarm.so.1"),),
    ),
    Spoil(
        name="a library of arm64 needs one that is there for amd64 only",
        make=put("usr/lib/aarch64-linux-gnu/libnew.so", machine=elf.AARCH64, needed=["libc.so.6"]),
        finds=(
            ("missing_libraries", "/usr/lib/aarch64-linux-gnu/libnew.so", "", "libc.so.6"),
        ),
    ),
    Spoil(
        name="the folder of a library is not configured any more",
        make=remove("etc/ld.so.conf.d/tool.conf"),
        finds=(("missing_libraries", "/usr/local/bin/tool", "", "libtool.so.1"),),
    ),
    Spoil(
        name="a program was moved away from its $ORIGIN",
        make=lambda root: (root / "opt/near/bin/near").rename(root / "usr/local/bin/near"),
        finds=(("missing_libraries", "/usr/local/bin/near", "", "libnear.so"),),
    ),
    Spoil(
        name="musl is not told of a folder any more",
        make=write("etc/ld-musl-riscv64.path", "/lib\n"),
        finds=(("missing_libraries", "/usr/local/bin/musl", "", "libmusical.so"),),
    ),
    Spoil(
        name="a loader is gone",
        make=remove("lib/ld-linux-aarch64.so.1"),
        finds=(
            ("missing_loaders", "/usr/local/bin/arm", "", "/lib/ld-linux-aarch64.so.1"),
        ),
    ),
    Spoil(
        name="a program is for a loader that is not there",
        make=put("usr/local/bin/arm32", machine=elf.ARM, bits=32, interpreter="/lib/ld-linux.so.3"),
        finds=(("missing_loaders", "/usr/local/bin/arm32", "", "/lib/ld-linux.so.3"),),
    ),
    Spoil(
        name="a script has no interpreter",
        make=write("usr/local/bin/script", "#!/usr/bin/python9 -I\n", 0o755),
        finds=(("missing_interpreters", "/usr/local/bin/script", "", "/usr/bin/python9"),),
    ),
    Spoil(
        name="a script has no interpreter on the path",
        make=write("usr/local/bin/script", "#!/usr/bin/env -S ruby -w\n", 0o755),
        finds=(("missing_interpreters", "/usr/local/bin/script", "", "ruby"),),
    ),
    Spoil(
        name="a program has absurd headers",
        make=lambda root: (root / "usr/local/bin/tool").write_bytes(
            elf.elf()[:32] + b"\xff" * 4000
        ),
        finds=(("unreadable_files", "/usr/local/bin/tool", "", "damaged"),),
    ),
    # leftovers
    Spoil(
        name="name servers of the build host",
        make=write("etc/resolv.conf", "nameserver 192.0.2.1\n"),
        finds=(("resolv_conf", "/etc/resolv.conf", "", "not empty"),),
    ),
    Spoil(
        name="a machine ID",
        make=write("etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
        finds=(("machine_id", "/etc/machine-id", "", "set"),),
    ),
    Spoil(
        name="an ssh host key",
        make=write("etc/ssh/ssh_host_ed25519_key", KEY, 0o600),
        finds=(("host_keys", "/etc/ssh/ssh_host_ed25519_key", "", "present"),),
    ),
    Spoil(
        name="a private key",
        make=write("root/.ssh/id_ed25519", KEY, 0o600),
        finds=(("private_keys", "/root/.ssh/id_ed25519", "", "present"),),
    ),
    Spoil(
        name="a history",
        make=write("root/.bash_history", "passwd\n", 0o600),
        finds=(("histories", "/root/.bash_history", "", "not empty"),),
    ),
    Spoil(
        name="downloaded packages",
        make=write("var/cache/apt/archives/bells_1.0-1_all.deb", "deb\n"),
        finds=(("caches", "/var/cache/apt/archives", "", "not empty"),),
    ),
    Spoil(
        name="lists of packages",
        make=write("var/lib/apt/lists/deb.example.org_Packages", "Package: x\n"),
        finds=(("caches", "/var/lib/apt/lists", "", "not empty"),),
    ),
    Spoil(
        name="a password",
        make=edit("etc/shadow", r"^root:\*:", r"root:$6$salt$hash:"),
        finds=(("passwords", "/etc/shadow", "", "root has a password"),),
    ),
    Spoil(
        name="no password is asked for",
        make=edit("etc/passwd", r"^nobody:x:", "nobody::"),
        finds=(("passwords", "/etc/passwd", "", "nobody needs no password"),),
    ),
    Spoil(
        name="a folder of the build",
        make=write("usr/local/share/config", f"prefix={BUILD_PATH.decode()}/a.1/rootfs\n"),
        finds=(("build_paths", "/usr/local/share/config", "", "present"),),
    ),
    Spoil(
        name="Python's source is younger than what was compiled",
        make=lambda root: os.utime(root / "usr/lib/python3/bells.py", (1_800_000_000,) * 2),
        finds=(
            (
                "stale_bytecode", "/usr/lib/python3/__pycache__/bells.cpython-311.pyc", "",
                "another source",
            ),
        ),
    ),
    Spoil(
        name="Python's source is gone",
        make=remove("usr/lib/python3/old.py"),
        finds=(
            (
                "stale_bytecode", "/usr/lib/python3/__pycache__/old.cpython-311.pyc", "",
                "no source",
            ),
        ),
    ),
    # hostile names
    Spoil(
        name="everybody may write a file whose name is no text",
        make=not_utf8,
        finds=(("world_writable", r"b'/srv/\xff\xfe'", "", "0666"),),
    ),
    Spoil(
        name="everybody may write a file whose name has control characters",
        make=write("srv/\x1b[2J\n", "x", 0o666),
        finds=(("world_writable", "/srv/\x1b[2J\n", "", "0666"),),
    ),
)  # fmt: skip
