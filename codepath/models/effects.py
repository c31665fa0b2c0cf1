"""What every channel, path and direction of a binary classifier does to its logit.

Shapes: B batch, C channels of the stream, n paths, r directions of a projection skip.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from codepath.core.errors import UserError
from codepath.models.fused import ClassifierShape, FusedBlock, FusedClassifier

CALIBRATION_IMAGES = 512
_BATCH = 64


@dataclass
class Projection:
    """Axes of a projection skip's outputs."""

    to_axes: Tensor
    """(out, out): column i maps a centred output to its coordinate i."""
    from_axes: Tensor
    """(out, out): column i is what coordinate i adds to the output."""
    mean: Tensor
    """(out,)"""
    effects: Tensor
    """(out,) of each direction"""


@dataclass
class Statistics:
    """What `measure_effects` finds; blocks are counted from 0, stages too."""

    stream_means: list[Tensor]
    """Per block (C,), of its outputs."""
    stream_effects: list[Tensor]
    """Per stage (C,)."""
    hidden_means: dict[int, Tensor] = field(default_factory=dict)
    """Uncoded block -> (n*d,)."""
    path_effects: dict[int, Tensor] = field(default_factory=dict)
    """Uncoded block -> (n,)."""
    projections: dict[int, Projection] = field(default_factory=dict)
    """Block with a projection skip -> its axes."""


def stage_of_block(shape: ClassifierShape) -> list[int]:
    """Stage of each block, both counted from 0."""
    return [stage for stage, depth in enumerate(shape.depths) for _ in range(depth)]


def measure_effects(classifier: FusedClassifier, images: Tensor) -> Statistics:
    """Means, principal axes and effects on the logit.

    Args:
        classifier: in evaluation mode.
        images: (n, in_chans, H, W) normalised training images; labels are not needed.
    """
    if not len(images):
        raise UserError("compression needs some training images to look at")
    shape = classifier.shape
    means, projections = _measure_means(classifier, images)
    effects = _measure_effects(classifier, images, means, projections)
    for number, axes in projections.items():
        axes.effects = effects[f"projection {number}"]
    uncoded = [i for i, block in enumerate(shape.blocks) if not block.coded_paths]
    return Statistics(
        stream_means=[means[f"block {number}"] for number in range(len(shape.blocks))],
        stream_effects=[effects[f"stream {stage}"] for stage in range(len(shape.depths))],
        hidden_means={number: means[f"hidden {number}"] for number in uncoded},
        path_effects={number: effects[f"hidden {number}"] for number in uncoded},
        projections=projections,
    )


def _measure_means(
    classifier: FusedClassifier, images: Tensor
) -> tuple[dict[str, Tensor], dict[int, Projection]]:
    """Mean activation (C,) of each point, and the axes of every projection skip.

    The axes are those of the outputs' covariance, weighted by the gradients' root mean squares.
    """
    sums: dict[str, Tensor] = {}

    def add(key: str, value: Tensor) -> None:
        sums[key] = sums[key] + value if key in sums else value

    for point, values, gradients in _activations(classifier, images):
        add(f"mean {point}", values.mean((0, 2, 3)) * len(values))
        if point.startswith("projection"):
            rows = values.movedim(1, -1).flatten(0, -2).double()
            add(f"second {point}", rows.mT @ rows / (values.shape[2] * values.shape[3]))
            add(f"gradient {point}", gradients.double().square().sum((0, 2, 3)))
    n = len(images)
    means = {key.removeprefix("mean "): value / n for key, value in sums.items() if "mean" in key}
    projections = {}
    for number, block in enumerate(classifier.shape.blocks):
        if block.projection == 0:
            point = f"projection {number}"
            mean = means[point].double()
            covariance = sums[f"second {point}"] / n - mean[:, None] * mean
            weight = (sums[f"gradient {point}"] / n).sqrt()
            weight = weight.clamp_min(float(weight.max()) * 1e-6 + 1e-30)
            _, axes = torch.linalg.eigh(weight[:, None] * covariance * weight)
            dtype = means[point].dtype
            projections[number] = Projection(
                (weight[:, None] * axes).to(dtype),
                (axes / weight[:, None]).to(dtype),
                means[point],
                torch.zeros_like(means[point]),
            )
    return means, projections


def _measure_effects(
    classifier: FusedClassifier,
    images: Tensor,
    means: dict[str, Tensor],
    projections: dict[int, Projection],
) -> dict[str, Tensor]:
    """Effects of a stream's channels, an uncoded block's paths and a skip's directions.

    Keys are "stream <stage>", "hidden <block>" and "projection <block>".
    """
    stages = stage_of_block(classifier.shape)
    n = len(images)
    effects: dict[str, Tensor] = {}
    for point, values, gradients in _activations(classifier, images):
        centred = values - means[point][:, None, None]
        kind, _, place = point.partition(" ")
        number = int(place)
        if kind == "projection":
            axes = projections[number]
            found = (_mixed(gradients, axes.from_axes) * _mixed(centred, axes.to_axes)).sum((2, 3))
        else:
            found = (gradients * centred).sum((2, 3))
        if kind == "hidden":
            found = found.unflatten(1, (classifier.shape.blocks[number].groups, -1)).sum(2)
        key = f"stream {stages[number]}" if kind == "block" else point
        total = found.square().sum(0) / n
        effects[key] = effects[key] + total if key in effects else total
    return effects


def _mixed(values: Tensor, columns: Tensor) -> Tensor:
    """(B, out, H, W) and (out, r) -> (B, r, H, W), coordinates."""
    return torch.einsum("bohw,or->brhw", values, columns)


def _activations(
    classifier: FusedClassifier, images: Tensor
) -> Iterator[tuple[str, Tensor, Tensor]]:
    """(point, activations, gradients of the summed logits there) for every batch and point.

    Points are "block i" (its outputs), "hidden i" (input of conv3, uncoded blocks) and
    "projection i" (outputs of the skip).
    """
    kept: dict[str, Tensor] = {}

    def keep(point: str) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | None = None) -> None:
            tensor = inputs[0] if output is None else output
            tensor.retain_grad()
            kept[point] = tensor

        return hook

    handles = []
    for number, block in enumerate(classifier.blocks):
        assert isinstance(block, FusedBlock)
        handles.append(block.register_forward_hook(keep(f"block {number}")))
        if not block.shape.coded_paths:
            handles.append(block.conv3.register_forward_pre_hook(keep(f"hidden {number}")))
        if block.shape.projection == 0:
            handles.append(block.downsample.register_forward_hook(keep(f"projection {number}")))
    try:
        for batch in images.split(_BATCH):
            with torch.enable_grad():
                classifier(batch).sum().backward()
            for point, tensor in kept.items():
                assert tensor.grad is not None
                yield point, tensor.detach(), tensor.grad
            kept.clear()
            classifier.zero_grad(set_to_none=True)
    finally:
        for handle in handles:
            handle.remove()


def calibration_images(batches: Iterable[Tensor], count: int = CALIBRATION_IMAGES) -> Tensor:
    """The first `count` normalised images of some batches, (n, C, H, W)."""
    taken: list[Tensor] = []
    for batch in batches:
        taken.append(batch[: count - sum(map(len, taken))])
        if sum(map(len, taken)) >= count:
            break
    return torch.cat(taken)
