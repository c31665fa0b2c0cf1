"""The paper's networks in numbers: geometry, parameters and multiply-adds per stage.

Counts on the registered networks, no training and no timing. Rows go to
results/benchmarks/architectures.csv. Of a stage's parameters a binary classifier keeps `kept` where
it is cut out (Nact of N paths in coded blocks, all else; one row of the head), and `scaled` where
the whole stage is multiplied by r, as seems to be the paper's count.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import timm
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks._rows import FOLDER, write_rows
from codepath.evaluate.cost import macs_by_stage, parameters_by_stage
from codepath.models import CodedBottleneck

# Name, data set, coded network, its baseline, pixels a side.
NETWORKS = (
    ("C10", "cifar10", "coded_resnext29_10x11d", "resnext29_10x11d", 32),
    ("C100", "cifar100", "coded_resnext29_20x6d", "resnext29_20x6d", 32),
    ("ImageNet", "imagenet", "coded_resnext50_32x4d", "resnext50_32x4d", 160),
)
_OF_PATHS = ("conv1", "bn1", "conv2", "bn2", "conv3")
"""Parts of a block whose parameters are divided evenly among its paths."""


def _blocks(model: nn.Module, stage: str) -> list[Any]:
    return list(getattr(model, stage)) if stage.startswith("layer") else []


def kept_by_stage(model: nn.Module) -> dict[str, int]:
    """Stage (stem, layer1 .., head) -> parameters of one class's binary classifier, cut out."""
    kept = parameters_by_stage(model)
    for stage in kept:
        for block in _blocks(model, stage):
            if isinstance(block, CodedBottleneck):
                of_paths = sum(
                    p.numel() for name in _OF_PATHS for p in getattr(block, name).parameters()
                )
                kept[stage] -= of_paths // block.paths * (block.paths - block.active)
    kept["head"] //= model.num_classes
    return kept


def literal_operations(model: nn.Module, side: int) -> dict[str, int]:
    """Stage -> operations that the paper adds for Eq. 2 and 3: 3 N C H W for each coded block."""
    found: dict[str, int] = {}
    reductions = {info["module"]: info["reduction"] for info in model.feature_info}
    for stage, reduction in reductions.items():
        pixels = (side // reduction) ** 2
        found[stage] = sum(
            3 * block.paths * block.conv3.out_channels * pixels
            for block in _blocks(model, stage)
            if isinstance(block, CodedBottleneck)
        )
    return found


def rows_of(name: str, dataset: str, coded: str, plain: str, side: int) -> list[dict[str, Any]]:
    """A row for each stage of the coded network, with its baseline's counts beside."""
    model, baseline = timm.create_model(coded), timm.create_model(plain)
    shape = (3, side, side)
    parameters, kept = parameters_by_stage(model), kept_by_stage(model)
    macs, plain_macs = macs_by_stage(model, shape), macs_by_stage(baseline, shape)
    extra = literal_operations(model, side)
    rows = []
    for stage, count in parameters.items():
        blocks = _blocks(model, stage)
        actives = [b.active if isinstance(b, CodedBottleneck) else model.paths for b in blocks]
        ratio = sum(actives) / len(blocks) / model.paths if blocks else 1.0
        rows.append(
            {
                "network": name,
                "dataset": dataset,
                "model": coded,
                "baseline": plain,
                "pixels": side,
                "stage": stage,
                "blocks": len(blocks),
                "channels": blocks[0].conv3.out_channels if blocks else "",
                "width": blocks[0].conv2.out_channels // model.paths if blocks else "",
                "paths": model.paths if blocks else "",
                "active": "/".join(map(str, sorted(set(actives), reverse=True))),
                "ratio": ratio,
                "parameters": count,
                "baseline_parameters": parameters_by_stage(baseline)[stage],
                "kept": kept[stage],
                "scaled": kept[stage] if stage == "head" else count * ratio,
                "macs": macs[stage],
                "baseline_macs": plain_macs[stage],
                "literal_operations": extra.get(stage, 0),
            }
        )
    return rows


def main() -> None:
    """Print a table and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the CSV file")
    options = parser.parse_args()
    table = Table(title="Networks of Table 1")
    for heading in ("network", "parameters", "multiply-adds", "a classifier keeps"):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    rows = []
    for network in NETWORKS:
        found = rows_of(*network)
        rows += found
        total, macs, kept = (
            sum(row[column] for row in found) for column in ("parameters", "macs", "kept")
        )
        table.add_row(network[2], f"{total:,}", f"{macs:,}", f"{kept:,} ({kept / total:.1%})")
    console = Console()
    console.print(table)
    console.print(f"wrote {write_rows('architectures', rows, options.out, 'counted')}")


if __name__ == "__main__":
    main()
