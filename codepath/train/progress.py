"""What a person sees while a run trains: a live line on a terminal, a line per epoch elsewhere."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from codepath.core.durations import readable_duration
from codepath.run.events import beat, beat_is_due


class TrainingProgress:
    """Loss, accuracy, images per second and remaining time of a run.

    Args:
        title: name of the run.
        steps: steps of the whole run.
        done: steps that earlier processes made.
        console: where to write; its own detection decides whether it is a terminal.
        run_dir: the run's directory, for its heartbeat; None: without one.
    """

    def __init__(
        self, title: str, steps: int, done: int, console: Console, run_dir: Path | None = None
    ) -> None:
        self._console = console
        self._run_dir = run_dir
        self._title = title
        self._steps, self._first = steps, done
        self._started = time.monotonic()
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f}%  {task.fields[state]}  ETA"),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
            self._task = self._bar.add_task(title, total=steps, completed=done, state="")

    def __enter__(self) -> TrainingProgress:
        if self._bar is not None:
            self._bar.start()
        self._beat(self._first)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, steps_done: int, epoch: int) -> None:
        """Advance the live line, and the heartbeat now and then."""
        if self._run_dir is not None and beat_is_due(self._run_dir):
            self._beat(steps_done, epoch)
        if self._bar is not None:
            self._bar.update(
                self._task, completed=steps_done, description=f"{self._title} epoch {epoch}"
            )

    def recent(self, metrics: dict[str, Any]) -> None:
        """Report the last steps on the live line."""
        if self._bar is not None:
            self._bar.update(self._task, state=_state(metrics))

    def epoch(self, epoch: int, epochs: int, steps_done: int, metrics: dict[str, Any]) -> None:
        """Report a finished epoch (from 1)."""
        self._beat(steps_done, epoch)
        state = _state(metrics)
        if self._bar is not None:
            self._bar.update(self._task, completed=steps_done, state=state)
            return
        remaining = readable_duration(self._remaining(steps_done))
        self._console.print(
            f"{self._title}  epoch {epoch}/{epochs}  {state}  ETA {remaining}",
            highlight=False,
            soft_wrap=True,
        )

    def _remaining(self, steps_done: int) -> float:
        """Seconds until the last step, at the speed of this process so far."""
        elapsed = time.monotonic() - self._started
        return elapsed / max(steps_done - self._first, 1) * (self._steps - steps_done)

    def _beat(self, steps_done: int, epoch: int = 0) -> None:
        """The run's heartbeat; epoch 0 before the first step of this process."""
        if self._run_dir is None:
            return
        progress = {"epoch": epoch} if epoch else {}
        if steps_done > self._first:
            progress["eta_s"] = round(self._remaining(steps_done))
        beat(self._run_dir, "training", done=steps_done / self._steps, **progress)


def _state(metrics: dict[str, Any]) -> str:
    """Loss, accuracy, and speed with the share of time spent waiting for images."""
    parts = [f"loss {metrics['loss']:.3f}", f"train top-1 {100 * metrics['train_top1']:.1f} %"]
    if "test_top1" in metrics:
        parts.append(f"test top-1 {100 * metrics['test_top1']:.1f} %")
    if "images_per_second" in metrics:
        parts.append(f"{metrics['images_per_second']:.0f} img/s")
        parts.append(f"data wait {100 * metrics['data_wait']:.0f} %")
    return "  ".join(parts)
