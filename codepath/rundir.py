"""Run directories: where runs live, what they were made for, and whether they are done."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codepath.config import RunConfig, differences, run_config_from_dict, to_dict
from codepath.runtime import UserError, json_lines, now, write_text

METRICS = "metrics.jsonl"
WEIGHTS = "model.safetensors"
"""Final weights: their presence means that training is finished."""
TIMES = ("time", "images_per_second", "data_wait", "memory_mib")
"""Keys of a metrics line that two equal runs may differ in."""


@dataclass(frozen=True)
class Places:
    """Where runs live and where their rows go."""

    runs: Path
    results: Path

    def run_dir(self, config: RunConfig) -> Path:
        """RUNS/scale/experiment/run."""
        return self.runs / config.scale / config.experiment / config.name


def read_config(run_dir: Path) -> RunConfig:
    """The configuration that a run directory was made for; UserError where it holds none."""
    path = run_dir / "config.json"
    if not path.exists():
        raise UserError(f"{run_dir} is no run directory: it has no config.json")
    try:
        return run_config_from_dict(json.loads(path.read_text()))
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is damaged ({error}); remove {run_dir}") from None


def claim(config: RunConfig, run_dir: Path) -> None:
    """Write config.json into a run directory, or check that the one there is the same.

    Raises UserError where another configuration stands there.
    """
    path = run_dir / "config.json"
    if not path.exists():
        write_text(path, json.dumps(to_dict(config), indent=2) + "\n")
        return
    changed = differences(to_dict(read_config(run_dir)), to_dict(config))
    if changed:
        raise UserError(
            f"{run_dir} holds a run with another configuration ({'; '.join(changed)}); "
            "remove it or choose another --runs folder"
        )


def is_done(run_dir: Path, config: RunConfig) -> bool:
    """Whether this very configuration was trained and evaluated there."""
    done = run_dir / "DONE"
    return done.exists() and json.loads(done.read_text()).get("run_id") == config.run_id


def mark_done(run_dir: Path, config: RunConfig) -> None:
    """Note that the run is trained and evaluated."""
    write_text(run_dir / "DONE", json.dumps({"run_id": config.run_id, "at": now()}) + "\n")


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


def readable_duration(seconds: float) -> str:
    """90 -> "2 min", 30000 -> "8.3 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
