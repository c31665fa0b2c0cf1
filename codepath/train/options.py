"""How a run is carried out on this machine: nothing here changes what it computes, but rounding."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field, replace

import torch

from codepath.core.errors import UserError
from codepath.data import LoaderOptions
from codepath.experiments.scales import GPU_SCALES
from codepath.run.config import TrainConfig
from codepath.train.precision import computes_in_bfloat16


@dataclass(frozen=True)
class FitOptions:
    """Speed, memory, and how often a run saves and reports."""

    loader: LoaderOptions = field(default_factory=LoaderOptions)
    device_batch: int = 0
    """Images that a device takes through the network at once; gradients are accumulated until the
    recipe's batch is full. 0: its whole share."""
    compile: bool | None = None
    """Whether torch.compile is used; None: at short and paper scale, in one process with a GPU,
    where there is a C compiler."""
    align: bool | None = None
    """Whether channels are padded and groups merged where a GPU is faster so (see
    `codepath.models.aligned`); None: on a GPU."""
    precision: str = "auto"
    """What it trains in, float32 or bfloat16 (autocast over float32 weights); auto: bfloat16 where
    the recipe allows it and the device computes in it."""
    save_minutes: float = 5.0
    """A checkpoint is written so often within epochs, besides the one after each."""
    keep: int = 2
    """Checkpoints that are kept."""
    evaluate_every: int = 0
    """Epochs between measurements of the top-1 on the test split while training; 0: none. For a
    look at the course of a run: results are those of the last epoch's weights."""
    log_steps: int = 50
    """Steps between two lines of metrics.jsonl."""

    def __post_init__(self) -> None:
        for name in ("device_batch", "evaluate_every"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}, must not be negative")
        for name in ("keep", "log_steps"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}, at least 1 needed")
        if self.save_minutes < 0:
            raise UserError(f"save_minutes is {self.save_minutes}, must not be negative")

    def settled(
        self, device: torch.device, processes: int, scale: str, recipe: TrainConfig
    ) -> FitOptions:
        """These options with `compile`, `align` and `precision` decided.

        Raises UserError where `compile` is asked for and there is no C compiler, and where the
        recipe does not allow the precision.
        """
        recipe.check_precision(self.precision)
        precision = self.precision
        if precision == "auto":
            low = recipe.precision == "bfloat16" and computes_in_bfloat16(device)
            precision = "bfloat16" if low else "float32"
        cuda = device.type == "cuda"
        compiled, aligned = self.compile, self.align
        able = any(map(shutil.which, (os.environ.get("CC", ""), "cc", "gcc", "clang")))
        if compiled is None:
            compiled = cuda and processes == 1 and scale in GPU_SCALES and able
        elif compiled and not able:
            raise UserError(
                "torch.compile needs a C compiler: install gcc, or go without by --no-compile"
            )
        aligned = cuda if aligned is None else aligned
        return replace(self, compile=compiled, align=aligned, precision=precision)

    def share_at_once(self, batch_size: int, processes: int) -> int:
        """Images that each of `processes` takes at once; UserError where they cannot be shared."""
        if batch_size % processes:
            raise UserError(
                f"a batch of {batch_size} cannot be shared by {processes} processes: "
                "choose a number of processes that divides it"
            )
        share = batch_size // processes
        if self.device_batch and share % self.device_batch:
            raise UserError(
                f"device_batch is {self.device_batch}, must divide a process's {share} images "
                f"of the batch of {batch_size}"
            )
        return self.device_batch or share
