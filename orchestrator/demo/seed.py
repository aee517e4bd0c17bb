"""Makes a small root filesystem from this machine's own programs and their libraries."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from tasks.errors import HostUnfit
from tasks.host.process import output

PROGRAMS = (
    "bash", "cat", "chmod", "chown", "chroot", "cp", "cut", "date", "df", "dirname", "du", "env",
    "find", "grep", "head", "id", "ln", "ls", "mkdir", "mktemp", "mv", "nproc", "ps", "readlink",
    "rm", "rmdir", "sed", "seq", "sha256sum", "sleep", "sort", "stat", "tail", "tar", "tee",
    "touch", "tr", "true", "uname", "wc",
)  # fmt: skip

FOLDERS = (
    "bin", "dev", "etc", "home", "lib", "lib64", "mnt", "proc", "root", "run", "sbin", "srv", "sys",
    "tmp", "usr/bin", "usr/lib", "usr/share", "var/cache", "var/lib", "var/log", "var/tmp",
)  # fmt: skip

FILES = {
    "etc/group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    "etc/hostname": "stage\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "etc/os-release": 'ID=demo\nNAME="Demo"\nPRETTY_NAME="A small root filesystem"\n',
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n",
    "etc/profile": "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n",
}

LIBRARY = re.compile(r"(/\S+) \(0x[0-9a-f]+\)")
"""A line of ldd's output: the file that is loaded, then its address."""


def make_rootfs(rootfs: Path) -> None:
    """Fill the new folder `rootfs` with bash, coreutils and the libraries they need."""
    for folder in FOLDERS:
        (rootfs / folder).mkdir(parents=True, exist_ok=True)
    (rootfs / "tmp").chmod(0o1777)
    for name, text in FILES.items():
        (rootfs / name).write_text(text)
    programs = [found for name in PROGRAMS if (found := shutil.which(name, path=_path()))]
    for program in programs:
        shutil.copy(program, rootfs / "bin" / Path(program).name)
    (rootfs / "bin/sh").symlink_to("bash")
    (rootfs / "usr/bin/env").symlink_to("/bin/env")
    for library in _libraries(programs):
        target = rootfs / library.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)


def make_seed(tarball: Path) -> None:
    """Pack such a root filesystem as `tarball`, in the format of its extension."""
    rootfs = tarball.with_name(f"{tarball.name}.rootfs")
    make_rootfs(rootfs)
    owner = ["--owner=0", "--group=0", "--numeric-owner", "--sort=name"]
    code, said = output(["tar", "-C", str(rootfs), *owner, "-caf", str(tarball), "."])
    shutil.rmtree(rootfs)
    if code:
        raise HostUnfit(f"cannot make the seed {tarball}: {said}")


def _libraries(programs: list[str]) -> set[str]:
    _, said = output(["ldd", *programs])
    return set(LIBRARY.findall(said))


def _path() -> str:
    return os.pathsep.join(("/usr/bin", "/bin", "/usr/sbin", "/sbin"))
