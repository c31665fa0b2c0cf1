"""What a person sees while a run trains: a live line on a terminal, a line per epoch elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class TrainingProgress:
    """Loss, accuracy, images per second and remaining time of a run.

    Args:
        title: name of the run.
        steps: steps of the whole run.
        done: steps that earlier processes made.
        console: where to write; its own detection decides whether it is a terminal.
    """

    def __init__(self, title: str, steps: int, done: int, console: Console) -> None:
        self._console = console
        self._title = title
        self._steps, self._first = steps, done
        self._started = time.monotonic()
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
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
        """Advance the live line."""
        if self._bar is not None:
            self._bar.update(
                self._task, completed=steps_done, description=f"{self._title} epoch {epoch}"
            )

    def epoch(self, epoch: int, epochs: int, steps_done: int, metrics: dict[str, float]) -> None:
        """Report a finished epoch (from 1)."""
        state = (
            f"loss {metrics['loss']:.3f}  train top-1 {100 * metrics['train_top1']:.1f} %  "
            f"{metrics['images_per_second']:.0f} img/s"
        )
        if self._bar is not None:
            self._bar.update(self._task, completed=steps_done, state=state)
            return
        elapsed = time.monotonic() - self._started
        remaining = elapsed / (steps_done - self._first) * (self._steps - steps_done)
        self._console.print(
            f"{self._title}  epoch {epoch}/{epochs}  {state}  ETA {remaining:.0f} s",
            highlight=False,
            soft_wrap=True,
        )
