"""What the tests of training share."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from rich.console import Console

from codepath.rundir import METRICS, TIMES, metrics_lines
from codepath.train import FitOptions
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
