"""A network as a folder that timm loads: `timm.create_model("local-dir:FOLDER", pretrained=True)`.

The weights hold the codewords. The configuration holds the schemes once more, since a network is
built before its weights are read.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
from torch import Tensor, nn

from codepath.core.errors import UserError
from codepath.core.files import atomic_path, make_directory, write_text
from codepath.models.coded_block import CodedBottleneck
from codepath.models.coded_resnext import CodedResNeXt

_OTHERS_WEIGHTS = (
    "url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "tag", "description",
    "label_names",
)  # fmt: skip
"""What timm's configuration says of the weights that an entry point can load."""


def save_local(model: nn.Module, folder: Path | str) -> Path:
    """Write model.safetensors and config.json; returns the folder.

    What was given to `timm.create_model` travels along, as do the number of classes, input
    channels, schemes, pooling and drop rates as they are now.

    Args:
        model: a CodedResNeXt or another model made by `timm.create_model`.
        folder: made where it is missing; files of the same names are replaced.

    Raises UserError for a model that timm did not make and for one with removed stages.
    """
    config = local_config(model)
    folder = make_directory(Path(folder))
    save_tensors(folder / "model.safetensors", model.state_dict(), {"format": "pt"})
    write_text(folder / "config.json", json.dumps(config, indent=1) + "\n")
    return folder


def save_tensors(path: Path, state: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file whole or not at all; UserError where it cannot be written."""
    tensors = {name: value.contiguous().cpu() for name, value in state.items()}
    try:
        with atomic_path(path) as temporary:
            safetensors.torch.save_file(tensors, temporary, metadata=metadata)
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(
            f"cannot write {path} ({getattr(error, 'strerror', None) or error}): mend this and "
            "repeat the command; what was finished is kept"
        ) from None


def local_config(model: nn.Module) -> dict[str, Any]:
    """The content of config.json: what timm needs to build `model` again."""
    cfg: dict[str, Any] = dict(getattr(model, "pretrained_cfg", {}))
    if "architecture" not in cfg:
        raise UserError(
            f"{type(model).__name__} was not made by timm.create_model, so timm cannot make it "
            "again: create the network by its name"
        )
    pretrained_cfg = {k: v for k, v in cfg.items() if v is not None and k not in _OTHERS_WEIGHTS}
    architecture = pretrained_cfg.pop("architecture")
    arguments = {
        key: value
        for key, value in getattr(model, "_model_args", {}).items()
        if key not in ("num_classes", "in_chans", "schemes", "saved_schemes", "features_only")
    }
    if isinstance(model, CodedResNeXt):
        if not all(len(getattr(model, name)) for name in model.layer_names):
            raise UserError("the network has lost stages to pruning: save the whole network")
        arguments |= _coded_arguments(model)
    in_chans = int(getattr(model, "in_chans", cfg["input_size"][0]))
    pretrained_cfg["num_classes"] = model.num_classes
    pretrained_cfg["input_size"] = (in_chans, *cfg["input_size"][1:])
    for key in ("mean", "std"):
        if len(cfg[key]) != in_chans:
            pretrained_cfg[key] = (sum(cfg[key]) / len(cfg[key]),) * in_chans
    return {
        "architecture": architecture,
        "num_classes": model.num_classes,
        "num_features": model.num_features,
        "model_args": arguments,
        "pretrained_cfg": pretrained_cfg,
    }


def _coded_arguments(model: CodedResNeXt) -> dict[str, Any]:
    """Arguments of the entry point as they are now; each scheme as K words such as "0110"."""
    arguments = {
        "scheme_family": model.scheme_family,
        "p_drop": model.p_drop,
        "drop_rate": model.drop_rate,
        "global_pool": model.global_pool.pool_type,
    }
    runs = [
        [block.scheme.table for block in run]
        for name in model.layer_names
        for _, blocks in itertools.groupby(getattr(model, name), _active)
        if isinstance((run := list(blocks))[0], CodedBottleneck)
    ]
    if all(np.array_equal(table, run[0]) for run in runs for table in run):
        runs = [run[:1] for run in runs]
    saved = [["".join(map(str, word)) for word in table] for run in runs for table in run]
    return arguments | ({"saved_schemes": saved} if saved else {})


def _active(block: nn.Module) -> int:
    return block.active if isinstance(block, CodedBottleneck) else 0
