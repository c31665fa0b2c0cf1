"""The network: a coded ResNeXt, or with uncoded stages alone a plain ResNeXt.

Shapes: B batch, N paths, K classes. Blocks are numbered from 1 over the network.
"""

# No `from __future__ import annotations`: torch.fx and TorchScript read annotations as objects.

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from timm.layers import SelectAdaptivePool2d
from timm.models import register_notrace_module
from timm.models._features import feature_take_indices
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from codepath.codes import find_scheme
from codepath.core.errors import UserError
from codepath.models.coded_block import CodedBottleneck
from codepath.models.script import draw_drop_mask, scripted_network
from codepath.models.stages import (
    SchemeLike,
    Stage,
    build_stage,
    resolve_schemes,
    with_active,
)

register_notrace_module(CodedBottleneck)  # its code reads shapes and dtypes, which fx cannot follow


class CodedOutput(NamedTuple):
    """What `CodedResNeXt.forward_coded` returns."""

    logits: Tensor
    """(B, K)"""
    energies: dict[int, Tensor]
    """Coded block number -> (B, N), energies of Eq. 3's outputs; they sum to N."""


class CodedResNeXt(nn.Module):
    """ResNeXt in which every class has its own paths in the coded stages.

    With every stage at Nact = N it is the plain ResNeXt (without a bias in the head).

    Args:
        stages: the stages; the first keeps the stem's resolution, each later one halves it.
        paths: N, the cardinality of all blocks.
        code_classes: K of the schemes where num_classes is 0.
        num_classes: K; 0 leaves the head out.
        in_chans: input channels.
        stem_width, stem_kernel, stem_stride: the stem convolution.
        stem_pool: whether a 3x3/2 max pooling follows the stem.
        active: Nact of every stage, or of every block of a stage, in place of the stages' own:
            the paper's variants with other ratios, such as (32, 24, (16,) * 3 + (8,) * 3, 4).
        schemes: one per run of coded blocks (consecutive blocks of a stage with equal Nact), or
            one per coded block: CodingScheme, (K, N) table, catalogue name or CSV file; None
            takes the family's for (K, N, Nact).
        scheme_family: "paper" or "best", see `codepath.codes.catalog`.
        aggregate: "sum" or "concat" in the coded blocks, see CodedBottleneck; with "concat", d
            is raised until the stage's parameters match those of "sum" most closely.
        p_drop: DropSubNNs' probability, in training.
        drop_rate: dropout before the head.
        global_pool: timm's name of the pooling before the head.
    """

    keeps_energies = False
    """Whether `forward` in training leaves the energies of its pass in `last_energies`."""
    last_energies: dict[int, Tensor] | None = None
    """Coded block number -> (B, N), see `keeps_energies`."""
    path_masks_of: Callable[[Any, Tensor], Mapping[int, Tensor]] = staticmethod(lambda *_: {})
    """Gives a training pass of `forward` its `path_masks`, where `keeps_energies`."""
    _coding_heeded = False  # energies were asked for in training, or their neglect was warned of

    def __init__(
        self,
        stages: Sequence[Stage],
        paths: int,
        code_classes: int,
        num_classes: int = 10,
        in_chans: int = 3,
        stem_width: int = 64,
        stem_kernel: int = 3,
        stem_stride: int = 1,
        stem_pool: bool = False,
        active: Sequence[int | Sequence[int]] | None = None,
        schemes: Sequence[SchemeLike] | None = None,
        scheme_family: str = "paper",
        aggregate: str = "sum",
        p_drop: float = 0.0,
        drop_rate: float = 0.0,
        global_pool: str = "avg",
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.paths = paths
        self.scheme_family = scheme_family
        self.aggregate = aggregate
        self.p_drop = p_drop
        self.drop_rate = drop_rate
        self.grad_checkpointing = False

        stages = with_active(stages, active, paths)
        self.conv1 = nn.Conv2d(
            in_chans, stem_width, stem_kernel, stem_stride, stem_kernel // 2, bias=False
        )
        self.bn1 = nn.BatchNorm2d(stem_width)
        self.act1 = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if stem_pool else nn.Identity()
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.feature_info: list[dict[str, Any]] = [
            {"num_chs": stem_width, "reduction": stem_stride, "module": "act1"}
        ]
        self.layer_names: list[str] = []
        tables = iter(
            resolve_schemes(stages, paths, num_classes or code_classes, schemes, scheme_family)
        )
        channels, reduction = stem_width, stem_stride * (2 if stem_pool else 1)
        for index, stage in enumerate(stages, start=1):
            name = f"layer{index}"
            own = [next(tables) for _ in range(stage.depth)]
            stride = 1 if index == 1 else 2
            self.add_module(
                name, build_stage(stage, own, channels, paths, stride, aggregate, p_drop)
            )
            self.layer_names.append(name)
            channels, reduction = stage.channels, reduction * stride
            self.feature_info.append({"num_chs": channels, "reduction": reduction, "module": name})
        self.num_features = self.head_hidden_size = channels
        self.reset_classifier(num_classes, global_pool)

    @property
    def blocks(self) -> list[nn.Module]:
        """All blocks in order; block number b is entry b - 1."""
        return [block for name in self.layer_names for block in getattr(self, name)]

    @property
    def coded_blocks(self) -> dict[int, CodedBottleneck]:
        """Block number -> coded block, in order; empty for a plain network."""
        return {
            number: block
            for number, block in enumerate(self.blocks, 1)
            if isinstance(block, CodedBottleneck)
        }

    @property
    def drop_starts(self) -> list[int]:
        """Numbers of the coded blocks that DropSubNNs draws a mask for; the rest reuse it.

        Those whose predecessor is uncoded or has other codewords.
        """
        if self.p_drop == 0:
            return []
        digests = [getattr(block, "words_digest", "") for block in self.blocks]
        pairs = zip(["", *digests], digests, strict=False)
        return [number for number, (old, new) in enumerate(pairs, 1) if new not in ("", old)]

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, K).

        Warns once if a coded network is trained by this method alone: without the energies
        there is no coding loss.
        """
        if self.training and self.keeps_energies:
            output = self.forward_coded(x, path_masks=self.path_masks_of(self, x))
            self.last_energies = output.energies
            return output.logits
        if self.training and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            self._warn_of_neglected_coding(x)
        return self.forward_head(self.forward_features(x))

    def _warn_of_neglected_coding(self, x: Tensor) -> None:
        traced = torch.jit.is_tracing() or isinstance(x, torch.fx.Proxy)
        if traced or self._coding_heeded or not self.coded_blocks:
            return
        self._coding_heeded = True
        warnings.warn(
            "a coded network is being trained without its coding loss, so its paths will not "
            "follow the codewords: train with codepath.train.losses.TrainingObjective, or run "
            "a timm script through `codepath timm`",
            stacklevel=5,  # behind this, forward and two frames of nn.Module
        )

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, C, H', W')."""
        x = self._stem(x)
        by_block = self.training and (self.p_drop > 0 or self.grad_checkpointing)
        if by_block and not isinstance(x, torch.fx.Proxy):
            return self._run(x, 1, len(self.blocks), {})[0]
        # Modules are called as such: fx takes coded blocks for leaves, and hooks see their outputs.
        for name in self.layer_names:
            x = getattr(self, name)(x)
        return x

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,  # noqa: ARG002 (timm's signature; there is no final norm)
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """timm: the features with the maps of the stem (index 0) and the stages (1, 2, ...).

        Args:
            x: (B, in_chans, H, W).
            indices: which maps; the last n for a number, all for None.
            norm: without effect.
            stop_early: leave out the stages behind the last map.
            output_fmt: "NCHW", nothing else.
            intermediates_only: return the maps alone.

        Returns:
            (B, C, H', W') features and the maps, each (B, C_i, H_i, W_i).
        """
        if output_fmt != "NCHW":
            raise UserError(f"output_fmt is {output_fmt!r}: maps come as 'NCHW' alone")
        wanted, last = feature_take_indices(len(self.feature_info), indices)
        x = self.act1(self.bn1(self.conv1(x)))
        maps = [x] if 0 in wanted else []
        x = self.maxpool(x)
        block = 1
        for index, name in enumerate(self.layer_names, start=1):
            if stop_early and index > last:
                break
            depth = len(getattr(self, name))
            x = self._run(x, block, block + depth - 1, {})[0]
            block += depth
            if index in wanted:
                maps.append(x)
        return maps if intermediates_only else (x, maps)

    def prune_intermediate_layers(
        self,
        indices: int | list[int] = 1,
        prune_norm: bool = False,  # noqa: ARG002 (timm's signature; there is no final norm)
        prune_head: bool = True,
    ) -> list[int]:
        """timm: remove the stages behind the last of the maps `indices`; returns these.

        The head goes with the last stage, whose features it takes.
        """
        wanted, last = feature_take_indices(len(self.feature_info), indices)
        for name in self.layer_names[last:]:
            setattr(self, name, nn.Sequential())
        if last == 0:
            self.maxpool = nn.Identity()
        pruned = last < len(self.feature_info) - 1
        if pruned:
            self.num_features = self.feature_info[last]["num_chs"]
        if pruned or prune_head:
            self.reset_classifier(0, "")
        return wanted

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, C, H', W') -> (B, K), or pooled features."""
        x = self.global_pool(x)
        if self.drop_rate:
            x = F.dropout(x, self.drop_rate, self.training)
        return x if pre_logits else self.fc(x)

    def forward_coded(
        self,
        x: Tensor,
        keep: int | Tensor | None = None,
        path_masks: Mapping[int, Tensor] | None = None,
        first_block: int = 0,
        gradient_keep: Tensor | None = None,
        drop_masks: Mapping[int, Tensor] | None = None,
    ) -> CodedOutput:
        """Logits with the energies of every coded block.

        Args:
            x: (B, in_chans, H, W) images; with `first_block` that block's input instead.
            keep: class index or (B,) class indices: only their paths act in all coded blocks.
            path_masks: coded block number -> (N,) or (B, N), 1 where a path acts.
            first_block: 0, or the number of the block to go on from (see `forward_until`).
            gradient_keep: (B,) class indices: gradients flow back into these classes' paths
                alone; no value changes (the paper's footnote 5).
            drop_masks: DropSubNNs' masks (B, N) of the blocks in `drop_starts`, in training; drawn
                here where they are not given.
        """
        if self.training and not torch.compiler.is_compiling():
            self._coding_heeded = True
        masks = dict(path_masks or {})
        unknown = set(masks) - set(self.coded_blocks)
        if unknown or (keep is not None and not self.coded_blocks):
            raise UserError(
                f"no coded block {min(unknown) if unknown else ''}: "
                f"coded blocks of this network: {sorted(self.coded_blocks) or 'none'}"
            )
        if keep is not None:
            for number, block in self.coded_blocks.items():
                word = block.codewords[keep]
                masks[number] = word * masks[number] if number in masks else word
        if not first_block:
            x = self._stem(x)
        last = len(self.blocks)
        x, energies = self._run(x, first_block or 1, last, masks, gradient_keep, drop_masks)
        return CodedOutput(self.forward_head(x), energies)

    def forward_until(self, x: Tensor, block: int) -> Tensor:
        """(B, in_chans, H, W) -> input of block number `block`."""
        return self._run(self._stem(x), 1, block - 1, {})[0]

    def _stem(self, x: Tensor) -> Tensor:
        return self.maxpool(self.act1(self.bn1(self.conv1(x))))

    def _run(
        self,
        x: Tensor,
        first: int,
        last: int,
        path_masks: Mapping[int, Tensor],
        gradient_keep: Tensor | None = None,
        drop_masks: Mapping[int, Tensor] | None = None,
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Blocks `first` to `last`; a run of blocks with one scheme shares its drop mask."""
        energies: dict[int, Tensor] = {}
        drop_mask: Tensor | None = None
        drop_starts = self.drop_starts if self.training else []
        for number, block in enumerate(self.blocks[first - 1 : last], first):
            if isinstance(block, CodedBottleneck):
                if number in drop_starts:
                    drop_mask = (
                        draw_drop_mask(x.shape[0], self.paths, self.p_drop, x.device)
                        if drop_masks is None
                        else drop_masks[number]
                    )
                arguments: list[Any] = [x, path_masks.get(number), drop_mask]
                if gradient_keep is not None:
                    arguments.append(block.codewords[gradient_keep])
                if self.grad_checkpointing and self.training:
                    x, energies[number] = checkpoint(
                        block.forward_coded, *arguments, use_reentrant=False
                    )
                else:
                    x, energies[number] = block.forward_coded(*arguments)
            elif self.grad_checkpointing and self.training:
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return x, energies

    def __prepare_scriptable__(self) -> nn.Module:
        """What torch.jit.script compiles in this network's place."""
        return scripted_network(self)

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """timm: parameter groups by stage (coarse) or block."""
        return {
            "stem": r"^conv1|bn1|maxpool",
            "blocks": r"^layer(\d+)" if coarse else r"^layer(\d+)\.(\d+)",
        }

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """timm: recompute block activations in the backward pass."""
        self.grad_checkpointing = enable

    @torch.jit.ignore
    def get_classifier(self, name_only: bool = False) -> nn.Module | str:
        """timm: the head's linear layer, or its name."""
        return "fc" if name_only else self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """timm: a new head.

        Another number of classes brings other codewords, from the catalogue: the old ones
        belong to the old classes.
        """
        if num_classes:
            for block in self.coded_blocks.values():
                if len(block.codewords) != num_classes:
                    size = num_classes, self.paths, block.active
                    block.set_scheme(find_scheme(*size, family=self.scheme_family))
        if global_pool is not None:
            if num_classes and not global_pool:
                raise UserError(
                    f"a head for {num_classes} classes needs pooled features: name a global_pool, "
                    "or leave the head out with num_classes=0"
                )
            self.global_pool = SelectAdaptivePool2d(
                pool_type=global_pool, flatten=bool(global_pool)
            )
        self.num_classes = num_classes
        self.head_hidden_size = self.num_features * self.global_pool.feat_mult()
        device = self.conv1.weight.device
        self.fc = (
            nn.Linear(self.head_hidden_size, num_classes, bias=False, device=device)
            if num_classes
            else nn.Identity()
        )
