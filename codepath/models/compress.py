"""Making a binary classifier smaller without training: what its class needs of the shared weights.

A sliced classifier still holds all of the stem, the uncoded blocks and the projection skips. From
unlabelled training images three kinds of units can be taken out, each replaced by its mean:
    channels    of a stage's stream (outputs of its blocks), with all weights at them,
    paths       of uncoded blocks,
    directions  of a projection skip, whose convolution becomes two of low rank. The directions are
                the principal axes of its outputs, each output weighted by the root mean square of
                the logit's gradient there.
A unit u with activations a and mean a0 is worth its effect on the class's logit z to first order,
    effect(u) = mean over images of (sum over pixels of (dz/da) (a - a0))^2,
and the units of least effect per number saved go first.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from codepath.core.errors import UserError
from codepath.models.effects import Projection, Statistics, stage_of_block
from codepath.models.extract import stored_values
from codepath.models.fused import BlockShape, ClassifierShape, FusedBlock, FusedClassifier

_STEPS = 60  # halvings of the interval of thresholds


@dataclass(frozen=True)
class _Plan:
    """What stays."""

    channels: list[Tensor]
    """Per stage: indices."""
    paths: dict[int, Tensor]
    directions: dict[int, Tensor]


def compress(classifier: FusedClassifier, statistics: Statistics, most: int) -> FusedClassifier:
    """A smaller classifier with at most `most` values in its file.

    Raises UserError where so few cannot be reached: a channel, a path and a direction stay
    everywhere.
    """
    if stored_values(classifier) <= most:
        return classifier

    def size(threshold: float) -> int:
        plan = _plan(classifier.shape, statistics, threshold)
        return _size(_planned_shape(classifier.shape, plan))

    ratios = _all_ratios(classifier.shape, statistics)
    low, high = 0.0, float(ratios.max()) * 2 + 1e-30
    if size(high) > most:
        raise UserError(
            f"a classifier of {most:,} numbers is asked for, {size(high):,} are the fewest "
            "that can be reached: ask for a larger share"
        )
    # Ratios span many powers of ten: the interval is halved in the logarithm.
    low = max(low, high * 1e-15)
    for _ in range(_STEPS):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if size(middle) <= most else (middle, high)
    return _apply(classifier, statistics, _plan(classifier.shape, statistics, high))


def _savings(shape: ClassifierShape) -> tuple[list[int], dict[int, int], dict[int, int]]:
    """Numbers saved by a channel of each stage, a path and a direction of each block."""
    stages = stage_of_block(shape)
    channel = [0] * len(shape.depths)
    paths, directions = {}, {}
    for number, block in enumerate(shape.blocks):
        channel[stages[number]] += block.hidden + 1 + (block.projection is not None) * block.in_chs
        if number:  # what reads the stream
            reads = block.hidden + (block.projection is not None) * block.out_chs
            channel[stages[number - 1]] += reads
        width = block.hidden // block.groups
        paths[number] = width * (block.in_chs + 1 + 9 * width + 1 + block.out_chs)
        directions[number] = block.in_chs + block.out_chs
    channel[-1] += 1
    return channel, paths, directions


def _all_ratios(shape: ClassifierShape, statistics: Statistics) -> Tensor:
    channel, paths, directions = _savings(shape)
    parts = [e / s for e, s in zip(statistics.stream_effects, channel, strict=True)]
    parts += [effects / paths[number] for number, effects in statistics.path_effects.items()]
    parts += [p.effects / directions[number] for number, p in statistics.projections.items()]
    return torch.cat(parts)


def _plan(shape: ClassifierShape, statistics: Statistics, threshold: float) -> _Plan:
    """Keep what has at least `threshold` of effect per number saved, and the best of each."""
    channel, paths, directions = _savings(shape)

    def kept(effects: Tensor, saving: int) -> Tensor:
        stays = effects / saving >= threshold
        stays[effects.argmax()] = True
        return stays.nonzero().flatten()

    stages = stage_of_block(shape)
    channels = []
    for stage, effects in enumerate(statistics.stream_effects):
        # An identity skip hands on what it is given: its stage stays as wide as what comes before.
        tied = shape.blocks[stages.index(stage)].projection is None
        channels.append(
            torch.arange(len(effects), device=effects.device)
            if tied
            else kept(effects, channel[stage])
        )
    low_rank = {}
    for number, projection in statistics.projections.items():
        chosen = kept(projection.effects, directions[number])
        ins = len(channels[stages[number] - 1]) if number else shape.blocks[0].in_chs
        outs = len(channels[stages[number]])
        if len(chosen) * (ins + outs) < ins * outs:
            low_rank[number] = chosen
    return _Plan(
        channels,
        {number: kept(e, paths[number]) for number, e in statistics.path_effects.items()},
        low_rank,
    )


def _planned_shape(shape: ClassifierShape, plan: _Plan) -> ClassifierShape:
    stages = stage_of_block(shape)
    blocks: list[BlockShape] = []
    for number, block in enumerate(shape.blocks):
        groups = len(plan.paths[number]) if number in plan.paths else block.groups
        rank = len(plan.directions[number]) if number in plan.directions else block.projection
        blocks.append(
            dataclasses.replace(
                block,
                in_chs=blocks[-1].out_chs if blocks else block.in_chs,
                hidden=block.hidden // block.groups * groups,
                groups=groups,
                out_chs=len(plan.channels[stages[number]]),
                projection=rank,
            )
        )
    return dataclasses.replace(shape, blocks=tuple(blocks))


def _size(shape: ClassifierShape) -> int:
    with torch.device("meta"):
        return stored_values(FusedClassifier(shape))


@torch.no_grad()
def _apply(classifier: FusedClassifier, statistics: Statistics, plan: _Plan) -> FusedClassifier:
    """The classifier that a plan leaves, with the means of what went in the biases."""
    small = FusedClassifier(_planned_shape(classifier.shape, plan))
    small = small.to(classifier.fc.weight.device, classifier.fc.weight.dtype).eval()
    stages = stage_of_block(classifier.shape)
    small.conv1.load_state_dict(classifier.conv1.state_dict())
    device = classifier.fc.weight.device
    stays = torch.arange(classifier.shape.blocks[0].in_chs, device=device)
    mean = torch.zeros(len(stays), device=device)
    for number, (old, new) in enumerate(zip(classifier.blocks, small.blocks, strict=True)):
        assert isinstance(old, FusedBlock)
        assert isinstance(new, FusedBlock)
        rows = plan.channels[stages[number]]
        hidden = torch.arange(old.shape.hidden, device=device)
        if number in plan.paths:
            hidden = hidden.unflatten(0, (old.shape.groups, -1))[plan.paths[number]].flatten()
        weight, bias = _without_inputs(old.conv1, stays, mean)
        _fill(new.conv1, weight[hidden], bias[hidden])
        _fill(new.conv2, old.conv2.weight[hidden], _bias(old.conv2)[hidden])
        hidden_mean = statistics.hidden_means.get(number, mean)
        weight, bias = _without_inputs(old.conv3, hidden, hidden_mean)
        _fill(new.conv3, weight[rows], bias[rows])
        if old.grams is not None:
            new.grams = old.grams.clone()
        if isinstance(old.downsample, nn.Conv2d):
            if number in plan.directions:
                _fill_low_rank(
                    new.downsample,
                    old.downsample,
                    statistics.projections[number],
                    plan.directions[number],
                    stays,
                    mean,
                    rows,
                )
            else:
                weight, bias = _without_inputs(old.downsample, stays, mean)
                assert isinstance(new.downsample, nn.Conv2d)
                _fill(new.downsample, weight[rows], bias[rows])
        stays, mean = rows, statistics.stream_means[number]
    weight = classifier.fc.weight
    gone = _complement(stays, weight.shape[1])
    small.fc.weight.copy_(weight[:, stays])
    small.fc.bias.copy_(classifier.fc.bias + weight[:, gone] @ mean[gone])
    return small


def _complement(indices: Tensor, size: int) -> Tensor:
    gone = torch.ones(size, dtype=torch.bool, device=indices.device)
    gone[indices] = False
    return gone.nonzero().flatten()


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias


def _without_inputs(conv: nn.Conv2d, stays: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of a 1x1 convolution whose other inputs are constant at their means."""
    weight = conv.weight
    if len(stays) == weight.shape[1]:
        return weight, _bias(conv)
    gone = _complement(stays, weight.shape[1])
    return weight[:, stays], _bias(conv) + weight[:, gone, 0, 0] @ mean[gone]


def _fill(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
    conv.weight.copy_(weight)
    _bias(conv).copy_(bias)


def _fill_low_rank(
    new: nn.Module,
    old: nn.Conv2d,
    axes: Projection,
    directions: Tensor,
    stays: Tensor,
    mean: Tensor,
    rows: Tensor,
) -> None:
    """y = mean + from_axes to_axes^T (W x + b - mean), over the directions that stay."""
    assert isinstance(new, nn.Sequential)
    down, up = new
    assert isinstance(down, nn.Conv2d)
    assert isinstance(up, nn.Conv2d)
    to_axes, from_axes = axes.to_axes[:, directions], axes.from_axes[:, directions]
    reduced = to_axes.mT @ old.weight[:, :, 0, 0]
    constant = to_axes.mT @ (_bias(old) - axes.mean)
    gone = _complement(stays, reduced.shape[1])
    constant = constant + reduced[:, gone] @ mean[gone]
    down.weight.copy_(reduced[:, stays, None, None])
    _fill(up, from_axes[rows][:, :, None, None], (axes.mean + from_axes @ constant)[rows])
