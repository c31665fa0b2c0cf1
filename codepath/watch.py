"""`codepath watch`: a run in training as its metrics.jsonl shows it (no torch)."""

from __future__ import annotations

import itertools
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table

from codepath.config import RunConfig
from codepath.rundir import (
    METRICS,
    WEIGHTS,
    is_done,
    loader_verdict,
    metrics_lines,
    read_config,
    readable_duration,
)

_SILENCE = 10.0
"""A run counts as stopped that has been silent for so many times its usual pause."""


def state_of(run_dir: Path, config: RunConfig, lines: list[dict[str, Any]], age: float) -> str:
    """In words: what the run is doing.

    Args:
        run_dir: the run's directory.
        config: its configuration.
        lines: of its metrics.
        age: seconds since the last of them was written.
    """
    if is_done(run_dir, config):
        return "trained and evaluated"
    if (run_dir / WEIGHTS).exists():
        return "trained, not evaluated yet"
    if (run_dir / "divergence.json").exists():
        report = json.loads((run_dir / "divergence.json").read_text())
        if not lines or report["step"] > lines[-1]["step"]:
            return f"diverged at step {report['step']}: {report['first']} not finite"
    if not lines:
        return "no step reported yet"
    pause = _usual_pause(lines)
    if pause and age > max(_SILENCE * pause, 60):
        return f"silent for {readable_duration(age)}: stopped or stuck; repeat its command"
    return f"training, last report {readable_duration(max(age, 0))} ago"


def _usual_pause(lines: list[dict[str, Any]]) -> float:
    """Median seconds between reports of steps, 0 where there are too few."""
    times = [datetime.fromisoformat(line["time"]).timestamp() for line in lines[-20:]]
    pauses = sorted(b - a for a, b in itertools.pairwise(times))
    return max(pauses[len(pauses) // 2], 0.0) if pauses else 0.0


def report(run_dir: Path, at: datetime | None = None) -> RenderableType:
    """The run's state, its last metrics and those of its coded blocks, as rich shows them.

    Raises UserError where `run_dir` is no run directory.
    """
    config = read_config(run_dir)
    lines = metrics_lines(run_dir / METRICS)
    age = 0.0
    if lines:
        written = datetime.fromisoformat(lines[-1]["time"])
        age = ((at or datetime.now(UTC)) - written).total_seconds()
    parts: list[RenderableType] = [
        f"{config.experiment} {config.name}, {config.scale} scale: "
        + state_of(run_dir, config, lines, age)
    ]
    if lines:
        parts.append(_overview(config, lines))
        if any(key.startswith("coding_loss/") for key in lines[-1]):
            parts.append(_blocks(lines[-1]))
        verdict = loader_verdict(next((x for x in reversed(lines) if "data_wait" in x), {}))
        if verdict:
            parts.append(verdict)
    return Group(*parts)


def _overview(config: RunConfig, lines: list[dict[str, Any]]) -> Table:
    last = lines[-1]
    table = Table(show_header=False, box=None, pad_edge=False)
    epochs = [line for line in lines if line["kind"] == "epoch"]
    per_epoch = epochs[-1]["step"] / epochs[-1]["epoch"] if epochs else 0
    place = f"{last['epoch']} of {config.train.epochs}, step {last['step']:,}"
    if per_epoch:
        steps = per_epoch * config.train.epochs
        place += f" of {steps:,.0f}"
        speed = last.get("images_per_second", 0) / config.train.batch_size
        if speed:
            place += f", {readable_duration((steps - last['step']) / speed)} left"
    table.add_row("epoch", place)
    table.add_row("loss", f"{last['loss']:.4f}, cross-entropy {last['cross_entropy']:.4f}")
    top1 = f"{100 * last['train_top1']:.2f} % on training images"
    tested = [line for line in epochs if "test_top1" in line]
    if tested:
        top1 += f", {100 * tested[-1]['test_top1']:.2f} % on test images"
        top1 += f" (epoch {tested[-1]['epoch']})"
    table.add_row("top-1", top1)
    table.add_row("learning rate", f"{last['lr']:.5g}")
    if "images_per_second" in last:
        waited = 100 * last["data_wait"]
        table.add_row(
            "speed", f"{last['images_per_second']:,.0f} img/s, {waited:.1f} % waiting for images"
        )
    table.add_row("memory", f"{last['memory_mib']:,.0f} MiB")
    return table


def _blocks(line: dict[str, Any]) -> Table:
    """A row for each coded block."""
    table = Table(box=None, pad_edge=False)
    for heading in ("block", "coding loss", "energy of active paths", "of inactive paths"):
        table.add_column(heading, justify="right")
    for key, loss in line.items():
        if key.startswith("coding_loss/"):
            block = key.removeprefix("coding_loss/block")
            energies = [line[f"energy_{kind}/block{block}"] for kind in ("active", "inactive")]
            table.add_row(block, f"{loss:.4f}", *(f"{energy:.3f}" for energy in energies))
    return table


def watch(run_dir: Path, console: Console, every: float = 2.0, once: bool = False) -> None:
    """Show the run until it is trained; once where the console is no terminal."""
    if once or not console.is_terminal:
        console.print(report(run_dir), highlight=False, soft_wrap=True)
        return
    with Live(report(run_dir), console=console, auto_refresh=False) as live:
        while not (run_dir / WEIGHTS).exists():
            time.sleep(every)
            live.update(report(run_dir), refresh=True)
        live.update(report(run_dir), refresh=True)
