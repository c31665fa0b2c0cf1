"""What every use of a trained run begins with: its coded network, and classes by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from codepath.core.errors import UserError, unknown_name
from codepath.models import CodedResNeXt
from codepath.run.config import RunConfig
from codepath.train import choose_device, load_trained

LATENCY_BATCHES = (1, 64)
"""Images per call in timings: one image, which really leaves at its exit, and a batch."""


def load_coded(run_dir: Path) -> tuple[RunConfig, CodedResNeXt, torch.device]:
    """A trained run's configuration, coded network and device; UserError for a plain network."""
    device = choose_device()
    config, model = load_trained(run_dir, device)
    if not isinstance(model, CodedResNeXt) or not model.coded_blocks:
        raise UserError(
            f"{run_dir} holds a plain network ({config.model.name}): its classes have no paths; "
            "name the run of a coded one"
        )
    return config, model, device


def class_indices(name: str, class_names: Sequence[str]) -> list[int]:
    """The index of a class, by its name or number, or all for "all"; UserError if unknown."""
    if name == "all":
        return list(range(len(class_names)))
    if name in class_names:
        return [list(class_names).index(name)]
    if name.isdecimal() and int(name) < len(class_names):
        return [int(name)]
    raise unknown_name("class", name, class_names)
