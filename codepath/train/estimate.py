"""How long a run will take, measured before it starts."""

from __future__ import annotations

import copy
import statistics
import time

import torch
from torch import Tensor

from codepath.run.config import TrainConfig
from codepath.train.graph import WARM_UP, Recorded
from codepath.train.losses import TrainingObjective
from codepath.train.precision import autocast

_PATIENCE = 10.0
"""Seconds after which a slow machine's steps so far must do."""


def images_per_second(
    objective: TrainingObjective,
    config: TrainConfig,
    image_shape: tuple[int, int, int],
    classes: int,
    device: torch.device,
    device_batch: int,
    precision: str,
    steps: int = 5,
) -> float:
    """Training speed over a few steps on random images; loading is not included.

    On the CPU, where the speed hardly depends on it, the batch is about 64 images at most. Works
    on a copy: weights, statistics and random states stay as they are.

    Args:
        objective: network and loss.
        config: the recipe.
        image_shape: (C, H, W).
        classes: K.
        device: where they are.
        device_batch: images at once.
        precision: that it trains in.
        steps: that are timed.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        trial = copy.deepcopy(objective).train()
        batch = device_batch
        if device.type == "cpu":  # whole groups of batch norm
            group = config.bn_batch if device_batch % (config.bn_batch or 1) == 0 else 0
            batch = min(batch, max(64 // group, 1) * group if group else 64)
        images = torch.randn(batch, *image_shape, device=device)
        images = images.to(memory_format=torch.channels_last)
        labels = torch.randint(classes, (batch,), device=device)

        def work() -> Tensor:
            with autocast(device, precision):
                total = trial(images, labels).total
            total.backward()
            return total.detach()

        cuda = device.type == "cuda"
        step = Recorded(work, device) if cuda else work
        warm_up = WARM_UP + 1 if cuda else 2
        seconds: list[float] = []
        for _ in range(steps + warm_up):
            if sum(seconds) > _PATIENCE and len(seconds) > warm_up - 1:
                break
            started = time.perf_counter()
            step().item()  # waits for the device
            seconds.append(time.perf_counter() - started)
    if cuda:  # the trial's memory is not the run's
        del trial, images, labels, step
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    measured = seconds[warm_up:] or seconds[warm_up - 1 :]
    return batch / statistics.median(measured)
