"""The lines of metrics.jsonl: reading them, and what they say about loading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from codepath.core.files import json_lines

METRICS = "metrics.jsonl"


TIMES = ("time", "images_per_second", "data_wait", "memory_mib")
"""Keys of a metrics line whose values may differ between two equal runs."""


def metrics_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl, oldest first; lines that a kill cut short are left out."""
    text = path.read_text(errors="replace") if path.exists() else ""
    return [line for line in json_lines(text) if "step" in line and "kind" in line]


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
