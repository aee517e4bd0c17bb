"""Root filesystems whose packages were installed by the package managers themselves, and what the
managers say is in them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import debian


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Listed:
    """A package as its manager lists it; `version` with its epoch."""

    name: str
    version: str
    arch: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A root filesystem and what its manager lists in it."""

    rootfs: Path
    listed: tuple[Listed, ...]


PATH = f"{sys.prefix}/bin:{os.environ['PATH']}"


def needs(*programs: str) -> None:
    for program in programs:
        if not shutil.which(program, path=PATH):
            pytest.skip(f"needs {program}")


def run(*words: str | Path, environ: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        list(map(str, words)),
        env={"PATH": PATH, "LC_ALL": "C.UTF-8", **(environ or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def name_system(rootfs: Path, text: str) -> None:
    (rootfs / "etc").mkdir(parents=True, exist_ok=True)
    (rootfs / "etc/os-release").write_text(text)


def _lines(text: str) -> tuple[Listed, ...]:
    """Lines of name, version and architecture."""
    words = (line.split("|") for line in text.splitlines())
    return tuple(
        sorted(Listed(name=name, version=version, arch=arch) for name, version, arch in words)
    )


def with_dpkg(folder: Path, cache: Path) -> Tree:
    """Debian's own packages, one of somebody else, and one that was removed but not purged."""
    rootfs = folder / "root"
    rootfs.mkdir()
    kept = ("./var/lib/dpkg", "./etc/os-release", "./usr/lib/os-release")
    debian.tar("-C", rootfs, "-xf", debian.tarball(cache, "amd64"), *kept)
    for name in ("bell", "gone"):
        package = folder / name
        (package / "DEBIAN").mkdir(parents=True)
        (package / "etc").mkdir()
        (package / f"etc/{name}").write_text("")
        (package / "DEBIAN/conffiles").write_text(f"/etc/{name}\n")
        (package / "DEBIAN/control").write_text(
            f"Package: {name}\nVersion: 2:1.0~rc1+dfsg-1+b2\nArchitecture: all\n"
            "Source: bells (2:1.0~rc1+dfsg-1)\nMaintainer: A (B) <a@example.org>\nDescription: x\n"
        )
        run("dpkg-deb", "--build", package, folder / f"{name}.deb")
    dpkg = ("dpkg", f"--root={rootfs}", "--force-all")
    run(*dpkg, "--install", folder / "bell.deb", folder / "gone.deb")
    run(*dpkg, "--remove", "gone")
    form = "${db:Status-Status}|${Package}|${Version}|${Architecture}\n"
    told = run("dpkg-query", f"--root={rootfs}", "--show", f"--showformat={form}").splitlines()
    there = [line.partition("|")[2] for line in told if line.startswith("installed|")]
    assert "config-files|gone" in "\n".join(told)
    return Tree(rootfs=rootfs, listed=_lines("\n".join(there)))


def with_rpm(folder: Path) -> Tree:
    """Packages made by rpmbuild: one with an epoch, one without, one twice as kernels are."""
    needs("rpm", "rpmbuild")
    rootfs = folder / "root"
    rootfs.mkdir()
    name_system(rootfs, 'NAME="Fedora Linux"\nID=fedora\nVERSION_ID=40\n')
    for name, version, epoch in (
        ("bell", "1.0~rc1", "Epoch: 3"),
        ("kernel", "6.1", ""),
        ("kernel", "6.2^git1", ""),
    ):
        spec = folder / f"{name}.spec"
        spec.write_text(
            f"Name: {name}\nVersion: {version}\nRelease: 2.fc40\n{epoch}\nSummary: x\n"
            "License: GPL-2.0-or-later AND MIT\nVendor: Bells (Ltd)\nBuildArch: noarch\n"
            "%description\nx\n%files\n"
        )
        run("rpmbuild", "-bb", "--quiet", "--define", f"_topdir {folder}", spec)
    rpm = ("rpm", f"--root={rootfs}", "--dbpath", "/usr/lib/sysimage/rpm")
    run(*rpm, "--install", "--nodeps", *folder.glob("RPMS/noarch/*.rpm"))
    form = "%{NAME}|%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}|%{ARCH}\n"
    return Tree(rootfs=rootfs, listed=_lines(run(*rpm, "--query", "--all", "--queryformat", form)))


def with_pacman(folder: Path) -> Tree:
    """Packages in pacman's format, installed by it."""
    needs("pacman", "zstd")
    rootfs = folder / "root"
    (rootfs / "var/lib/pacman").mkdir(parents=True)
    name_system(rootfs, 'NAME="Arch Linux"\nID=arch\nBUILD_ID=rolling\n')
    (folder / "pacman.conf").write_text("[options]\nSigLevel = Never\nLocalFileSigLevel = Never\n")
    pacman = ("pacman", "--config", folder / "pacman.conf", "--root", rootfs)
    for name, version, arch, licences in (
        ("bell", "2:1.0.r5+g1a2b-3", "any", ("MIT", "custom:bells")),
        ("libbell@x", "1.0_1-1", "x86_64", ("GPL-2.0-or-later",)),
    ):
        package = folder / name
        package.mkdir()
        (package / ".PKGINFO").write_text(
            f"pkgname = {name}\npkgbase = bells\npkgver = {version}\npkgdesc = x\n"
            f"packager = A <a@example.org>\nsize = 0\narch = {arch}\n"
            + "".join(f"license = {licence}\n" for licence in licences)
        )
        run("tar", "-C", package, "--zstd", "-cf", folder / f"{name}.pkg.tar.zst", ".PKGINFO")
        run(*pacman, "--upgrade", "--noconfirm", "--arch", "x86_64", folder / f"{name}.pkg.tar.zst")
    names = [line.split() for line in run(*pacman, "--query").splitlines()]
    archs = [
        next(line for line in run(*pacman, "-Qi", name).splitlines() if "Architecture" in line)
        for name, _ in names
    ]
    told = zip(names, archs, strict=True)
    lines = [f"{name}|{version}|{arch.rpartition(' ')[2]}" for (name, version), arch in told]
    return Tree(rootfs=rootfs, listed=_lines("\n".join(lines)))


EBUILD = """
EAPI=8
DESCRIPTION="x"
LICENSE="%s"
SLOT="%s"
KEYWORDS="amd64"
S="${WORKDIR}"
"""


APK = ("--allow-untrusted", "--no-network", "--repositories-file", "/dev/null")


def with_apk(folder: Path) -> Tree:
    """Packages made and installed by apk-tools 3."""
    rootfs = folder / "root"
    (folder / "content").mkdir()
    (folder / "content/file").write_text("")
    apk = ("apk", "--root", rootfs, "--arch", "x86_64")
    for name, version, arch in (("bell", "1.0_rc1-r2", "noarch"), ("so+bell", "1-r0", "x86_64")):
        facts = (
            f"name:{name}",
            f"version:{version}",
            f"arch:{arch}",
            "license:MIT",
            "origin:bells",
        )
        told = (word for fact in (*facts, "description:x") for word in ("--info", fact))
        package = folder / f"{name}.apk"
        run("apk", "mkpkg", *told, "--files", folder / "content", "--output", package)
        run(*apk, "--initdb", *APK, "add", package)
    name_system(rootfs, ALPINE)
    told = run(
        *apk, "query", "--installed", "--fields", "name,version,arch", "--format", "json", "*"
    )
    listed = (Listed(**each) for each in json.loads(told))
    return Tree(rootfs=rootfs, listed=tuple(sorted(listed)))


ALPINE = 'NAME="Alpine Linux"\nID=alpine\nVERSION_ID=3.22.0\n'
INSTALLED = """C:Q16bbvCx84wpiTgYuuufJE/DzX1tw=
P:bell
V:1.0_rc1-r2
A:noarch
S:325
I:2
T:x
U:
L:GPL-2.0-or-later AND MIT
o:bells
m:A <a@example.org>
f:S
F:usr
F:usr/share
R:one
Z:Q1c8s4WKaHqElMozIwUwFigvPa050=

C:Q1A9jHjOehu64BYtcGID0MSoY37EM=
P:so+bell
V:20240101-r0
A:x86_64
S:253
I:2
T:y
U:
L:custom

"""


def as_apk(folder: Path) -> Tree:
    """A database as apk-tools 3.0.6 writes it, and what Syft, which has a reader of its own, lists
    in it."""
    rootfs = folder / "root"
    name_system(rootfs, ALPINE)
    (rootfs / "lib/apk/db").mkdir(parents=True)
    (rootfs / "lib/apk/db/installed").write_text(INSTALLED)
    artifacts = syft("scan", f"dir:{rootfs}")["artifacts"]
    listed = (
        Listed(name=each["name"], version=each["version"], arch=each["metadata"]["architecture"])
        for each in artifacts
    )
    return Tree(rootfs=rootfs, listed=tuple(sorted(listed)))


def syft(*words: str | Path) -> dict[str, Any]:
    """What Syft, a program of somebody else, says; it is not there for every processor."""
    needs("syft")
    environ = {"SYFT_CHECK_FOR_APP_UPDATE": "false"}
    told = run("syft", *words, "--quiet", "--output", "syft-json", environ=environ)
    found: dict[str, Any] = json.loads(told)
    return found


EBUILD = """
EAPI=8
DESCRIPTION="x"
LICENSE="%s"
SLOT="%s"
KEYWORDS="amd64"
S="${WORKDIR}"
"""


def with_portage(folder: Path) -> Tree:
    """Ebuilds merged by the Portage of PyPI, which takes its virtual environment for the prefix
    that all it installs is in."""
    needs("ebuild", "portageq")
    rootfs = Path(f"{folder}/root{sys.prefix}")
    rootfs.mkdir(parents=True)
    environ = _set_up_portage(folder)
    for name, version, licence, slot in (
        ("bell", "1.0_rc1-r2", "|| ( MIT GPL-2 )", "2/5"),
        ("c++-bell", "3b", "MIT", "0"),
    ):
        package = folder / "repository/app-misc" / name
        package.mkdir(parents=True)
        ebuild = package / f"{name}-{version}.ebuild"
        ebuild.write_text(EBUILD % (licence, slot))
        run("ebuild", "--skip-manifest", ebuild, "merge", environ=environ)
    told = run("portageq", "match", rootfs, "*/*", environ=environ).split()
    split = (
        "import sys; from portage.versions import cpv_getkey as name, cpv_getversion as version\n"
        "for package in sys.argv[1:]: print(name(package), version(package), '', sep='|')"
    )
    name_system(rootfs, 'NAME=Gentoo\nID=gentoo\nVERSION_ID="2.17"\n')
    return Tree(rootfs=rootfs, listed=_lines(run(sys.executable, "-c", split, *told)))


def _set_up_portage(folder: Path) -> dict[str, str]:
    """A profile, a repository and settings, all of the smallest kind."""
    repository, config = folder / "repository", folder / "config/etc/portage"
    profile = repository / "profiles/default"
    work = folder / "work"
    for made in (profile, repository / "metadata", config, work):
        made.mkdir(parents=True)
    (repository / "profiles/repo_name").write_text("tiny\n")
    (repository / "profiles/categories").write_text("app-misc\n")
    (repository / "profiles/arch.list").write_text("amd64\n")
    (repository / "metadata/layout.conf").write_text("masters =\nthin-manifests = true\n")
    (profile / "make.defaults").write_text('ARCH="amd64"\nACCEPT_KEYWORDS="amd64"\n')
    (config / "make.profile").symlink_to(profile)
    features = "-ipc-sandbox -mount-sandbox -network-sandbox -pid-sandbox -sandbox -usersandbox"
    (config / "make.conf").write_text(
        f'FEATURES="{features} -userpriv -userfetch -news"\nPORTAGE_TMPDIR="{work}"\n'
        f'DISTDIR="{work}"\nPORTAGE_USERNAME=root\nPORTAGE_GRPNAME=root\n'
    )
    return {
        "PORTAGE_CONFIGROOT": str(folder / "config"),
        "PORTAGE_REPOSITORIES": f"[DEFAULT]\nmain-repo = tiny\n[tiny]\nlocation = {repository}\n",
        "ROOT": str(folder / "root"),
    }
