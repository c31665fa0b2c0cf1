"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math

from codepath.run.config import TrainConfig


def learning_rate(step: int, steps_per_epoch: int, config: TrainConfig) -> float:
    """Linear warm-up, then a cosine from lr to lr_end; constant within an epoch.

    As in the paper's runs the rate steps per epoch: epoch 0 (after the warm-up) trains with lr
    and the cosine would reach lr_end at the end of the last epoch.
    """
    epoch = step // steps_per_epoch
    if epoch < config.warmup_epochs:
        return config.warmup_lr + (config.lr - config.warmup_lr) * epoch / config.warmup_epochs
    progress = (epoch - config.warmup_epochs) / (config.epochs - config.warmup_epochs)
    return config.lr_end + (config.lr - config.lr_end) * (1 + math.cos(math.pi * progress)) / 2
