"""Facts about this machine."""

from __future__ import annotations

from pathlib import Path


def boot_id() -> str:
    """The unique id of this boot of the machine. random(4)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
