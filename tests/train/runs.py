"""What the tests of training share."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from rich.console import Console
from torch import Tensor

from codepath.data import Batch, Normalize
from codepath.run.metrics_file import METRICS, TIMES, metrics_lines
from codepath.train import FitOptions
from codepath.train.loop import Trainer
from codepath.train.progress import TrainingProgress

CPU = torch.device("cpu")
QUIET = Console(quiet=True)
OFTEN = FitOptions(log_steps=2, save_minutes=0)
"""A checkpoint after every step."""


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    """The final weights."""
    return safetensors.torch.load_file(run_dir / "model.safetensors")


def reported(run_dir: Path) -> list[dict[str, Any]]:
    """The metrics' lines without their times."""
    return [
        {key: value for key, value in line.items() if key not in TIMES}
        for line in metrics_lines(run_dir / METRICS)
    ]


def assert_same_run(a: Path, b: Path) -> None:
    """Bit-identical weights, and the same metrics but for times."""
    left, right = weights(a), weights(b)
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert reported(a) == reported(b)
    assert reported(a)


class SignalAfter(TrainingProgress):
    """A progress display that sends its process a signal after some steps."""

    at: frozenset[int] | set[int] = frozenset()
    number = signal.SIGTERM

    def step(self, steps_done: int, epoch: int) -> None:  # noqa: ARG002
        if steps_done in self.at:
            os.kill(os.getpid(), self.number)


def make_steps(made: Trainer, steps: int) -> dict[str, Tensor]:
    """The state after some steps on random images, the same for every trainer."""
    normalize = Normalize((0.4,), (0.3,)).to(made.world.device)
    rng = np.random.default_rng(0)
    for step in range(steps):
        images = torch.from_numpy(rng.integers(0, 256, (32, 8, 8, 1), np.uint8))
        indices = torch.arange(32) + 32 * step
        batch = Batch(images.permute(0, 3, 1, 2), indices % 10, indices)
        made.train_step(batch, 0, normalize)
    return {name: value.cpu() for name, value in made.averaged_state().items()}
