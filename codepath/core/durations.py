"""Durations for people."""

from __future__ import annotations


def readable_duration(seconds: float) -> str:
    """90 -> "2 min", 30000 -> "8.3 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
