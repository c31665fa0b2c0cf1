"""Durations, for people and by people."""

from __future__ import annotations

import os

from codepath.core.errors import UserError


def readable_duration(seconds: float) -> str:
    """90 -> "2 min", 30000 -> "8.3 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def seconds_set(variable: str, default: float) -> float:
    """The seconds that an environment variable sets; UserError where it is no number above 0."""
    wanted = os.environ.get(variable, "")
    try:
        seconds = float(wanted or default)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UserError(f"{variable} is '{wanted}', must be a number of seconds above 0")
    return seconds
