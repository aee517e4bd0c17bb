"""A seed whose `bash` tries ways out before it does its work, and its init as it boots."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator.demo.seed import make_rootfs
from tests.security.ways import Way

HOSTILE_BASH = """#!/bin/bash.real
export LC_ALL=C; set -o pipefail; shopt -s nullglob
for way in /ways/*; do
    said=$(bash.real "$way" 2>&1 < /dev/null | tr '\\n' ' ') && code=out || code=refused
    IFS= read -r name < "$way"
    echo "$code: ${name#\\# }: $said"
done
exec /bin/bash.real "$@"
"""

HOSTILE_INIT = """#!/bin/bash.real
export LC_ALL=C CANARY={canary}; shopt -s nullglob
for way in /ways/*; do
    bash.real "$way" > /dev/null 2>&1 < /dev/null || continue
    IFS= read -r name < "$way"
    out+="${{name#\\# }}^"
done
echo "${{out// /%}}" > /out
perl -e 'socket($s, 1, 2, 0); send($s, "READY=1", 0, pack("Sa108", 1, $ENV{{NOTIFY_SOCKET}}))'
sleep 600
"""
HOSTILE_SYSTEMCTL = """#!/bin/bash.real
[[ $1 != --failed ]] || cat /out
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


def make_hostile_machine(folder: Path, ways: tuple[Way, ...], canary: Path) -> Path:
    """The same with an init that tries the ways as it boots, and lists those that led out as its
    failed units."""
    tarball = make_hostile_seed(folder, ways)
    rootfs = folder / "machine"
    (rootfs / "bin").mkdir(parents=True)
    (rootfs / "sbin").mkdir()
    scripts = {
        "bin/systemd": HOSTILE_INIT.format(canary=canary),
        "bin/systemctl": HOSTILE_SYSTEMCTL,
    }
    for name, script in scripts.items():
        (rootfs / name).write_text(script)
        (rootfs / name).chmod(0o755)
    (rootfs / "sbin/init").symlink_to("/bin/systemd")
    files = [str(path.relative_to(rootfs)) for path in rootfs.rglob("*") if not path.is_dir()]
    subprocess.run(["tar", "-C", rootfs, "-rf", tarball, *files], check=True)
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
