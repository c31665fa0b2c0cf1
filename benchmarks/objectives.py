"""A search among training objectives that never looks at a test image.

Each candidate is CIFAR-10's coded run with some settings changed, trained for a few epochs on the
training images without HELD_OUT of them, and judged on those: top-1, early decoders, binary
classifiers (thresholds of best F1 on as many training images) and early exits (margin,
cross-fitted). Rows go to results/benchmarks/objectives.csv. Run directories stay in RUNS, so that
the search goes on where it stopped. With --turns nothing is trained: the candidates' training steps
are timed in turns, each as a multiple of the first one's.
"""

from __future__ import annotations

import argparse
import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from benchmarks._rows import FOLDER, write_rows
from benchmarks._timing import interleaved, precision_here, speed_ratio
from codepath.core.errors import UserError
from codepath.data import ArrayDataSet, ArraySplit, Batch, Normalize
from codepath.evaluate import spread
from codepath.experiments.registry import find_experiment, override
from codepath.paper.binary_rows import own_negatives
from codepath.pipeline.measure import evaluate_run, load_images
from codepath.run.config import RunConfig
from codepath.store import read_rows
from codepath.train import World, choose_device, fit
from codepath.train.distributed import Placement
from codepath.train.environment import device_name
from codepath.train.loop import Trainer

HELD_OUT = 5_000
CANDIDATES = (
    "",
    "plain",
    "model.p_drop=0",
    "model.p_drop=0 train.objective=extraction",
    "model.p_drop=0 train.objective=extraction train.asked=0.25",
    "model.p_drop=0 train.objective=extraction_and_cross_entropy",
    "model.p_drop=0 train.objective=extraction_and_cross_entropy train.score_scale=4",
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


def setting_of(run: RunConfig) -> dict[str, Any]:
    """Network, objective and its settings, 0 where it has no such term."""
    recipe, terms, coded = run.train, run.train.terms, run.model_role == "coded"
    scored = terms.scores or terms.distilled
    return {
        "model": run.model_role,
        "objective": recipe.objective if coded else "cross_entropy",
        "epochs": recipe.epochs,
        "seed": run.seed,
        "p_drop": run.model.p_drop,
        "mu": recipe.mu if terms.power and coded else 0.0,
        "score_weight": recipe.score_weight if scored else 0.0,
        "score_scale": recipe.score_scale if scored else 0.0,
        "asked": recipe.asked if terms.asks else 0.0,
        "question_weight": recipe.question_weight if terms.asks else 0.0,
        "own_share": recipe.own_share if terms.asks else 0.0,
    }


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
        f1 = own_negatives(found["binary"]).query("metric == 'f1'")
        add("mean f1", 0, f1["value"].mean(), f1["n"].iloc[0])
        exits = found["exits"].query(
            "metric == 'top1' and target == 'budget' and decoder == 'eq7' and criterion == 'margin'"
        )
        for budget in BUDGETS:
            row = exits[np.isclose(exits["limit"].astype(float), budget)].iloc[0]
            add("exits", budget, row["value"], row["n"])
    return rows


def write(
    same: dict[str, Any], rows: list[dict[str, Any]], out: Path, device: torch.device
) -> None:
    """Put a candidate's rows into objectives.csv."""
    every = [same | row for row in rows]
    write_rows("objectives", every, out, device_name(device), (*same, "metric", "place"))


def step_ratios(runs: list[RunConfig], turns: int, device: torch.device) -> list[float]:
    """Each run's time for a training step by the first one's, medians over turns in one process."""
    steps = {}
    for number, run in enumerate(runs):
        precision = precision_here(run, device)
        size = run.train.batch_size
        trainer = Trainer(
            run, World(Placement(), device), turns + 1, size, precision=precision, recorded=False
        )
        indices = torch.arange(size)
        images = torch.randint(256, (size, 3, 32, 32), dtype=torch.uint8)
        images = images.to(memory_format=torch.channels_last)
        batch = Batch(images, indices % run.model.num_classes, indices)
        normalize = Normalize((0.5,) * 3, (0.25,) * 3).to(device)
        steps[str(number)] = partial(trainer.train_step, batch, 0, normalize)
    seconds = interleaved(steps, turns, device)
    return [round(speed_ratio(times, seconds["0"]), 4) for times in seconds.values()]


def main() -> None:
    """Train and measure the candidates, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", nargs="+", default=CANDIDATES, metavar="SETTINGS")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--turns", type=int, help="time the steps alone, in so many turns")
    parser.add_argument("--data", type=Path, help="where the images are")
    parser.add_argument("--runs", type=Path, default=Path("runs") / "objectives")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the CSV file")
    options = parser.parse_args()
    console, device = Console(), choose_device()
    if options.turns:
        timed = [candidate(one, options.epochs, options.seed) for one in options.candidates]
        ratios = step_ratios(timed, options.turns, device)
        for settings, run, ratio in zip(options.candidates, timed, ratios, strict=True):
            console.print(f"{settings or 'paper'}: step {ratio:.3f}", soft_wrap=True)
            row = {"metric": "step ratio", "place": 0, "value": ratio, "n": options.turns}
            same = setting_of(run) | {"source": "made up", "precision": precision_here(run, device)}
            write(same, [row], options.out, device)
        return
    images = load_images(candidate("", options.epochs, options.seed), options.data)
    if not isinstance(images, ArrayDataSet):
        raise UserError("the search holds out images in memory: give a folder or an archive")
    training, judging = held_out(images)
    for settings in options.candidates:
        run = candidate(settings, options.epochs, options.seed)
        run_dir = options.runs / run.experiment / run.name
        fit(run, training, run_dir, device, console)
        evaluate_run(run_dir, judging, device, kinds=KINDS)
        same = setting_of(run) | {
            "source": training.source,
            "precision": read_rows(run_dir / "rows", "accuracy")["precision"].iloc[0],
        }
        rows = numbers(run_dir)
        told = ", ".join(f"{r['metric']} {r['place']:g}: {r['value']:.4f}" for r in rows)
        console.print(f"{settings or 'paper'}: {told}", soft_wrap=True)
        write(same, rows, options.out, device)


if __name__ == "__main__":
    main()
