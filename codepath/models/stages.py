"""The stages of a network (Table 1): their sizes, the coding scheme of every block, their blocks.

Shapes: B batch, N paths, K classes, d channels of one path, C output channels, H x W pixels.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from numpy.typing import ArrayLike
from timm.models.resnet import Bottleneck, downsample_conv
from torch import nn

from codepath.codes import CodingScheme, find_scheme, load_scheme
from codepath.core.errors import UserError
from codepath.models.coded_block import CodedBottleneck

SchemeLike = CodingScheme | ArrayLike | str


class Stage(NamedTuple):
    """[C, d, Nact] x depth of Table 1; a block is coded where Nact < N."""

    channels: int
    width: int
    active: int | tuple[int, ...]
    """Nact of all blocks, or of each."""
    depth: int

    @property
    def actives(self) -> tuple[int, ...]:
        """Nact of every block."""
        if isinstance(self.active, int):
            return (self.active,) * self.depth
        return tuple(self.active)


def with_active(
    stages: Sequence[Stage], active: Sequence[int | Sequence[int]] | None, paths: int
) -> list[Stage]:
    """The stages, with the Nact of `active` where it is given.

    Raises:
        UserError: `active` does not fit the stages, or an Nact lies outside 1 to N.
    """
    if active is not None:
        if len(active) != len(stages):
            raise UserError(f"active has {len(active)} entries, the network {len(stages)} stages")
        stages = [
            stage._replace(active=nact if isinstance(nact, int) else tuple(nact))
            for stage, nact in zip(stages, active, strict=True)
        ]
    for number, stage in enumerate(stages, start=1):
        if len(stage.actives) != stage.depth:
            raise UserError(
                f"active has {len(stage.actives)} entries for stage {number}, "
                f"which has {stage.depth} blocks"
            )
        for nact in stage.actives:
            if not 0 < nact <= paths:
                raise UserError(f"active is {nact} in stage {number}: choose 1 to {paths}")
    return list(stages)


def resolve_schemes(
    stages: Sequence[Stage],
    paths: int,
    classes: int,
    schemes: Sequence[SchemeLike] | None,
    family: str,
) -> list[CodingScheme | None]:
    """One scheme for each block of the network, None for an uncoded block.

    Args:
        stages: the network's stages.
        paths: N.
        classes: K.
        schemes: one for each run of coded blocks (consecutive blocks of a stage with equal
            Nact), or one for each coded block; None takes the family's for (K, N, Nact).
        family: "paper" or "best", see `codepath.codes.catalog`.

    Raises:
        UserError: another number of schemes is needed, or one has other K or N.
    """
    runs = [
        (nact, len(list(blocks)))
        for stage in stages
        for nact, blocks in itertools.groupby(stage.actives)
    ]
    lengths = [length for nact, length in runs if nact < paths]
    given: list[SchemeLike | None]
    if schemes is None:
        given = [None] * sum(lengths)
    elif len(schemes) == len(lengths):
        given = [s for s, length in zip(schemes, lengths, strict=True) for _ in range(length)]
    elif len(schemes) == sum(lengths):
        given = list(schemes)
    else:
        raise UserError(
            f"{len(schemes)} schemes given, the network has {len(lengths)} coded stages "
            f"(runs of {sum(lengths)} coded blocks)"
        )
    chosen = iter(given)
    return [
        None if nact == paths else _scheme(next(chosen), classes, paths, nact, family)
        for stage in stages
        for nact in stage.actives
    ]


def _scheme(
    chosen: SchemeLike | None, classes: int, paths: int, active: int, family: str
) -> CodingScheme:
    if chosen is None:
        scheme = find_scheme(classes, paths, active, family=family)
    elif isinstance(chosen, str):
        scheme = load_scheme(chosen)
    else:
        scheme = chosen if isinstance(chosen, CodingScheme) else CodingScheme(chosen)
    if scheme.classes != classes:
        raise UserError(
            f"the scheme has codewords for {scheme.classes} classes, the network has "
            f"{classes}: give a scheme with K = {classes}"
        )
    if scheme.paths != paths:
        raise UserError(f"the scheme has {scheme.paths} paths, the network's blocks have {paths}")
    return scheme


def _concat_width(stage: Stage, paths: int, in_chs: int) -> int:
    """d of a stage whose coded blocks concatenate their paths' outputs.

    It is the d whose parameters come closest to those of the same stage with a sum.

    Args:
        stage: the stage as it is with a sum.
        paths: N.
        in_chs: channels that enter the stage.
    """
    inputs = [in_chs] + [stage.channels] * (stage.depth - 1)

    def parameters(width: int, concat: bool) -> int:
        return sum(
            width * paths * (chs + 9 * width + 4)
            + stage.channels * width * (1 if concat else paths)
            for chs in inputs
        )

    target = parameters(stage.width, concat=False)
    return min(
        range(stage.width, 8 * stage.width),
        key=lambda width: abs(parameters(width, concat=True) - target),
    )


def build_stage(
    stage: Stage,
    schemes: Sequence[CodingScheme | None],
    in_chs: int,
    paths: int,
    stride: int,
    aggregate: str,
    p_drop: float,
) -> nn.Sequential:
    """The blocks of a stage, (B, in_chs, H, W) -> (B, C, H / stride, W / stride).

    Args:
        stage: its sizes.
        schemes: of every block; None makes a plain bottleneck.
        in_chs: channels that enter the stage.
        paths: N.
        stride: of the first block.
        aggregate: "sum" or "concat", see `CodedBottleneck`.
        p_drop: DropSubNNs' probability.
    """
    width = _concat_width(stage, paths, in_chs) if aggregate == "concat" else stage.width
    blocks: list[nn.Module] = []
    for scheme in schemes:
        blocks.append(
            _plain_block(in_chs, stage, paths, stride)
            if scheme is None
            else CodedBottleneck(in_chs, stage.channels, width, scheme, stride, aggregate, p_drop)
        )
        in_chs, stride = stage.channels, 1
    return nn.Sequential(*blocks)


def _plain_block(in_chs: int, stage: Stage, paths: int, stride: int) -> Bottleneck:
    planes = stage.channels // Bottleneck.expansion
    project = stride != 1 or in_chs != stage.channels
    block = Bottleneck(
        in_chs,
        planes,
        stride,
        downsample_conv(in_chs, stage.channels, 1, stride) if project else None,
        cardinality=paths,
        base_width=stage.width * 64 / planes,  # type: ignore[arg-type]
    )
    assert block.conv2.out_channels == paths * stage.width
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    block.zero_init_last()
    return block
