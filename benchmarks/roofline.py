"""How long a training step must take at least: a roofline, computed and not measured.

For every operation of a step in bfloat16, with aligned bottlenecks: the bytes of the tensors that
it reads and writes, each once, and the multiply-adds that the tensor cores do for it (of merged
convolutions those with zeros too). An operation takes at least the longer of the two, at what a
card copied and multiplied when nothing else ran. Passes over a tensor that a compiler can join are
one pass:

    convolution    forward, its input's gradient, its weight's gradient
    batch norm     forward: statistics, then normalising with what follows (ReLU, shortcut);
                   backward: two sums, then the input's gradient
    shortcut       the block's gradient and conv1's part of it, added up
    coding         what a coded block does besides, see CODING
    optimiser      weights, gradients and momenta

benchmarks/ROOFLINE.md says what follows from it. Rows go to results/benchmarks/roofline.csv.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks._rows import FOLDER, write_rows
from benchmarks.step import AT_ONCE, NETWORKS
from codepath.experiments import find_experiment
from codepath.models import CodedBottleneck, create_model
from codepath.models.aligned import AlignedConv2d
from codepath.run.config import RunConfig
from codepath.train.ghost import use_ghost_batches

LOW, HIGH = 2, 4
"""Bytes of a number in bfloat16 and in float32."""


class Card(NamedTuple):
    """What a GPU reached when it did one thing alone."""

    name: str
    bytes_per_second: float
    """Bytes read and written by a copy on the device."""
    operations_per_second: float
    """Of a product of two 8192 x 8192 matrices in bfloat16; a multiply-add is two operations."""


CARDS = (Card("H200", 4.3e12, 790e12), Card("H100", 3.0e12, 798e12))
"""Assumed speeds, as reported of one card each. No row of this suite holds them."""


class Coding(NamedTuple):
    """Bytes that one way of carrying out the coded part moves."""

    of_h: int
    """Bytes for each number of h, which takes 2 itself in bfloat16."""
    of_moments: int
    """Bytes for each number of S_n, in float32."""


CODING = {
    "present": Coding(54, 24),
    "dense": Coding(20, 12),
    "kernels": Coding(20, 12),
    "least": Coding(6, 8),
}
"""Way -> its bytes, made up as follows: (4) is bytes read, (4, 8) is bytes read and written.

present
    h, forward: two copies in float32, one of them in another layout (4, 8); the moments (8); the
    scaled h (2, 2).
    h, backward: the sum of g h (4); two products of h's size (4, 8); their sum with the scaled
    gradient (12, 2).
    S_n is written, then read for the energies and for dL/dG_n. dL/dS_n is written and read twice.
dense, kernels
    h, forward: the moments (2); the scaled h (2, 2).
    h, backward: the sum of g h (4); G h (2, 2); its sum with the scaled gradient (4, 2).
    S_n is written, then read for the energies and for dL/dG_n. Besides, dense writes and reads
    (N d)^2 float32 numbers an image.
least
    h, forward: the moments (2). h, backward: the sum of g h (4). All else is joined with bn2's
    passes.
    S_n is written and read once.
"""


class Operation(NamedTuple):
    """Part of a step."""

    stage: str
    kind: str
    bytes: int
    multiply_adds: int = 0

    def seconds(self, card: Card) -> float:
        """Seconds that it takes at least on a card."""
        return max(
            self.bytes / card.bytes_per_second,
            2 * self.multiply_adds / card.operations_per_second,
        )


def operations(config: RunConfig, images: int, coding: str = "present") -> list[Operation]:
    """All operations of a step of a recipe's network on `images` images at once.

    Args:
        config: the run.
        images: B, the images of the step.
        coding: the way to carry out the coded part, a key of CODING.
    """
    found: list[Operation] = []
    model = create_model(config.model)
    use_ghost_batches(model, 0, 0.1, aligned=True)
    model.eval()
    for name, module in model.named_modules():
        stage = name.split(".")[0] if name.startswith("layer") else "stem"
        count: Callable[..., Iterable[Operation]]
        if isinstance(module, nn.Conv2d):
            count = partial(_convolution, stage=stage, first=name == "conv1")
        elif isinstance(module, nn.BatchNorm2d):
            count = partial(_batch_norm, stage=stage, shortcut=name.endswith("bn3"))
        elif name.endswith("act2") and isinstance(
            block := model.get_submodule(name.removesuffix(".act2")), CodedBottleneck
        ):
            count = partial(_coded, block=block, stage=stage, way=coding)
        else:
            continue
        module.register_forward_hook(
            lambda m, inputs, out, count=count: found.extend(
                count(m, *(t.expand(images, *t.shape[1:]) for t in (inputs[0], out)))
            )
        )
    side = config.data.crop or 32
    with torch.no_grad():
        model(torch.zeros(1, config.model.in_chans, side, side))
    parameters = sum(p.numel() for p in model.parameters())
    # Weights, gradients and momenta are read; weights and momenta are written. Then the weights
    # are read once more and written as bfloat16 copies.
    found.append(Operation("all", "optimiser", parameters * (6 * HIGH + LOW)))
    return found


def _convolution(
    conv: nn.Conv2d, x: Tensor, out: Tensor, stage: str, first: bool = False
) -> Iterator[Operation]:
    weight = conv.aligned_weight() if isinstance(conv, AlignedConv2d) else conv.weight
    moved = LOW * (x.numel() + weight.numel() + out.numel())
    multiply_adds = out.numel() * weight[0].numel()
    kind = f"convolution {weight.shape[2]}x{weight.shape[3]}"
    for _ in range(2 if first else 3):  # the images need no gradient
        yield Operation(stage, kind, moved, multiply_adds)


def _batch_norm(
    _: nn.Module, __: Tensor, out: Tensor, stage: str, shortcut: bool
) -> Iterator[Operation]:
    n = LOW * out.numel()
    # The backward passes need to know where a ReLU let through. For the block's ReLU they read its
    # output; for an inner one they compute that from what the batch norm normalised.
    for passes in (1, 3 if shortcut else 2, 3 if shortcut else 2, 4 if shortcut else 3):
        yield Operation(stage, "batch norm", passes * n)
    if shortcut:  # gradient, output and conv1's part are read, their sum is written
        yield Operation(stage, "shortcut", 4 * n)


def _coded(
    _: nn.Module, __: Tensor, h: Tensor, block: CodedBottleneck, stage: str, way: str
) -> Iterator[Operation]:
    """Operations of the coding and of conv3, which a coded block applies without calling it."""
    B, channels, H, W = h.shape
    conv = block.conv3
    assert isinstance(conv, nn.Conv2d)
    yield from _convolution(conv, h, h.new_empty(()).expand(B, conv.out_channels, H, W), stage)
    moved = CODING[way].of_h * h.numel()
    moved += CODING[way].of_moments * B * channels * (channels // block.paths)
    products = 2 * B * H * W * channels * (channels // block.paths)  # the moments, and G h
    if way == "dense":
        moved += 2 * HIGH * B * channels**2
        products *= block.paths
    yield Operation(stage, "coding", moved, products)


def totals(found: list[Operation], card: Card) -> dict[str, float]:
    """Seconds at least, by kind of operation."""
    seconds: dict[str, float] = defaultdict(float)
    for operation in found:
        seconds[operation.kind] += operation.seconds(card)
    return dict(seconds)


def main() -> None:
    """Print a table for each network and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the CSV file")
    options = parser.parse_args()
    console = Console(width=120)
    rows: list[dict[str, Any]] = []
    for network in options.networks:
        coded, plain = find_experiment(f"table2-{NETWORKS[network]}").runs("paper", 0)
        images = AT_ONCE.get(network, coded.train.batch_size)
        columns = {"plain": operations(plain, images)}
        columns |= {way: operations(coded, images, way) for way in CODING}
        for way, found in columns.items():
            rows += _rows(network, way, images, found)
        for card in CARDS:
            console.print(_table(network, images, columns, card))
    path = write_rows("roofline", rows, options.out, "computed")
    console.print(f"wrote {path}")


def _rows(network: str, way: str, images: int, found: list[Operation]) -> list[dict[str, Any]]:
    """Sums over operations of one stage and kind, for each card."""
    rows = []
    for stage, kind in dict.fromkeys((one.stage, one.kind) for one in found):
        mine = [one for one in found if (one.stage, one.kind) == (stage, kind)]
        for card in CARDS:
            rows.append(
                {
                    "network": network,
                    "way": way,
                    "stage": stage,
                    "operation": kind,
                    "card": card.name,
                    "batch": images,
                    "bytes": sum(one.bytes for one in mine),
                    "multiply_adds": sum(one.multiply_adds for one in mine),
                    "value": sum(one.seconds(card) for one in mine),
                }
            )
    return rows


def _table(network: str, images: int, columns: dict[str, list[Operation]], card: Card) -> Table:
    table = Table(title=f"{network}, {images} images, {card.name}: milliseconds at least, computed")
    table.add_column("")
    for way in columns:
        table.add_column(way if way == "plain" else f"coded, {way}", justify="right")
    sums = [totals(found, card) for found in columns.values()]
    for kind in dict.fromkeys(kind for one in sums for kind in one):
        table.add_row(kind, *(f"{1000 * one.get(kind, 0.0):.2f}" for one in sums))
    table.add_row("all", *(f"{1000 * sum(one.values()):.2f}" for one in sums))
    return table


if __name__ == "__main__":
    main()
