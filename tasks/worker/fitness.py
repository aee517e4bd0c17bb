"""Whether this host should take builds now."""

from __future__ import annotations

import shutil

from tasks.settings import Settings


def unfit(settings: Settings) -> str:
    """Why this host should take nothing new now; empty if it may."""
    settings.state.mkdir(parents=True, exist_ok=True)
    free, wanted = shutil.disk_usage(settings.state).free, settings.disk_free_min_bytes
    if free < wanted:
        return f"{free // 2**20} MiB free in {settings.state}, {wanted // 2**20} MiB wanted"
    return ""
