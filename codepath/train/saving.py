"""What survives a run's process: its checkpoints, and how the next process goes on from them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from codepath.core.errors import UserError
from codepath.core.files import write_text
from codepath.run.config import RunConfig, differences, run_config_from_dict, to_dict
from codepath.train.checkpoint import Checkpoints
from codepath.train.loop import Trainer
from codepath.train.metrics import MetricsFile
from codepath.train.options import FitOptions


class SavedState:
    """The checkpoints of a run, written by the first process; all processes call its methods.

    Args:
        config: the run.
        run_dir: its directory.
        options: settled for this machine.
        trainer: whose state is saved and restored.
        metrics: the lines that must reach the disk before a checkpoint that follows them.
        data: checksum of the training images.
        say: prints a line.
    """

    def __init__(
        self,
        config: RunConfig,
        run_dir: Path,
        options: FitOptions,
        trainer: Trainer,
        metrics: MetricsFile,
        data: str,
        say: Callable[[str], None],
    ) -> None:
        self.config, self.run_dir, self.options = config, run_dir, options
        self.trainer, self.world, self.metrics = trainer, trainer.world, metrics
        self.data, self.say = data, say
        self.checkpoints = Checkpoints(run_dir / "ckpt", options.keep)
        self.best: dict[str, Any] = {}
        """Epoch and metrics of the best test top-1 so far, where the run is measured meanwhile."""
        self.step = 0
        """The step of the newest checkpoint."""
        self._saved_at = time.monotonic()

    @property
    def overdue(self) -> bool:
        """Whether it is time for another checkpoint."""
        return time.monotonic() - self._saved_at >= 60 * self.options.save_minutes

    def layout(self) -> dict[str, Any]:
        """What rounding depends on besides the configuration."""
        return {
            "device": self.world.device.type,
            "processes": self.world.size,
            "device_batch": self.trainer.device_batch,
            "precision": self.options.precision,
            "threads": torch.get_num_threads() if self.world.device.type == "cpu" else 0,
            "compiled": self.options.compile,
            "aligned": self.options.align,
        }

    def resume(self) -> None:
        """Bring the trainer to the newest checkpoint; without one it stays at its start.

        Raises UserError where the checkpoint is of another configuration or of other images.
        """

        def newest() -> dict[str, Any] | None:
            self.checkpoints.clean()
            return self.checkpoints.newest(self.say)

        state = self.world.by_first(newest)
        if state is None:
            self.metrics.rewind(0)
            return
        self._check_state(state)
        self.trainer.restore(state)
        self.best = state["best"]
        self.step = self.trainer.step
        self.metrics.rewind(self.trainer.step)
        title = f"{self.config.experiment} {self.config.name}"
        epoch, batches = divmod(self.trainer.step, self.trainer.steps_per_epoch)
        place = f"after epoch {epoch}" if batches == 0 else f"in epoch {epoch + 1}"
        self.say(
            f"{title}: resuming {place} of {self.config.train.epochs} (step {self.trainer.step})"
        )
        # A layout without a precision is of a run that trained in its recipe's.
        before = {"precision": self.config.train.precision, **state["layout"]}
        changed = differences(before, self.layout())
        if changed:
            self.say(
                f"{title}: goes on with {'; '.join(changed)}: the result is the same up to "
                "rounding, no more to the bit"
            )

    def _check_state(self, state: dict[str, Any]) -> None:
        folder = self.checkpoints.folder
        changed = differences(to_dict(run_config_from_dict(state["config"])), to_dict(self.config))
        if changed:
            raise UserError(
                f"{folder} is of a run with another configuration ({'; '.join(changed)}); "
                "remove it to train from the start"
            )
        if state["data"] != self.data:
            raise UserError(
                f"the training images are not those that the run began with ({self.data}, before: "
                f"{state['data']}); restore them, or remove {folder} to train from the start"
            )

    def save(self) -> None:
        """Write a checkpoint, unless there is one of this step.

        Raises Diverged where losses or weights are not finite: nothing of that is saved.
        """
        step = self.trainer.step
        if step == self.step:
            return
        self.check(weights=True)
        state = {
            "config": to_dict(self.config),
            "data": self.data,
            "layout": self.layout(),
            "best": self.best,
            **self.trainer.state(),
        }

        def write() -> None:
            self.metrics.sync()
            self.checkpoints.save(step, state)

        self.world.by_first(write)
        self.step, self._saved_at = step, time.monotonic()

    def check(self, weights: bool = False) -> None:
        """Raises Diverged where a loss, or a weight if asked, is not finite in any process."""
        troubles = self.world.gather(self.trainer.trouble(weights))
        found = [trouble for trouble in troubles if trouble is not None]
        if not found:
            return
        kept = (
            f"the checkpoint of step {self.step} is kept" if self.step
            else "no checkpoint was made yet"
        )  # fmt: skip
        error = self.trainer.diverged(min(found, key=lambda t: t["step"]), kept)
        if self.world.first:
            path = self.run_dir / "divergence.json"
            write_text(path, json.dumps(error.report, indent=1) + "\n")
        raise error
