"""One epoch of training."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch

from codepath.config import TrainConfig
from codepath.data import Loader, Normalize
from codepath.losses import TrainingObjective
from codepath.runtime import UserError
from codepath.train.schedule import learning_rate


def train_epoch(
    objective: TrainingObjective,
    loader: Loader,
    normalize: Normalize,
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
    epoch: int,
    device: torch.device,
    on_step: Callable[[int], None],
) -> dict[str, float]:
    """Train for epoch number `epoch` (from 0) and return its mean metrics.

    Calls `on_step` with the number of steps made since the start of the run. Raises UserError
    at the first epoch whose loss is not finite, before anything of it can be saved.
    """
    objective.train()
    loader.set_epoch(epoch)
    sums: dict[str, torch.Tensor] = {}
    images_seen = 0
    started = time.monotonic()
    for step, batch in enumerate(loader, start=epoch * len(loader)):
        rate = learning_rate(step, len(loader), config)
        for group in optimizer.param_groups:
            group["lr"] = rate
        images = normalize(batch.images.to(device, non_blocking=True))
        labels = batch.labels.to(device, non_blocking=True)
        with torch.autocast(
            device.type, dtype=torch.bfloat16, enabled=config.precision == "bfloat16"
        ):
            parts = objective(images, labels)
        optimizer.zero_grad(set_to_none=True)
        parts.total.backward()
        optimizer.step()

        size = len(labels)
        images_seen += size
        values = {
            "loss": parts.total,
            "cross_entropy": parts.cross_entropy,
            "train_top1": (parts.logits.argmax(1) == labels).float().mean(),
            **{f"coding_loss/block{number}": loss for number, loss in parts.coding.items()},
        }
        for name, value in values.items():
            sums[name] = sums.get(name, torch.zeros((), device=device)) + value.detach() * size
        on_step(step + 1)
    means = {name: float(total) / images_seen for name, total in sums.items()}
    broken = [name for name, value in means.items() if not math.isfinite(value)]
    if broken:
        raise UserError(
            f"training diverged in epoch {epoch + 1}: {', '.join(broken)} not finite; "
            f"the last good checkpoint is kept, try a smaller learning rate"
        )
    means["lr"] = learning_rate(epoch * len(loader), len(loader), config)
    means["images_per_second"] = images_seen / (time.monotonic() - started)
    return means
