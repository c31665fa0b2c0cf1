"""A finished run's network, read from its directory."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from codepath.core.errors import UserError
from codepath.models import CodedResNeXt, create_model
from codepath.models.weights import load_weights, read_safetensors
from codepath.run.config import RunConfig
from codepath.run.directory import WEIGHTS, read_config


def load_trained(run_dir: Path, device: torch.device) -> tuple[RunConfig, nn.Module]:
    """A finished run's configuration and network in evaluation mode.

    Raises UserError where training is not finished or the weights are damaged.
    """
    config = read_config(run_dir)
    weights = run_dir / WEIGHTS
    if not weights.exists():
        raise UserError(f"{run_dir} has no final weights yet: finish its training first")
    model = create_model(config.model)
    try:
        load_weights(model, read_safetensors(weights)[1])
        if isinstance(model, CodedResNeXt):
            for block in model.coded_blocks.values():
                block.set_scheme(block.scheme)  # raises where the codewords are no scheme
    except ValueError as error:
        raise UserError(
            f"{weights} is damaged ({error}); remove it and repeat the run: it is made again from "
            "the last checkpoint"
        ) from None
    return config, model.to(device).to(memory_format=torch.channels_last).eval()
