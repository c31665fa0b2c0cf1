"""What coding costs a block: plain ResNeXt bottleneck, coded, and Eq. 2-3 written literally.

Forward pass and training step (forward, coding loss, backward), interleaved in one run, and the
peak memory of a training step. Rows go to results/benchmarks/block-DEVICE.csv.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from timm.models.resnet import Bottleneck
from torch import Tensor, nn

from benchmarks._rows import FOLDER, write_rows
from benchmarks._timing import (
    add_comparison,
    compare,
    comparison_table,
    forward_pass,
    random_images,
)
from benchmarks.literal import LiteralCodedBottleneck
from codepath.codes import find_scheme
from codepath.core.machine import keep_freed_memory
from codepath.models import CodedBottleneck
from codepath.run.config import PRECISIONS
from codepath.train import choose_device
from codepath.train.environment import device_name
from codepath.train.losses import coding_loss
from codepath.train.precision import autocast

# Coded stages of the networks at their usual image size: C, d, N, Nact, K, pixels a side.
STAGES = {
    "C10 c3": (512, 22, 10, 5, 10, 16),
    "C10 c4": (1024, 44, 10, 3, 10, 8),
    "C100 c3": (512, 12, 20, 8, 100, 16),
    "C100 c4": (1024, 24, 20, 4, 100, 8),
    "ImageNet c4": (1024, 16, 32, 16, 1000, 10),
    "ImageNet c5": (2048, 32, 32, 8, 1000, 5),
}


def training_step(
    block: nn.Module, x: Tensor, labels: Tensor, precision: str
) -> Callable[[], None]:
    """A training step of one block, the gradient of its input included."""

    def step() -> None:
        block.train().zero_grad(set_to_none=True)
        x.grad = None
        with autocast(x.device, precision):
            if isinstance(block, CodedBottleneck):
                out, energies = block.forward_coded(x)
                loss = coding_loss(energies, block.codewords[labels], block.ratio)
                total = out.float().mean() + loss
            else:
                total = block(x).float().mean()
        total.backward()

    return step


def main() -> None:
    """Print a table and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the CSV file")
    options = parser.parse_args()
    device = choose_device()
    keep_freed_memory()
    console = Console(width=120)
    table = comparison_table(
        f"A block, batch {options.batch}, {device_name(device)}, "
        f"{torch.get_num_threads()} threads, channels last, torch {torch.__version__}, "
        f"median of {options.repeats} turns"
    )
    rows = []
    for stage in options.stages:
        C, d, N, active, K, side = STAGES[stage]
        x = random_images(options.batch, C, side, device).requires_grad_()
        labels = torch.randint(K, (options.batch,), device=device)
        scheme = find_scheme(K, N, active)
        planes = C // 4
        blocks = {
            variant: block.to(device).to(memory_format=torch.channels_last)
            for variant, block in {
                "plain": Bottleneck(C, planes, cardinality=N, base_width=d * 64 / planes),
                "coded": CodedBottleneck(C, C, d, scheme),
                "literal": LiteralCodedBottleneck(C, C, d, scheme),
            }.items()
        }
        for precision in options.precisions:
            with console.status(f"{stage} {precision}"):
                found = compare(
                    {v: training_step(b, x, labels, precision) for v, b in blocks.items()},
                    {v: forward_pass(b, x, precision) for v, b in blocks.items()},
                    options.repeats,
                    device,
                )
            add_comparison(table, f"{stage} {precision}", found)
            settings = {"stage": stage, "batch": options.batch, "precision": precision}
            rows += [settings | row for row in found]
    console.print(table)
    path = write_rows(
        f"block-{device.type}",
        rows,
        options.out,
        device_name(device),
        ("stage", "precision", "batch", "variant"),
    )
    console.print(f"wrote {path}")


if __name__ == "__main__":
    main()
