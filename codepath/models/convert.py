"""Weights in the layout of the authors' code, as weights of this package's networks.

Their blocks name the layers after what they do, and hold the expanding convolution of a coded
block as a grouped one, (N*C, d, 1, 1), whose entry n*C + c is row c of W_n. Here it is dense,
(C, N*d, 1, 1), with columns n*d to (n+1)*d for W_n. Their networks are one list of layers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor

from codepath.codes import CodingScheme
from codepath.core.errors import UserError, unknown_name
from codepath.models.coded_resnext import CodedResNeXt
from codepath.models.entry_points import REGISTERED
from codepath.models.weights import read_torch

_LAYERS = {
    "conv_reduce": "conv1",
    "bn_reduce": "bn1",
    "conv_internal": "conv2",
    "bn_internal": "bn2",
    "conv_expand": "conv3",
    "bn_expand": "bn3",
    "skip_connection.conv_skip": "downsample.0",
    "skip_connection.bn_skip": "downsample.1",
}
_SCHEME = "Mask_perClass"


def convert_block(state: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """A block's weights, or their gradients, under this package's names and shapes.

    Args:
        state: the authors' names to tensors, without the block's own prefix.
        prefix: what stood before the names, for messages.

    Returns:
        Names of `CodedBottleneck` to tensors; for an uncoded block (every path active for every
        class) names of timm's bottleneck, without codewords.

    Raises UserError for a name that is not the authors', naming it.
    """
    converted: dict[str, Tensor] = {}
    for name, value in state.items():
        if name == _SCHEME:
            if not value.all():
                converted["codewords"] = value.to(torch.uint8)
            continue
        layer, _, kind = name.rpartition(".")
        if layer not in _LAYERS:
            raise UserError(
                f"{prefix}{name} is no weight of the authors' block: convert a checkpoint of their "
                "code, unchanged"
            )
        if layer == "conv_expand":
            value = _dense(value, state, prefix)
        converted[f"{_LAYERS[layer]}.{kind}"] = value
    return converted


def _dense(value: Tensor, state: Mapping[str, Tensor], prefix: str) -> Tensor:
    """(N*C, d, 1, 1) to (C, N*d, 1, 1); dense weights stay."""
    if "conv_reduce.weight" not in state:
        raise UserError(f"{prefix}conv_reduce.weight is missing: the checkpoint is incomplete")
    hidden = len(torch.atleast_1d(state["conv_reduce.weight"]))
    width = value.shape[1] if value.ndim == 4 else 0
    if hidden == width:
        return value
    if not hidden or not width or hidden % width or len(value) % (hidden // width):
        raise UserError(
            f"{prefix}conv_expand.weight has the shape {tuple(value.shape)}, which does not go "
            f"with {hidden} channels before it: the checkpoint is not one of the authors' code"
        )
    grouped = value.reshape(hidden // width, -1, width)  # (N, C, d)
    return grouped.permute(1, 0, 2).reshape(-1, hidden, 1, 1)


def convert_checkpoint(state: Mapping[str, Tensor], model: CodedResNeXt) -> dict[str, Tensor]:
    """A whole network's weights for `model.load_state_dict`.

    Layers are told by what they hold, in the order of their numbers in `net_list.NUMBER`: a
    stem, blocks, a linear layer. The codewords are the checkpoint's.

    Raises UserError, naming the key, where a weight is missing, unknown or of another shape.
    """
    layers: dict[int, dict[str, Tensor]] = {}
    for key, value in state.items():
        match = re.fullmatch(r"(?:module\.)?net_list\.([0-9]{1,6})\.(.+)", key)
        if match is None:
            raise UserError(
                f"{key} is no weight of the authors' networks (net_list.NUMBER.NAME): convert a "
                "checkpoint of their code, unchanged"
            )
        layers.setdefault(int(match[1]), {})[match[2]] = value
    names = _block_names(model)
    theirs = {index for index, layer in layers.items() if any("conv_" in name for name in layer)}
    if len(theirs) != len(names):
        raise UserError(
            f"the checkpoint has {len(theirs)} blocks, the network {len(names)}: "
            "name the network that the checkpoint is of"
        )
    converted: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    for index in sorted(layers):
        prefix = f"net_list.{index}."
        if index in theirs:
            ours, layer = names.pop(0), convert_block(layers[index], prefix)
        else:
            ours, layer = _plain_layer(layers[index]), layers[index]
        for name, value in layer.items():
            converted[f"{ours}.{name}"] = value
            origin[f"{ours}.{name}"] = prefix + name
    _check(converted, origin, model)
    return converted


def _block_names(model: CodedResNeXt) -> list[str]:
    return [f"{s}.{i}" for s in model.layer_names for i in range(len(getattr(model, s)))]


def _plain_layer(layer: Mapping[str, Tensor]) -> str:
    if "running_mean" in layer:
        return "bn1"
    return "fc" if "weight" in layer and layer["weight"].ndim == 2 else "conv1"


def _check(converted: Mapping[str, Tensor], origin: Mapping[str, str], model: CodedResNeXt) -> None:
    """Every weight of the network once, in its shape."""
    expected = model.state_dict()
    name = getattr(model, "pretrained_cfg", {}).get("architecture", "network")
    for key, value in converted.items():
        if key not in expected:
            raise UserError(
                f"{name} has no {key} for the checkpoint's {origin[key]}: name the network that "
                "the checkpoint is of"
            )
        if value.shape != expected[key].shape:
            raise UserError(
                f"{origin[key]} has the shape {tuple(value.shape)}, {key} of {name} "
                f"{tuple(expected[key].shape)}: name the network that the checkpoint is of"
            )
    for key in expected:
        if key not in converted:
            raise UserError(f"the checkpoint holds nothing for {key} of {name}: it is incomplete")


def read_checkpoint(file: Path, ema: bool = False) -> dict[str, Tensor]:
    """The weights in a file that the authors' code or timm wrote; nothing in it is executed.

    Args:
        file: of torch.save: the weights themselves, or a dict with them under "state_dict".
        ema: take the moving average, "state_dict_ema".

    Raises UserError for a file that is none.
    """
    try:
        content = read_torch(file)
    except FileNotFoundError:
        raise UserError(f"{file} is not there: give the path of the checkpoint") from None
    except ValueError as error:
        raise UserError(
            f"{file} cannot be read as weights ({error}): save its state_dict alone with torch.save"
        ) from None
    key = "state_dict_ema" if ema else "state_dict"
    if isinstance(content, dict) and key in content:
        content = content[key]
    elif ema:
        raise UserError(f"{file} has no moving average (state_dict_ema): leave out --ema")
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and _is_plain(value) for name, value in content.items()
    ):
        raise UserError(f"{file} holds no state_dict: save one with torch.save")
    return content


def _is_plain(value: Any) -> bool:
    """Whether a value is a tensor that holds every one of its numbers."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_complex():
        return False
    size = value.numel() * value.element_size()
    return value.device.type == "cpu" and size <= value.untyped_storage().nbytes()


def create_converted(name: str, file: Path, ema: bool = False) -> CodedResNeXt:
    """The network `name` with the authors' weights and codewords, its classes the checkpoint's."""
    if name not in REGISTERED:
        raise unknown_name("network", name, REGISTERED)
    state = read_checkpoint(file, ema)
    heads = [value for value in state.values() if value.ndim == 2 and value.dtype != torch.bool]
    classes = len(heads[-1]) if heads else None
    model = timm.create_model(name, num_classes=classes, schemes=_schemes(state))
    assert isinstance(model, CodedResNeXt)
    model.load_state_dict(convert_checkpoint(state, model))
    return model


def _schemes(state: Mapping[str, Tensor]) -> list[CodingScheme]:
    """The checkpoint's codewords of every coded block, in order; UserError where they are none.

    With them the network is made, since designing others for its classes could take minutes.
    """
    tables = {}
    for key, value in state.items():
        match = re.fullmatch(rf"(?:module\.)?net_list\.([0-9]{{1,6}})\.{_SCHEME}", key)
        if match is not None and not value.all():
            tables[int(match[1])] = CodingScheme(value.float().numpy())
    return [tables[number] for number in sorted(tables)]
