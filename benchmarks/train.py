"""Training from end to end: FFCV and torch backends against a torchvision DataLoader with timm.

The steps are a run's own (forward, coding loss, backward, update); only where the batches come from
differs. Turns of some steps are interleaved in one run. A loader is started before its turn and
closed behind it, so that no other one works meanwhile. Then what a run spends besides training:
checkpoints, lines of metrics, the pass over the test images, and what share of the run that is.
Rows go to results/benchmarks/train-DEVICE.csv.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks._rivals import REFERENCE, Batches, loaders_here, make_loader
from benchmarks._rows import FOLDER, write_rows
from benchmarks._timing import precision_here
from codepath.core.machine import available_cores, keep_freed_memory
from codepath.data import Batch, DataSet, Normalize, evaluation_loader
from codepath.evaluate import predict
from codepath.experiments import find_experiment
from codepath.run.config import PRECISIONS, RunConfig, to_dict
from codepath.train import FitOptions, World, choose_device
from codepath.train.checkpoint import Checkpoints
from codepath.train.distributed import Placement
from codepath.train.environment import device_name
from codepath.train.loop import Trainer, batches_of
from codepath.train.metrics import MetricsFile, memory_mib

EVERY = FitOptions()
"""How often a run saves and reports by default."""


def recipe(scale: str, batch: int) -> RunConfig:
    """The coded run of CIFAR-10 at a scale; the batch may be the machine's."""
    config = find_experiment("table2-cifar10").runs(scale, 0)[0]
    train = config.train
    batch = batch or train.batch_size
    group = train.bn_batch if train.bn_batch and batch % train.bn_batch == 0 else 0
    train = dataclasses.replace(train, batch_size=batch, bn_batch=group)
    return dataclasses.replace(config, train=train)


def endless(loader: Batches) -> Iterator[Batch]:
    """Batches of one epoch after the other, from any of the rivals."""
    epoch = 0
    while True:
        if hasattr(loader, "set_epoch"):
            loader.set_epoch(epoch)
        epoch += 1
        with contextlib.closing(batches_of(loader)) as batches:
            for batch in batches:
                images, labels = batch[0], batch[1]
                yield (
                    batch
                    if isinstance(batch, Batch)
                    else Batch(images, labels, torch.arange(len(labels)))
                )


def turn(
    loader: Batches, trainer: Trainer, normalize: Normalize, steps: int
) -> tuple[float, float]:
    """Seconds of some steps, and of waiting for their batches, once the loader is under way."""
    waited = 0.0
    with contextlib.closing(endless(loader)) as batches:
        trainer.train_step(next(batches), 0, normalize)
        _finish(trainer)
        started = time.perf_counter()
        for _ in range(steps):
            asked = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - asked
            trainer.train_step(batch, 0, normalize)
        _finish(trainer)
        return time.perf_counter() - started, waited


def _finish(trainer: Trainer) -> None:
    """Wait for the device, and for what a run asks of it."""
    trainer.trouble()


def throughput(
    config: RunConfig, images: DataSet, trainer: Trainer, steps: int, turns: int, folder: Path
) -> list[dict[str, Any]]:
    """A row for each rival: images per second and share of waiting, medians over turns."""
    normalize = Normalize(images.mean, images.std).to(trainer.world.device)
    batch, policy = config.train.batch_size, config.data.randaugment
    np.save(folder / "images.npy", images.train.images)
    np.save(folder / "labels.npy", images.train.labels)
    loaders = {name: make_loader(name, policy, batch, folder) for name in loaders_here()}
    seconds: dict[str, list[float]] = {name: [] for name in loaders}
    waits: dict[str, list[float]] = {name: [] for name in loaders}
    for number in range(turns + 1):
        order = list(loaders.items())
        for name, loader in order if number % 2 else reversed(order):
            took, waited = turn(loader, trainer, normalize, steps)
            if number:  # the first turn warms up
                seconds[name].append(took)
                waits[name].append(waited / took)
    rows = []
    for name, times in seconds.items():
        ratios = [a / b for a, b in zip(seconds[REFERENCE], times, strict=True)]
        speeds = [batch * steps / one for one in times]
        rows.append(
            {
                "what": "images per second",
                "variant": name,
                "value": round(statistics.median(speeds), 2),
                "least": round(min(speeds), 2),
                "most": round(max(speeds), 2),
                "ratio": round(statistics.median(ratios), 4),
                "share": round(statistics.median(waits[name]), 4),
                "count": turns * steps,
            }
        )
    return rows


def overheads(
    config: RunConfig, images: DataSet, trainer: Trainer, speed: float, repeats: int, folder: Path
) -> list[dict[str, Any]]:
    """A row for each thing that a run does besides training, and one for their sum.

    `value` is in seconds (median), `count` how often a whole run of the recipe does it at `speed`
    images per second with the default options, `share` of its training time.
    """
    normalize = Normalize(images.mean, images.std).to(trainer.world.device)
    samples, epochs = 50_000, config.train.epochs
    steps = samples // config.train.batch_size * epochs
    training = steps * config.train.batch_size / speed
    checkpoints, metrics = Checkpoints(folder, EVERY.keep), MetricsFile(folder, True)

    def save() -> None:
        trainer.step += 1
        trainer.trouble(weights=True)
        metrics.sync()
        checkpoints.save(trainer.step, {"config": to_dict(config), **trainer.state()})

    def report() -> None:
        values = trainer.recent_meter.means(trainer.world)
        metrics.write("steps", {"step": 0, **values, "memory": memory_mib(trainer.world.device)})

    def evaluate() -> None:
        trainer.model.eval()
        predict(trainer.model, evaluation_loader(images.test), normalize, trainer.world.device)

    every_minutes = training / (60 * EVERY.save_minutes)
    works: dict[str, tuple[Callable[[], None], float, int]] = {
        "checkpoint": (save, epochs + every_minutes, repeats),
        "line of metrics": (report, steps / EVERY.log_steps + epochs, repeats),
        "test images": (evaluate, 1, 1),
    }
    rows = []
    for what, (work, count, times) in works.items():
        taken = []
        for _ in range(times):
            started = time.perf_counter()
            work()
            taken.append(time.perf_counter() - started)
        share = statistics.median(taken) * count / training
        rows.append(
            {
                "what": what,
                "variant": "run",
                "value": round(statistics.median(taken), 5),
                "least": round(min(taken), 5),
                "most": round(max(taken), 5),
                "share": round(share, 6),
                "count": round(count),
            }
        )
    total = sum(row["share"] for row in rows)
    rows.append({"what": "all but training", "variant": "run", "share": round(total, 6)})
    return rows


def subset(images: DataSet, count: int) -> DataSet:
    """`count` training images, every class as often as it comes."""
    split = images.train
    chosen = np.linspace(0, len(split) - 1, min(count, len(split))).astype(np.int64)
    train = dataclasses.replace(
        split, images=np.ascontiguousarray(split.images[chosen]), labels=split.labels[chosen]
    )
    return dataclasses.replace(images, train=train)


def fill_table(table: Table, rows: list[dict[str, Any]]) -> None:
    """Columns and rows of what was measured."""
    for heading in ("", "variant"):
        table.add_column(heading, no_wrap=True)
    for heading in ("value", "times DataLoader", "share of time", "count"):
        table.add_column(heading, justify="right")
    for row in rows:
        unit = "img/s" if row["variant"] != "run" else "s"
        table.add_row(
            row["what"],
            row["variant"],
            f"{row['value']:,.4g} {unit}" if "value" in row else "",
            f"{row['ratio']:.3f}" if "ratio" in row else "",
            f"{100 * row['share']:.2f} %",
            str(row.get("count", "")),
        )


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="CIFAR-10; default: CODEPATH_CIFAR10_IMAGES")
    parser.add_argument("--scale", choices=("paper", "cpu"), default="paper", help="the network")
    parser.add_argument("--batch", type=int, default=0, help="default: the recipe's; 64 on the CPU")
    parser.add_argument(
        "--precision", choices=("auto", *PRECISIONS), default="auto", help="default: as a run here"
    )
    parser.add_argument("--policy", default="rand-m4-n3", help="RandAugment, or none")
    parser.add_argument("--images", type=int, default=10_000, help="of the training split")
    parser.add_argument("--steps", type=int, default=8, help="of a turn")
    parser.add_argument("--turns", type=int, default=5, help="of each loader")
    parser.add_argument("--repeats", type=int, default=10, help="of checkpoints and lines")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the CSV file")
    return parser.parse_args()


def main() -> None:
    """Print a table and write the rows."""
    options = parse_options()

    from codepath.data import load_data_set

    console, device = Console(width=120), choose_device()
    if device.type == "cpu":
        keep_freed_memory()
    batch = options.batch or (64 if device.type == "cpu" else 0)
    config = recipe(options.scale, batch)
    precision = precision_here(config, device, options.precision)
    policy = "" if options.policy == "none" else options.policy
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, randaugment=policy))
    images = subset(load_data_set("cifar10", options.data), options.images)
    batch = config.train.batch_size
    world, steps = World(Placement(), device), len(images.train) // batch
    trainer = Trainer(config, world, steps, batch, precision=precision)
    with tempfile.TemporaryDirectory() as name, console.status("training"):
        folder = Path(name)
        rows = throughput(config, images, trainer, options.steps, options.turns, folder)
        speed = next(row["value"] for row in rows if row["variant"] == "torch")
        rows += overheads(config, images, trainer, speed, options.repeats, folder)
    settings = {
        "network": config.model.name,
        "precision": precision,
        "batch": batch,
        "policy": policy or "none",
    }
    table = Table(
        title=f"{config.model.name}, {precision}, batch {batch}, "
        f"{policy or 'no RandAugment'}, {device_name(device)}, {available_cores()} cores, "
        f"{images.source}"
    )
    fill_table(table, rows)
    console.print(table)
    extra = {"source": images.source, "workers": available_cores(), "steps": options.steps}
    path = write_rows(
        f"train-{device.type}",
        [settings | row | extra for row in rows],
        options.out,
        device_name(device),
        (*settings, "what", "variant"),
    )
    console.print(f"wrote {path}")


if __name__ == "__main__":
    main()
