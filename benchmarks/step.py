"""What the ways of carrying out a training step give: whole steps of a recipe, as a run makes them.

launched: kernel by kernel; recorded: as one CUDA graph; aligned: recorded, with padded channels and
merged groups; compiled: aligned, through torch.compile, as `codepath run` trains them. On the
CPU there are no graphs. The precision is what a run would train in here. Ways take turns; rows
go to results/benchmarks/step-DEVICE.csv.
"""

from __future__ import annotations

import argparse
import statistics
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks._rows import FOLDER, write_rows
from benchmarks._timing import interleaved, precision_here, speed_ratio, wait
from codepath.config import STATISTICS, RunConfig
from codepath.data import Batch, Normalize
from codepath.experiments import find_experiment
from codepath.runtime import keep_freed_memory
from codepath.train import World, choose_device
from codepath.train.distributed import Placement
from codepath.train.fit import choose_repeatable_algorithms, device_name
from codepath.train.graph import WARM_UP
from codepath.train.loop import Trainer

NETWORKS = {"C10": "cifar10", "C100": "cifar100", "ImageNet": "imagenet"}
"""Name -> data set, whose Table 2 has the recipe."""
WAYS: dict[str, dict[str, bool]] = {
    "launched": {"recorded": False, "aligned": False, "compiled": False},
    "recorded": {"recorded": True, "aligned": False, "compiled": False},
    "aligned": {"recorded": True, "aligned": True, "compiled": False},
    "compiled": {"recorded": True, "aligned": True, "compiled": True},
}


def random_batch(config: RunConfig, side: int) -> Batch:
    """A recipe's batch of random images."""
    size, classes = config.train.batch_size, config.model.num_classes
    images = torch.randint(0, 256, (size, side, side, config.model.in_chans), dtype=torch.uint8)
    return Batch(images.permute(0, 3, 1, 2), torch.randint(classes, (size,)), torch.arange(size))


def measure(
    config: RunConfig, batch: Batch, ways: list[str], turns: int, steps: int, device: torch.device
) -> list[dict[str, Any]]:
    """A row for each way: seconds of a step (median over turns), images a second, peak memory."""
    mean, std = STATISTICS.get(config.data.source, ((0.5,), (0.25,)))
    normalize = Normalize(mean, std).to(device)
    precision = precision_here(config, device)
    trainers, peaks = {}, {}
    for way in ways:
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            held = torch.cuda.memory_allocated(device)
        world = World(Placement(), device)
        trainers[way] = Trainer(
            config, world, steps, config.train.batch_size, precision=precision, **WAYS[way]
        )
        for _ in range(WARM_UP + 2 if device.type == "cuda" else 1):
            trainers[way].train_step(batch, 0, normalize)
        if device.type == "cuda":
            wait(device)
            peaks[way] = torch.cuda.max_memory_allocated(device) - held

    def turn(trainer: Trainer) -> None:
        for _ in range(steps):
            trainer.train_step(batch, 0, normalize)

    seconds = interleaved({way: partial(turn, trainers[way]) for way in ways}, turns, device)
    rows = []
    for way in ways:
        step = statistics.median(seconds[way]) / steps
        rows.append(
            {
                "way": way,
                "value": step,
                "images_per_second": len(batch.labels) / step,
                "peak_bytes": peaks.get(way, ""),
                "speed_up": speed_ratio(seconds[ways[0]], seconds[way]),
            }
        )
    return rows


def main() -> None:
    """Print a table and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--roles", nargs="+", choices=("coded", "baseline"), default=["coded"])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5, help="of a turn")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the CSV file")
    options = parser.parse_args()
    device, console = choose_device(), Console(width=120)
    ways = options.ways
    if device.type == "cuda":
        choose_repeatable_algorithms()
    else:
        keep_freed_memory()
        ways = [way for way in ways if way != "recorded"]
    table = Table(title=f"Training steps of Table 2's recipes, {device_name(device)}")
    for heading in ("", "way", "step", "images a second", f"times {ways[0]}", "peak memory"):
        table.add_column(heading, no_wrap=True)
    rows = []
    for network in options.networks:
        for config in find_experiment(f"table2-{NETWORKS[network]}").runs("paper", 0):
            if config.model_role not in options.roles:
                continue
            batch = random_batch(config, config.data.crop or 32)
            with console.status(f"{network} {config.model_role}"):
                found = measure(config, batch, ways, options.turns, options.steps, device)
            settings = {
                "network": network,
                "model": config.model_role,
                "precision": precision_here(config, device),
                "batch": config.train.batch_size,
                "torch": torch.__version__,
            }
            rows += [settings | row for row in found]
            for row in found:
                table.add_row(
                    f"{network} {config.model_role}",
                    row["way"],
                    f"{1000 * row['value']:.2f} ms",
                    f"{row['images_per_second']:,.0f}",
                    f"{row['speed_up']:.2f}",
                    f"{row['peak_bytes'] / 2**20:,.0f} MiB" if row["peak_bytes"] else "",
                )
    console.print(table)
    path = write_rows(
        f"step-{device.type}",
        rows,
        options.out,
        device_name(device),
        ("network", "model", "precision", "batch", "way"),
    )
    console.print(f"wrote {path}")


if __name__ == "__main__":
    main()
