"""What a run reports of itself: means over steps, and lines of metrics.jsonl."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codepath.core.errors import UserError
from codepath.core.files import append_line, sync, write_text
from codepath.core.provenance import now
from codepath.run.metrics_file import METRICS, metrics_lines
from codepath.train.distributed import World
from codepath.train.losses import LossParts


def values_of(parts: LossParts, labels: Tensor) -> dict[str, Tensor]:
    """The scalars of a forward pass, by name, without gradients.

    loss, cross_entropy, train_top1, and of each coded block coding_loss/blockL (Eq. 5) and the mean
    energies energy_active/blockL and energy_inactive/blockL, which a perfect code would make 1/r
    and 0. By objective also question_loss, and of each block score_loss/blockL. Of the images that
    were asked train_top1 takes none.
    """
    right = (parts.logits.argmax(1) == labels).float()
    seen = parts.unasked
    values = {
        "loss": parts.total,
        "cross_entropy": parts.cross_entropy,
        "train_top1": right.mean() if seen is None else (right * seen).sum() / seen.sum().clamp(1),
    }
    if parts.questions is not None:
        values["question_loss"] = parts.questions
    for number, loss in parts.scores.items():
        values[f"score_loss/block{number}"] = loss
    for number, loss in parts.coding.items():
        values[f"coding_loss/block{number}"] = loss
    for number, means in parts.energies.items():
        values[f"energy_active/block{number}"] = means[0]
        values[f"energy_inactive/block{number}"] = means[1]
    return {name: value.detach().float() for name, value in values.items()}


class Meter:
    """Sums of named scalars over images, on the device, and where one was first not finite."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.clear()

    def clear(self) -> None:
        """Start anew."""
        self.names: list[str] = []
        self.sums = torch.zeros(0, dtype=torch.float64, device=self._device)
        self.images = 0

    def add(self, names: list[str], values: Tensor, images: int) -> None:
        """Add (len(names),) means over `images` images."""
        if not self.names:
            self.names = list(names)
            self.sums = torch.zeros(len(names), dtype=torch.float64, device=self._device)
        self.sums += values * images
        self.images += images

    def means(self, world: World) -> dict[str, float]:
        """The means over all processes' images."""
        counted = torch.tensor([self.images], dtype=torch.float64, device=self._device)
        total = world.sum(torch.cat([self.sums, counted])).tolist()
        return {name: value / total[-1] for name, value in zip(self.names, total, strict=False)}

    def state(self) -> dict[str, Any]:
        """To be saved."""
        return {"names": self.names, "sums": self.sums.cpu(), "images": self.images}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.names, self.images = list(state["names"]), int(state["images"])
        self.sums = state["sums"].to(self._device)


class Stopwatch:
    """Images per second and the share of time spent waiting for data, since it was started."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """From now on."""
        self.started = time.monotonic()
        self.waited = 0.0
        self.images = 0

    def read(self, processes: int) -> dict[str, float]:
        """images_per_second of all processes, and data_wait in [0, 1] of this one.

        Empty where no image was counted: another process, since ended, took them.
        """
        if not self.images:
            return {}
        seconds = max(time.monotonic() - self.started, 1e-9)
        return {
            "images_per_second": round(processes * self.images / seconds, 1),
            "data_wait": round(min(self.waited / seconds, 1.0), 4),
        }


def memory_mib(device: torch.device) -> float:
    """Most memory that the allocator held (CUDA), or this process's resident memory."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


class MetricsFile:
    """metrics.jsonl of a run: a line every few steps ("kind": "steps") and every epoch ("epoch").

    The first process writes; the others' calls do nothing.
    """

    def __init__(self, run_dir: Path, writes: bool) -> None:
        self._path = run_dir / METRICS
        self._writes = writes

    def write(self, kind: str, values: dict[str, Any]) -> None:
        """Append one line."""
        if not self._writes:
            return
        try:
            append_line(self._path, json.dumps({"kind": kind, **values, "time": now()}))
        except OSError as error:
            raise UserError(
                f"cannot write {self._path} ({error.strerror}): mend this and repeat the command, "
                "the run goes on from its last checkpoint"
            ) from None

    def sync(self) -> None:
        """Flush to disk: lines are to be there whenever what is saved after them is."""
        if self._writes and self._path.exists():
            sync(self._path)

    def rewind(self, step: int) -> None:
        """Drop what a state after `step` steps will write again, and lines cut by a kill."""
        if not self._writes or not self._path.exists():
            return
        kept = [
            line
            for line in metrics_lines(self._path)
            if line["step"] < step or (line["step"] == step and line["kind"] == "steps")
        ]
        write_text(self._path, "".join(json.dumps(line) + "\n" for line in kept))
