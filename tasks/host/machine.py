"""Facts about this machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

MACHINE_ID = Path("/etc/machine-id")


def boot_id() -> str:
    """The unique id of this boot of the machine. random(4)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def machine_id() -> str:
    """A number of this machine that can be published, the same after each boot; empty where there
    is none. The id itself should not leave the machine: machine-id(5)."""
    try:
        known = MACHINE_ID.read_text().strip()
    except OSError:
        return ""
    return hashlib.sha256(f"stagefarm {known}".encode()).hexdigest()[:32] if known else ""
