"""The lines of metrics.jsonl: reading them, and what they say about loading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from codepath.core.files import json_lines

METRICS = "metrics.jsonl"


TIMES = ("time", "images_per_second", "data_wait", "memory_mib")
"""Keys of a metrics line that two equal runs may differ in."""


def metrics_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl, oldest first; a last line that a kill cut short is left out."""
    text = path.read_text(errors="replace") if path.exists() else ""
    return [line for line in json_lines(text) if "step" in line and "kind" in line]


BOTTLENECK = 0.2
"""Share of the time spent waiting for images from which on loading is called the bottleneck."""


def loader_verdict(line: dict[str, Any]) -> str:
    """What to do about loading, judged by a metrics line; empty where it keeps up."""
    waited = line.get("data_wait", 0.0)
    if waited < BOTTLENECK:
        return ""
    return (
        f"{100 * waited:.0f} % of the time is spent waiting for images: loading is the bottleneck; "
        "give it more cores or, for images in files, build a beton (codepath data build)"
    )
