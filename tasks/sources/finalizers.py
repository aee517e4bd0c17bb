"""Finalizers, programs of packages that anise runs as it installs them, in a container.

The program can run them by fchroot: a program of that name gets the root filesystem and a command.
Here that is this module, as `python -m tasks.sources.finalizers`, started by a script of that name.
As in the program's own way, a finalizer has no network.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.container.container import Contained, container
from tasks.errors import StagefarmError
from tasks.host.mounts import bind
from tasks.host.process import STANDARD_PATH, run_on_terminal
from tasks.model import Network, Privileges, decode, encode
from tasks.rootfs.chroot import is_narrow

PROGRAM = "fchroot"
FATAL_SIGNAL = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Finalizers:
    """How the finalizers of a root filesystem are contained, see `Contained`."""

    rootfs: str
    privileges: Privileges
    filter: bytes

    def offer(self, folder: Path) -> dict[str, str]:
        """Make the script in `folder`, and show it wherever this machine has the program itself;
        returns the settings that have anise use it, without its prefix. Only inside the private
        mount namespace of a step."""
        folder.mkdir(exist_ok=True)
        (folder / "request.json").write_bytes(encode(self))
        script = folder / PROGRAM
        words = f"{sys.executable} -P -m {__spec__.name} {folder / 'request.json'}"
        script.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        script.chmod(0o755)
        for place in STANDARD_PATH.split(":"):
            if (installed := Path(place, PROGRAM).resolve()).is_file():
                bind(script, installed)
        return {"BOX__BACKEND": PROGRAM}

    def run(self, argv: Sequence[str]) -> int:
        """Run `argv` in the root filesystem; returns its exit code."""
        wanted = Contained(
            rootfs=Path(self.rootfs),
            binds=(),
            privileges=self.privileges,
            network=Network.NONE,
            filter=self.filter,
            narrow=is_narrow(Path(self.rootfs)),
        )
        environment = {"PATH": STANDARD_PATH, **os.environ}
        with container(wanted) as enter:
            code = run_on_terminal(argv, env=environment, enter=enter)
        return FATAL_SIGNAL - code if code < 0 else code


def main() -> int:
    """The arguments are the request, options of fchroot, the root filesystem, and the command."""
    request, *words = sys.argv[1:]
    try:
        finalizers = decode(Path(request).read_bytes(), Finalizers)
        return finalizers.run(words[words.index(finalizers.rootfs) + 1 :])
    except StagefarmError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
