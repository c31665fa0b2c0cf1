"""Grouped 3x3 convolutions against the dense ones with the same weights on their diagonal.

Forward and backward in bfloat16, channels last, at the sizes of the paper's networks with padded
channels, as CUDA graphs in turns. `codepath/models/aligned.py` takes its rule from this. Rows go to
results/benchmarks/convolutions-cuda.csv.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks._rows import FOLDER, write_rows
from codepath.models.aligned import aligned_width
from codepath.train import choose_device
from codepath.train.environment import choose_repeatable_algorithms, device_name
from codepath.train.graph import WARM_UP, Recorded

STAGES = {
    "C10": (10, ((11, 32), (22, 16), (44, 8)), 512),
    "C100": (20, ((6, 32), (12, 16), (24, 8)), 512),
    "ImageNet": (32, ((4, 40), (8, 20), (16, 10), (32, 5)), 256),
}
"""Network -> N, (d, pixels a side) of each stage, images of a batch."""


def work(channels: int, groups: int, side: int, batch: int, device: torch.device) -> Recorded:
    """Forward and backward pass of a convolution, as a CUDA graph."""
    x, weight = (
        torch.randn(*shape, dtype=torch.bfloat16, device=device)
        .to(memory_format=torch.channels_last)
        .requires_grad_()
        for shape in ((batch, channels, side, side), (channels, channels // groups, 3, 3))
    )

    def call() -> Tensor:
        x.grad = weight.grad = None
        out = F.conv2d(x, weight, padding=1, groups=groups)
        out.backward(out.detach())
        return out

    return Recorded(call, device)


def milliseconds(call: Recorded, calls: int) -> float:
    """Milliseconds of one call, by the device's clock."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(calls):
        call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / calls


def main() -> None:
    """Print a table and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--calls", type=int, default=10, help="of a turn")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the CSV file")
    options = parser.parse_args()
    device = choose_device()
    if device.type != "cuda":
        sys.exit("error: merged groups are for GPUs, and there is none here: run this on one")
    choose_repeatable_algorithms()
    table = Table(title=f"3x3 convolutions, bfloat16, {device_name(device)}")
    for heading in ("", "channels", "pixels", "grouped", "dense", "grouped / dense"):
        table.add_column(heading)
    rows: list[dict[str, Any]] = []
    for network, (paths, stages, batch) in STAGES.items():
        for width, side in stages:
            channels = paths * aligned_width(width, paths)
            calls = {
                "grouped": work(channels, paths, side, batch, device),
                "dense": work(channels, 1, side, batch, device),
            }
            for call in calls.values():
                milliseconds(call, WARM_UP + 2)
            turns = [
                {name: milliseconds(call, options.calls) for name, call in calls.items()}
                for _ in range(options.turns)
            ]
            row: dict[str, Any] = {
                name: statistics.median(turn[name] for turn in turns) for name in calls
            }
            ratio = statistics.median(turn["grouped"] / turn["dense"] for turn in turns)
            rows.append(
                {"network": network, "width": width, "channels": channels, "groups": paths}
                | {"pixels": side, "batch": batch, "torch": torch.__version__}
                | {f"{name}_ms": value for name, value in row.items()}
                | {"grouped_by_dense": ratio}
            )
            times = [f"{value:.3f} ms" for value in row.values()]
            table.add_row(network, str(channels), str(side), *times, f"{ratio:.2f}")
    Console(width=120).print(table)
    settings = ("network", "width", "pixels", "batch")
    path = write_rows("convolutions-cuda", rows, options.out, device_name(device), settings)
    Console(width=120).print(f"wrote {path}")


if __name__ == "__main__":
    main()
