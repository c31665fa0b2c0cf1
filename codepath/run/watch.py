"""`codepath watch`: shows a run in training, from its metrics.jsonl (no torch)."""

from __future__ import annotations

import itertools
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from codepath.core.durations import readable_duration
from codepath.core.errors import one_line
from codepath.core.files import read_json
from codepath.run.config import RunConfig
from codepath.run.directory import WEIGHTS, read_config
from codepath.run.metrics_file import METRICS, loader_verdict, metrics_lines
from codepath.run.state import RunStatus, look_all

_SILENCE = 10.0
"""A run counts as silent after this many times its usual pause between reports."""
_SHOWN = {"epoch", "loss", "cross_entropy", "train_top1", "lr", "memory_mib", "time"}
"""What a line of metrics needs to be shown."""
_EVERY_S, _EVERY_ON_SLURM_S = 2.0, 30.0
"""Seconds between looks; the second where each look asks Slurm, which is to be asked seldom."""


def state_of(status: RunStatus, lines: list[dict[str, Any]], age: float) -> str:
    """The run's state as `codepath status` shows it, and what its metrics add.

    Args:
        status: the run's status.
        lines: the lines of its metrics.jsonl.
        age: seconds since the last line was written.
    """
    if status.state == "done":
        return "done: trained and evaluated"
    said = ", ".join(part for part in (status.state, status.progress, status.slurm) if part)
    if (status.run_dir / WEIGHTS).exists():
        said += "; trained, not evaluated yet"
    elif status.state == "running":
        said += f"; {_last_report(lines, age)}"
    return "\n".join(map(one_line, [said + _divergence(status.run_dir, lines), *status.error]))


def _last_report(lines: list[dict[str, Any]], age: float) -> str:
    if not lines:
        return "no step reported yet"
    pause = _usual_pause(lines)
    if pause and age > max(_SILENCE * pause, 60):
        return f"silent for {readable_duration(age)}: stuck? codepath status says whether it lives"
    return f"last report {readable_duration(max(age, 0))} ago"


def _divergence(run_dir: Path, lines: list[dict[str, Any]]) -> str:
    try:
        found = read_json(run_dir / "divergence.json")
        step, first = found["step"], found["first"]
        if lines and step <= lines[-1]["step"]:
            return ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # there is none, or a damaged one: the run's failure says it, too
    return f"; diverged at step {step}: {first} not finite"


def _usual_pause(lines: list[dict[str, Any]]) -> float:
    """Median seconds between the last 20 lines of metrics; 0 where there are fewer than two."""
    times = [datetime.fromisoformat(line["time"]).timestamp() for line in lines[-20:]]
    pauses = sorted(b - a for a, b in itertools.pairwise(times))
    return max(pauses[len(pauses) // 2], 0.0) if pauses else 0.0


def report(status: RunStatus, at: datetime | None = None) -> RenderableType:
    """The run's state, its last metrics, and those of its coded blocks, for rich to show.

    Raises UserError where there is no run directory.
    """
    config = read_config(status.run_dir)
    lines = [line for line in metrics_lines(status.run_dir / METRICS) if line.keys() >= _SHOWN]
    age = 0.0
    if lines:
        written = datetime.fromisoformat(lines[-1]["time"])
        age = ((at or datetime.now(UTC)) - written).total_seconds()
    title = f"{config.experiment} {config.name}, {config.scale} scale: "
    parts: list[RenderableType] = [Text(title + state_of(status, lines, age))]
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
    per_epoch = epochs[-1]["step"] / max(epochs[-1]["epoch"], 1) if epochs else 0
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
        waited = 100 * last.get("data_wait", 0.0)
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
            energies = [line.get(f"energy_{kind}/block{block}") for kind in ("active", "inactive")]
            shown = ("" if energy is None else f"{energy:.3f}" for energy in energies)
            table.add_row(Text(block), f"{loss:.4f}", *shown)
    return table


def watch(run_dir: Path, console: Console, once: bool = False) -> None:
    """Show the run until it has ended; only once with `once` or where there is no terminal."""
    (status,) = look_all([run_dir])
    if once or not console.is_terminal:
        console.print(report(status), highlight=False, soft_wrap=True)
        return
    with Live(report(status), console=console, auto_refresh=False) as live:
        while status.is_under_way or status.state == "new":
            time.sleep(_EVERY_ON_SLURM_S if status.is_asked_about else _EVERY_S)
            (status,) = look_all([run_dir])
            live.update(report(status), refresh=True)
