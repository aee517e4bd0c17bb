"""What this machine says of itself."""

from __future__ import annotations

from pathlib import Path


def boot_id() -> str:
    """What tells this boot of the machine from all others. random(4)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
