"""What coding costs a whole network: plain ResNeXt, coded, and Eq. 2-3 written literally.

Forward pass and training step (forward, losses, backward, SGD with momentum), interleaved in
one run, and the peak memory of a training step beyond weights and images. Rows go to
results/benchmarks/network-DEVICE.csv.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from rich.console import Console
from torch import Tensor, nn

from benchmarks._rows import FOLDER, write_rows
from benchmarks._timing import (
    VARIANTS,
    add_comparison,
    compare,
    comparison_table,
    forward_pass,
    random_images,
)
from benchmarks.literal import LiteralCodedBottleneck
from codepath.core.machine import keep_freed_memory
from codepath.run.config import PRECISIONS
from codepath.run.objectives import ObjectiveConfig
from codepath.train import choose_device
from codepath.train.environment import device_name
from codepath.train.losses import TrainingObjective
from codepath.train.precision import autocast

# Coded network, its baseline, pixels a side, images a step.
NETWORKS = {
    "C10": ("coded_resnext29_10x11d", "resnext29_10x11d", 32, 64),
    "C100": ("coded_resnext29_20x6d", "resnext29_20x6d", 32, 64),
    "ImageNet": ("coded_resnext50_32x4d", "resnext50_32x4d", 160, 64),
    "cpu scale": ("coded_resnext20_10x6d", "resnext20_10x6d", 32, 64),
}


def build(network: str, device: torch.device) -> dict[str, Any]:
    """The three variants with fresh weights; coded and literal have the same weights."""
    coded_name, plain_name, _, _ = NETWORKS[network]
    torch.manual_seed(0)
    models: dict[str, Any] = {"plain": timm.create_model(plain_name)}
    for variant in ("coded", "literal"):
        torch.manual_seed(0)
        models[variant] = timm.create_model(coded_name, p_drop=0.1)
    for block in models["literal"].coded_blocks.values():
        block.__class__ = LiteralCodedBottleneck
    return {
        variant: model.to(device).to(memory_format=torch.channels_last)
        for variant, model in models.items()
    }


def training_step(
    model: nn.Module, images: Tensor, labels: Tensor, precision: str
) -> Callable[[], None]:
    """A whole training step: objective, backward pass, update."""
    objective = TrainingObjective(model, ObjectiveConfig(mu=6.0))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, nesterov=True)

    def step() -> None:
        model.train()
        optimizer.zero_grad(set_to_none=True)
        with autocast(images.device, precision):
            total = objective(images, labels).total
        total.backward()
        optimizer.step()

    return step


def main() -> None:
    """Print a table and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--batch", type=int, help="images a step; default: the network's")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the CSV file")
    options = parser.parse_args()
    if "coded" not in options.variants:
        parser.error("--variants needs coded: the others are compared with it")
    device = choose_device()
    if "literal" not in options.variants:  # its tensors do not fit beside kept memory
        keep_freed_memory()
    console = Console(width=120)
    table = comparison_table(
        f"{device_name(device)}, {torch.get_num_threads()} threads, channels last, "
        f"torch {torch.__version__}, median of {options.repeats} turns"
    )
    rows = []
    for network in options.networks:
        side, default_batch = NETWORKS[network][2:]
        batch = options.batch or default_batch
        models = {v: m for v, m in build(network, device).items() if v in options.variants}
        images = random_images(batch, 3, side, device)
        classes = next(block.scheme.classes for block in models["coded"].coded_blocks.values())
        labels = torch.randint(classes, (batch,), device=device)
        for precision in options.precisions:
            with console.status(f"{network} {precision}"):
                found = compare(
                    {v: training_step(m, images, labels, precision) for v, m in models.items()},
                    {v: forward_pass(m, images, precision) for v, m in models.items()},
                    options.repeats,
                    device,
                )
            add_comparison(table, f"{network} {precision}, {batch} images", found)
            settings = {"network": network, "pixels": side, "batch": batch}
            rows += [settings | {"precision": precision} | row for row in found]
    console.print(table)
    path = write_rows(
        f"network-{device.type}",
        rows,
        options.out,
        device_name(device),
        ("network", "precision", "batch", "variant"),
    )
    console.print(f"wrote {path}")


if __name__ == "__main__":
    main()
