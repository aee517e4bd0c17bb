"""The temporary folder of a long-lived process, emptied by the next one that takes its place."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from tasks.errors import HostUnfit
from tasks.host.files import private
from tasks.host.removal import remove_tree


def use_temporary(folder: Path) -> None:
    """Have this process, and those that it forks, make temporary files in `folder`, which is
    emptied first: who used it before may have been killed. To be called with a lock held."""
    with suppress(HostUnfit):  # what cannot be removed stays, and harms nobody
        remove_tree(folder)
    os.environ["TMPDIR"] = str(private(folder))
    tempfile.tempdir = None  # it is read again from the environment
