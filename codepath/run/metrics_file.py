"""The lines of metrics.jsonl: reading them, and what they say about loading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from codepath.core.files import json_lines
from codepath.core.plain import is_type
from codepath.core.provenance import is_time

METRICS = "metrics.jsonl"


TIMES = ("time", "images_per_second", "data_wait", "memory_mib")
"""Keys of a metrics line whose values may differ between two equal runs."""


def metrics_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl, oldest first; cut and damaged lines are left out."""
    return [line for line in json_lines(path) if _is_line(line)]


def _is_line(line: dict[str, Any]) -> bool:
    """Whether a line says to which step it belongs, and all else in it are numbers."""
    values = dict(line)
    kind = values.pop("kind", "")
    places = [values.get("step"), values.get("epoch", 1)]
    return (
        kind in ("steps", "epoch")
        and ("time" not in values or is_time(values.pop("time")))
        and all(is_type(place, int) and place >= 0 for place in places)
        and all(type(value) is float or is_type(value, float) for value in values.values())
    )


BOTTLENECK = 0.2
"""Loading is called the bottleneck where at least this share of the time is spent waiting."""


def loader_verdict(line: dict[str, Any]) -> str:
    """Advice on loading, judged by a metrics line; empty where loading keeps up."""
    waited = line.get("data_wait", 0.0)
    if waited < BOTTLENECK:
        return ""
    return (
        f"{100 * waited:.0f} % of the time is spent waiting for images: loading is the bottleneck; "
        "give it more cores or, for images in files, build a beton (codepath data build)"
    )
