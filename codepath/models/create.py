"""A model from its configuration."""

from __future__ import annotations

from typing import Any

import timm
from torch import nn

from codepath.core.errors import unknown_name
from codepath.models.entry_points import REGISTERED
from codepath.run.config import ModelConfig


def model_names() -> list[str]:
    """Networks of this package, and timm's baseline for ImageNet."""
    return sorted([*REGISTERED, "resnext50_32x4d"])


def create_model(config: ModelConfig) -> nn.Module:
    """The network that a configuration describes, with fresh weights.

    Raises UserError for an unknown name and for schemes that do not fit the network.
    """
    if config.name not in model_names():
        raise unknown_name("model", config.name, model_names())
    coded: dict[str, Any] = {}
    if config.name in REGISTERED:
        coded = {
            "p_drop": config.p_drop,
            "schemes": config.schemes or None,
            "scheme_family": config.scheme_family,
            "active": config.active or None,
            "aggregate": config.aggregate,
        }
    return timm.create_model(
        config.name, num_classes=config.num_classes, in_chans=config.in_chans, **coded
    )
