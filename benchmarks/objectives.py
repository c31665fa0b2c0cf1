"""A search among training objectives that never looks at a test image.

Each candidate is CIFAR-10's coded run with some settings changed, trained for a few epochs on the
training images without HELD_OUT of them, and judged on those: top-1, early decoders, binary
classifiers (thresholds of best F1 on as many training images) and early exits (margin,
cross-fitted). Rows go to results/benchmarks/objectives.csv. Run directories stay in RUNS, so that
the search goes on where it stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks._rows import FOLDER, write_rows
from codepath.core.errors import UserError
from codepath.data import ArrayDataSet, ArraySplit
from codepath.evaluate import spread
from codepath.experiments.registry import find_experiment, override
from codepath.pipeline.measure import evaluate_run, load_images
from codepath.run.config import RunConfig
from codepath.store import read_rows
from codepath.train import choose_device, fit

HELD_OUT = 5_000
CANDIDATES = (
    "",
    "plain",
    "model.p_drop=0",
    "model.p_drop=0 train.objective=extraction",
    "model.p_drop=0 train.objective=extraction train.asked=0.125",
    "model.p_drop=0 train.objective=extraction_and_cross_entropy",
    "train.objective=energy_cross_entropy",
    "train.objective=energy_power_and_cross_entropy",
    "train.objective=energy_distillation",
)
"""Settings, joined by blanks; "" is the paper's objective, "plain" the plain network."""
BUDGETS = (0.5, 0.6, 0.7, 0.8)
KINDS = ("accuracy", "decoders", "binary", "exits")


def held_out(images: ArrayDataSet) -> tuple[ArrayDataSet, ArrayDataSet]:
    """The training images in two parts: (to train on, held out as test images); and, to measure
    with, the held-out images beside as many of those to train on.
    """
    order = np.random.default_rng(0).permutation(len(images.train))
    rest, judged = np.sort(order[HELD_OUT:]), np.sort(order[:HELD_OUT])
    train, test = (
        ArraySplit(images.train.images[some], images.train.labels[some]) for some in (rest, judged)
    )
    source = f"{images.source}; {HELD_OUT:,} training images held out"
    training = dataclasses.replace(images, train=train, test=test, source=source)
    return training, dataclasses.replace(training, train=spread(train, HELD_OUT))


def candidate(settings: str, epochs: int, seed: int) -> RunConfig:
    """A candidate's run at cpu scale."""
    coded, plain = find_experiment("table2-cifar10").runs("cpu", seed)
    short = f"train.epochs={epochs}"
    if settings == "plain":
        return override(plain, [short])
    return override(coded, [short, *settings.split()])


def numbers(run_dir: Path) -> list[dict[str, Any]]:
    """What a measured run came to: metric, block or budget, value."""
    found = {kind: read_rows(run_dir / "rows", kind) for kind in KINDS}
    rows = []

    def add(metric: str, place: float, value: float, n: int) -> None:
        rows.append({"metric": metric, "place": place, "value": round(value, 6), "n": int(n)})

    top1 = found["accuracy"].query("metric == 'top1' and split == 'test'").iloc[0]
    add("top1", 0, top1["value"], top1["n"])
    if len(found["decoders"]):
        for _, row in found["decoders"].query("decoder == 'eq7' and metric == 'top1'").iterrows():
            add("decoder", row["block"], row["value"], row["n"])
        f1 = found["binary"].query("metric == 'f1' and split == 'test' and objective == 'f1'")
        f1 = f1[f1["class"] != "all"]
        add("mean f1", 0, f1["value"].mean(), f1["n"].iloc[0])
        exits = found["exits"].query(
            "metric == 'top1' and target == 'budget' and decoder == 'eq7' and criterion == 'margin'"
        )
        for budget in BUDGETS:
            row = exits[np.isclose(exits["limit"].astype(float), budget)].iloc[0]
            add("exits", budget, row["value"], row["n"])
    return rows


def main() -> None:
    """Train and measure the candidates, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", nargs="+", default=CANDIDATES, metavar="SETTINGS")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, help="where the images are")
    parser.add_argument("--runs", type=Path, default=Path("runs") / "objectives")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the CSV file")
    options = parser.parse_args()
    console, device = Console(), choose_device()
    images = load_images(candidate("", options.epochs, options.seed), options.data)
    if not isinstance(images, ArrayDataSet):
        raise UserError("the search holds out images in memory: give a folder or an archive")
    training, judging = held_out(images)
    for settings in options.candidates:
        run = candidate(settings, options.epochs, options.seed)
        run_dir = options.runs / run.experiment / run.name
        fit(run, training, run_dir, device, console)
        evaluate_run(run_dir, judging, device, kinds=KINDS)
        same = {
            "settings": settings or "paper",
            "source": training.source,
            "precision": read_rows(run_dir / "rows", "accuracy")["precision"].iloc[0],
            "epochs": options.epochs,
            "seed": options.seed,
        }
        rows = [same | row for row in numbers(run_dir)]
        told = ", ".join(f"{r['metric']} {r['place']:g}: {r['value']:.4f}" for r in rows)
        console.print(f"{same['settings']}: {told}", soft_wrap=True)
        write_rows(
            "objectives",
            rows,
            options.out,
            settings=("settings", "epochs", "seed", "metric", "place"),
        )


if __name__ == "__main__":
    main()
