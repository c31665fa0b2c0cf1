"""A class's binary classifier, cut out of a coded network: no masks, no unused weights.

Shapes: B batch, N paths of the parent's blocks, n of them kept, d width of a path, C channels.

What a class does not use is one slice of every coded block: conv1, bn1, conv2, bn2 and conv3 lose
the channels of the other paths, and the head all rows but one. The normaliser of Eq. 3 stays
    out = conv3(h / sqrt(sum over kept paths of E_n / N))
with the N of the parent: removed paths count with energy 0. The stem, the uncoded blocks, the
projection skips and the last normalisation of each block are shared by all classes and stay whole.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_conv_bn_weights

from codepath.core.errors import UserError
from codepath.models.coded_block import CodedBottleneck
from codepath.models.coded_resnext import CodedResNeXt
from codepath.models.energies import (
    path_energies,
    path_grams,
)
from codepath.models.fused import (
    BlockShape,
    ClassifierShape,
    FusedBlock,
    FusedClassifier,
    kept_paths_normaliser,
)


def class_paths(model: CodedResNeXt, class_index: int) -> dict[int, list[int]]:
    """Coded block number -> the paths of a class, by its codeword.

    Raises UserError for a plain network, an unknown class and a class without paths.
    """
    if not getattr(model, "coded_blocks", None):
        raise UserError(
            f"{type(model).__name__} has no coded blocks, so no class has paths of its own: "
            "take a network with Nact < N in some stage"
        )
    if not 0 <= class_index < model.num_classes:
        raise UserError(
            f"class {class_index} does not exist: classes are 0 to {model.num_classes - 1}"
            if model.num_classes
            else "the network has no head: give it classes with reset_classifier"
        )
    return {
        number: block.codewords[class_index].nonzero().flatten().tolist()
        for number, block in model.coded_blocks.items()
    }


def extract_binary_classifier(model: CodedResNeXt, class_index: int) -> BinaryClassifier:
    """The classifier of one class as a network of its own.

    It answers what `model.forward_coded(x, keep=class_index)` does, with the weights of the
    class's paths alone.

    Args:
        model: a coded network; it is not changed.
        class_index: k.

    Returns:
        a module in evaluation mode, (B, in_chans, H, W) -> (B,) logit of class k.

    Raises UserError for a plain network, an unknown class and a class without paths.
    """
    return extract_paths(model, class_paths(model, class_index), class_index)


def extract_paths(
    model: CodedResNeXt, kept: Mapping[int, Sequence[int]], class_index: int
) -> BinaryClassifier:
    """The sub-network of any paths, with the head's row of a class.

    Args:
        model: coded or plain; it is not changed.
        kept: block number -> paths that stay, counted from 0; other blocks stay whole.
        class_index: k.
    """
    depth = len(model.blocks)
    for number, paths in kept.items():
        if not 1 <= number <= depth:
            raise UserError(f"no block {number}: blocks are 1 to {depth}")
        if not len(paths):
            raise UserError(
                f"no path is left in block {number} for class {class_index}: a classifier needs "
                "at least one in every block"
            )
        if min(paths) < 0 or max(paths) >= model.paths or len(set(paths)) < len(paths):
            raise UserError(
                f"paths {sorted(paths)} of block {number}: they are distinct numbers from 0 to "
                f"{model.paths - 1}"
            )
    if model.aggregate != "sum":
        raise UserError(
            f"paths aggregated by '{model.aggregate}' cannot be cut out: their channels are the "
            "stream's; extraction is for aggregate='sum'"
        )
    return BinaryClassifier(model, kept, class_index).eval()


class SlicedBottleneck(nn.Module):
    """Some paths of a bottleneck.

    Args:
        block: coded, or plain (then there is no normaliser).
        kept: which paths, counted from 0.
        paths: N of `block`.
    """

    def __init__(self, block: Any, kept: Sequence[int], paths: int) -> None:
        super().__init__()
        width = block.conv2.out_channels // paths
        first = torch.tensor(sorted(kept), device=block.conv1.weight.device)[:, None] * width
        channels = (first + torch.arange(width, device=first.device)).flatten()
        self.paths = len(kept)
        self.coded_paths = paths if isinstance(block, CodedBottleneck) else 0
        """N of Eq. 3; 0: no normaliser."""
        self.conv1 = _sliced_conv(block.conv1, rows=channels)
        self.bn1 = _sliced_norm(block.bn1, channels)
        self.conv2 = _sliced_conv(block.conv2, rows=channels, groups=len(kept))
        self.bn2 = _sliced_norm(block.bn2, channels)
        self.conv3 = _sliced_conv(block.conv3, columns=channels)
        self.bn3 = copy.deepcopy(block.bn3)
        self.downsample = copy.deepcopy(block.downsample)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chs, H, W) -> (B, C, H', W')."""
        h = self.bn1(self.conv1(x)).relu_()
        h = self.bn2(self.conv2(h)).relu_()
        if self.coded_paths:
            energies = path_energies(h, self.conv3.weight, self.paths)
            h = h * kept_paths_normaliser(energies, self.coded_paths, h.dtype)
        out = self.bn3(self.conv3(h))
        out += x if self.downsample is None else self.downsample(x)
        return out.relu_()


def _sliced_conv(
    conv: nn.Conv2d, rows: Tensor | None = None, columns: Tensor | None = None, groups: int = 1
) -> nn.Conv2d:
    weight = conv.weight.detach()
    weight = weight if rows is None else weight[rows]
    weight = weight if columns is None else weight[:, columns]
    sliced = nn.Conv2d(
        weight.shape[1] * groups,
        weight.shape[0],
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        groups=groups,
        bias=False,
        device=weight.device,
        dtype=weight.dtype,
    )
    sliced.weight = nn.Parameter(weight.clone(memory_format=torch.preserve_format))
    return sliced


def _sliced_norm(norm: nn.BatchNorm2d, channels: Tensor) -> nn.BatchNorm2d:
    weight = norm.weight.detach()
    sliced = nn.BatchNorm2d(len(channels), norm.eps, device=weight.device, dtype=weight.dtype)
    state = norm.state_dict()
    tracked = state.pop("num_batches_tracked")
    sliced.load_state_dict({key: value[channels] for key, value in state.items()}, strict=False)
    sliced.num_batches_tracked = tracked.clone()
    return sliced


class BinaryClassifier(nn.Module):
    """What `extract_paths` returns, with batch normalisation as in the parent.

    Its parameters are the parent's that the class needs: the physical count of a classifier.
    `fuse` gives the form that is stored, exported and run.
    """

    def __init__(
        self, model: CodedResNeXt, kept: Mapping[int, Sequence[int]], class_index: int
    ) -> None:
        super().__init__()
        self.in_chans = model.in_chans
        self.conv1 = copy.deepcopy(model.conv1)
        self.bn1 = copy.deepcopy(model.bn1)
        self.maxpool = copy.deepcopy(model.maxpool)
        self.blocks = nn.Sequential(
            *(
                SlicedBottleneck(block, kept.get(number, range(model.paths)), model.paths)
                for number, block in enumerate(model.blocks, start=1)
            )
        )
        self.depths = tuple(len(getattr(model, name)) for name in model.layer_names)
        """Blocks of each stage."""
        self.global_pool = copy.deepcopy(model.global_pool)
        head = model.fc
        assert isinstance(head, nn.Linear)
        row = head.weight.detach()[class_index : class_index + 1]
        self.fc = nn.Linear(row.shape[1], 1, bias=False, device=row.device, dtype=row.dtype)
        self.fc.weight = nn.Parameter(row.clone())

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B,) logit."""
        x = self.maxpool(self.bn1(self.conv1(x)).relu_())
        return self.fc(self.global_pool(self.blocks(x)))[:, 0]

    def fuse(self) -> FusedClassifier:
        """The same function with batch normalisation folded into the convolutions."""
        return _fuse_classifier(self)


def _fuse_classifier(classifier: BinaryClassifier) -> FusedClassifier:
    """Fold the normalisations of a classifier in evaluation mode."""
    if getattr(classifier.global_pool, "pool_type", "avg") != "avg":
        raise UserError("only classifiers with average pooling before the head can be fused")
    blocks = []
    for block in classifier.blocks:
        assert isinstance(block, SlicedBottleneck)
        blocks.append(fuse_block(block))
    stem = classifier.conv1
    shape = ClassifierShape(
        in_chans=stem.in_channels,
        stem_width=stem.out_channels,
        stem_kernel=stem.kernel_size[0],
        stem_stride=stem.stride[0],
        stem_pool=not isinstance(classifier.maxpool, nn.Identity),
        depths=classifier.depths,
        blocks=tuple(block.shape for block in blocks),
    )
    fused = FusedClassifier(shape).to(stem.weight.device, stem.weight.dtype).eval()
    fused.conv1 = fuse_conv_bn_eval(classifier.conv1, classifier.bn1)
    fused.blocks = nn.Sequential(*blocks)
    fused.fc.weight = nn.Parameter(classifier.fc.weight.detach().clone())
    nn.init.zeros_(fused.fc.bias)
    return fused.eval()


def fuse_block(block: SlicedBottleneck) -> FusedBlock:
    """Fold the normalisations of a block in evaluation mode."""
    weight = block.conv3.weight.detach()
    shape = BlockShape(
        in_chs=block.conv1.in_channels,
        hidden=block.conv1.out_channels,
        out_chs=block.conv3.out_channels,
        groups=block.paths,
        stride=block.conv2.stride[0],
        coded_paths=block.coded_paths,
        projection=None if block.downsample is None else 0,
    )
    fused = FusedBlock(shape).to(weight.device, weight.dtype).eval()
    if block.coded_paths:
        high = torch.promote_types(weight.dtype, torch.float32)
        fused.grams = path_grams(weight, block.paths, high)
    for name, conv, norm in (
        ("conv1", block.conv1, block.bn1),
        ("conv2", block.conv2, block.bn2),
        ("conv3", block.conv3, block.bn3),
    ):
        setattr(fused, name, fuse_conv_bn_eval(conv, norm))
    if block.downsample is not None:
        fused.downsample = _fused_projection(block.downsample)
    return fused


def _fused_projection(downsample: Any) -> nn.Conv2d:
    """A projection skip, (convolution, normalisation), as one convolution with a bias."""
    conv, norm = (m for m in downsample if not isinstance(m, nn.Identity))
    fused = nn.Conv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding
    )
    fused.weight, fused.bias = fuse_conv_bn_weights(
        conv.weight, None, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    return fused


@dataclass(frozen=True)
class ParameterCount:
    """How much of a network one class's classifier keeps, counted both ways."""

    network: int
    physical: int
    """Parameters of the sliced classifier."""
    by_ratio: int
    """The paper's way: every parameter of a coded block times r = Nact/N, and one head row."""

    @property
    def physical_share(self) -> float:
        """Kept share of the sliced classifier, in [0, 1]."""
        return self.physical / self.network

    @property
    def by_ratio_share(self) -> float:
        """Kept share by ratios, in [0, 1]."""
        return self.by_ratio / self.network


def count_parameters(model: CodedResNeXt, classifier: BinaryClassifier) -> ParameterCount:
    """Parameters (no buffers) of a network and of one of its classifiers."""
    network = sum(p.numel() for p in model.parameters())
    row = model.num_features
    coded = sum(
        (1 - block.ratio) * sum(p.numel() for p in block.parameters())
        for block in model.coded_blocks.values()
    )
    return ParameterCount(
        network=network,
        physical=sum(p.numel() for p in classifier.parameters()),
        by_ratio=round(network - coded - row * (model.num_classes - 1)),
    )


def stored_values(module: nn.Module) -> int:
    """Parameters and buffers: all numbers that a module's file holds."""
    return sum(tensor.numel() for tensor in module.state_dict().values())
