"""The temporary folder of a long-lived process, emptied when its successor starts."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from tasks.errors import HostUnfit
from tasks.host.files import private
from tasks.host.removal import remove_tree


def use_temporary(folder: Path) -> None:
    """Make this process, and those that it forks, create temporary files in `folder`, which is
    emptied first: its last user may have been killed. Call it with a lock held."""
    with suppress(HostUnfit):  # what cannot be removed stays, and does no harm
        remove_tree(folder)
    os.environ["TMPDIR"] = str(private(folder))
    tempfile.tempdir = None  # makes tempfile read the environment again
