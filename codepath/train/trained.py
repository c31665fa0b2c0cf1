"""A finished run's network, read from its directory."""

from __future__ import annotations

from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import nn

from codepath.core.errors import UserError
from codepath.models import create_model
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
        model.load_state_dict(safetensors.torch.load_file(weights))
    except (safetensors.SafetensorError, RuntimeError) as error:
        raise UserError(
            f"{weights} is damaged ({str(error).splitlines()[0]}); remove it and repeat the run: "
            "it is made again from the last checkpoint"
        ) from None
    return config, model.to(device).to(memory_format=torch.channels_last).eval()
