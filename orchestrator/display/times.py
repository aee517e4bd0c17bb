"""Moments and long times in words."""

from __future__ import annotations

from datetime import UTC, datetime

from orchestrator.display.terminal import duration

DAY_S = 24 * 3600


def moment(seconds: float) -> str:
    """`2026-11-26 21:30 UTC`."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):
        return f"{seconds:g}"


def long_duration(seconds: float) -> str:
    """`6d04h` from two days on, shorter ones as `duration`; negative ones with a sign."""
    if seconds < 0:
        return f"-{long_duration(-seconds)}"
    if seconds < 2 * DAY_S:
        return duration(seconds)
    days, rest = divmod(round(seconds), DAY_S)
    return f"{days}d{rest // 3600:02}h"
