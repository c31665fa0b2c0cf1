"""Parameters and multiply-adds (Table 1 and 4)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from codepath.store import Measurement


def _stages(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """stem, layer1 .., head -> names of the children that run in them, in order."""
    layers = [name for name, _ in model.named_children() if name.startswith("layer")]
    return {
        "stem": ("conv1", "bn1", "act1", "maxpool"),
        **{name: (name,) for name in layers},
        "head": ("global_pool", "fc"),
    }


def parameters_by_stage(model: nn.Module) -> dict[str, int]:
    """stem, layer1 .., head -> number of parameters (buffers such as codewords not counted)."""
    return {
        stage: sum(p.numel() for name in names for p in getattr(model, name).parameters())
        for stage, names in _stages(model).items()
    }


def macs_by_stage(model: nn.Module, image_shape: tuple[int, int, int]) -> dict[str, int]:
    """stem, layer1 .., head -> multiply-adds of one (C, H, W) image in evaluation mode.

    torch's FlopCounterMode counts convolutions and matrix products, two operations per
    multiply-add. The count of one image is what the second image adds to a batch. It therefore
    includes a coded block's energies, but not the product W^T W of the block's weights, which is
    made once per batch.
    """
    was_training = model.training
    model.eval()
    one, two = (_flops_by_stage(model, (batch, *image_shape)) for batch in (1, 2))
    model.train(was_training)
    return {stage: (two[stage] - one[stage]) // 2 for stage in one}


@torch.inference_mode()
def macs(module: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """Multiply-adds of one image through `module` in evaluation mode, as in `macs_by_stage`."""
    parameter = next(module.parameters())
    flops = []
    for batch in (1, 2):
        with FlopCounterMode(display=False) as counter:
            module(parameter.new_zeros(batch, *image_shape))
        flops.append(counter.get_total_flops())
    return (flops[1] - flops[0]) // 2


@torch.inference_mode()
def _flops_by_stage(model: nn.Module, shape: tuple[int, ...]) -> dict[str, int]:
    parameter = next(model.parameters())
    x = torch.zeros(shape, device=parameter.device, dtype=parameter.dtype)
    flops = {}
    for stage, names in _stages(model).items():
        with FlopCounterMode(display=False) as counter:
            for name in names:
                x = getattr(model, name)(x)
        flops[stage] = counter.get_total_flops()
    return flops


def measure_cost(model: nn.Module, image_shape: tuple[int, int, int]) -> Iterator[Measurement]:
    """`parameters` and `macs` of the network and of each stage."""
    for metric, stages in (
        ("parameters", parameters_by_stage(model)),
        ("macs", macs_by_stage(model, image_shape)),
    ):
        yield Measurement(kind="cost", metric=metric, value=sum(stages.values()), n=1)
        for stage, value in stages.items():
            yield Measurement(kind="cost", metric=metric, value=value, n=1, stage=stage)
