"""What a cut-out binary classifier costs: parameters both ways, multiply-adds, time.

The network, its sliced classifier, the fused one (which is stored and run) and compressed ones take
turns at batch 1 and 64. Weights and images are random, so that these are counts and times alone:
`codepath extract RUN --curve` says what a compressed classifier is worth. Which units a compression
takes depends on the weights, its size does not. Rows go to
results/benchmarks/extraction-DEVICE.csv.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import codepath.models  # noqa: F401 (registers the networks)
from benchmarks._rows import FOLDER, write_rows
from benchmarks._timing import random_images
from codepath.core.machine import keep_freed_memory
from codepath.evaluate.cost import macs
from codepath.evaluate.extraction import classifier_costs
from codepath.evaluate.latency import Latency, interleaved_latency, layout
from codepath.models import extract_binary_classifier
from codepath.models.compress import compress
from codepath.models.effects import measure_effects
from codepath.models.extract import stored_values
from codepath.models.fused import FusedClassifier
from codepath.train import choose_device
from codepath.train.environment import device_name

# Network, pixels a side.
NETWORKS = {
    "C10": ("coded_resnext29_10x11d", 32),
    "C100": ("coded_resnext29_20x6d", 32),
    "ImageNet": ("coded_resnext50_32x4d", 160),
    "cpu": ("coded_resnext20_10x6d", 32),
}


CALIBRATION = 16


def compressed_classifiers(
    fused: FusedClassifier, shares: Sequence[float], network_parameters: int, side: int
) -> dict[str, FusedClassifier]:
    """Name -> classifier of at most such a share of the network's parameters."""
    images = random_images(CALIBRATION, 3, side, next(fused.parameters()).device)
    statistics = measure_effects(fused, images)
    return {
        f"compressed {share:g}": compress(fused, statistics, int(share * network_parameters)).to(
            memory_format=torch.channels_last
        )
        for share in shares
    }


def randomise_norms(model: nn.Module) -> None:
    """Scales and shifts as after training: untrained blocks add nothing, and all could go."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)


def size_rows(
    settings: dict[str, Any],
    costs: dict[str, float],
    small: dict[str, FusedClassifier],
    side: int,
) -> list[dict[str, Any]]:
    """Rows of what is counted: stored values and multiply-adds, each with its share.

    Args:
        settings: columns that all rows have.
        costs: of the network and its classifier, see `classifier_costs`.
        small: compressed classifiers by name.
        side: pixels.
    """
    rows = [
        settings | {"batch": 0, "module": "sizes", "metric": metric, "value": value}
        for metric, value in costs.items()
    ]
    for module, classifier in small.items():
        stored, own = stored_values(classifier), macs(classifier, (3, side, side))
        counts = {
            "stored_numbers": stored,
            "stored_numbers_share": stored / costs["network_parameters"],
            "macs": own,
            "macs_share": own / costs["network_macs"],
        }
        rows += [
            settings | {"batch": 0, "module": module, "metric": metric, "value": value}
            for metric, value in counts.items()
        ]
    return rows


def add_times(
    table: Table,
    rows: list[dict[str, Any]],
    settings: dict[str, Any],
    times: Latency,
    counted: dict[str, int],
) -> None:
    """A line of the table and the rows of one module at one batch size.

    Args:
        table, rows: what is added to.
        settings: columns that say what was timed.
        times: of the module.
        counted: stored values of every module.
    """
    module = settings["module"]
    table.add_row(
        settings["network"], module, f"{counted[module]:,}", str(settings["batch"]),
        f"{1000 * times.p50:.2f} ms", f"{1000 * times.p95:.2f} ms", f"{times.ratio:.3f}",
    )  # fmt: skip
    rows += [
        settings | {"turns": times.turns, "metric": metric, "value": getattr(times, metric)}
        for metric in ("p50", "p95", "ratio")
    ]


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--networks", nargs="+", choices=NETWORKS, default=["C10", "C100", "ImageNet"]
    )
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 64])
    parser.add_argument("--turns", type=int, default=30, help="at batch 1; a sixth at larger ones")
    parser.add_argument(
        "--shares", nargs="*", type=float, default=[0.4, 0.3, 0.2], help="of compressed classifiers"
    )
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the CSV file")
    return parser.parse_args()


def main() -> None:
    """Print a table and write the rows."""
    options = parse_options()
    device = choose_device()
    keep_freed_memory()
    console = Console(width=120)
    rows: list[dict[str, Any]] = []
    table = Table()
    for heading in ("network", "module", "numbers", "batch", "p50", "p95", "by the network's"):
        table.add_column(heading, justify="left" if heading in ("network", "module") else "right")
    about = ""
    for name in options.networks:
        entry, side = NETWORKS[name]
        torch.manual_seed(0)
        model = timm.create_model(entry).eval()
        randomise_norms(model)
        model = model.to(device).to(memory_format=torch.channels_last)
        sliced = extract_binary_classifier(model, 0)
        fused = sliced.fuse().to(memory_format=torch.channels_last)
        costs = classifier_costs(model, sliced, (3, side, side))
        about = f"{device_name(device)}, {layout(model)}, torch {torch.__version__}"
        settings = {"network": name, "pixels": side, "layout": layout(model)}
        small = compressed_classifiers(fused, options.shares, costs["network_parameters"], side)
        rows += size_rows(settings, costs, small, side)
        modules = {"network": model, "sliced": sliced, "fused": fused} | small
        counted = {
            "network": costs["network_parameters"],
            "sliced": costs["parameters"],
            "fused": costs["stored_numbers"],
        } | {module: stored_values(classifier) for module, classifier in small.items()}
        for batch in options.batches:
            with console.status(f"{name}, batch {batch}"):
                images = random_images(batch, 3, side, device)
                turns = max(3, options.turns // (1 if batch == 1 else 6))
                found = interleaved_latency(modules, [images], turns)
            for module, times in found.items():
                add_times(
                    table, rows, settings | {"batch": batch, "module": module}, times, counted
                )
        console.print(
            f"{name}: {costs['parameters']:,} of {costs['network_parameters']:,} parameters "
            f"({100 * costs['parameters_share']:.1f} %; by ratios "
            f"{100 * costs['parameters_by_ratio_share']:.1f} %), multiply-adds "
            f"{100 * costs['macs_share']:.1f} %",
            highlight=False,
        )
    table.title = f"Binary classifiers, {about}, in turns"
    console.print(table)
    path = write_rows(
        f"extraction-{device.type}",
        rows,
        options.out,
        device_name(device),
        ("network", "batch", "module", "metric"),
    )
    console.print(f"wrote {path}")


if __name__ == "__main__":
    main()
