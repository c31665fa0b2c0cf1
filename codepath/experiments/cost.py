"""What an experiment's runs should take, from measured speeds; and its facts in lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from codepath.config import RunConfig
from codepath.experiments.coverage import benchmark_files
from codepath.experiments.registry import Experiment

TRAINING_IMAGES = {"cifar10": 50_000, "cifar100": 50_000, "imagenet": 1_281_167}
_NETWORKS = {"cifar10": "C10", "cifar100": "C100", "imagenet": "ImageNet"}
ASSUMED_GPU_OPERATIONS = 2e13
"""Operations a second that a data-centre GPU is assumed to sustain in bfloat16 on these networks
(grouped convolutions are far from its peak). An assumption, nothing measured."""
_OPERATIONS_PER_MAC = 6
"""A multiply-add is two operations, and a training step takes three forward passes' worth."""


def facts(experiment: Experiment) -> Iterator[str]:
    """What is measured, drawn and compared."""
    for name, values in (
        ("evaluation", experiment.kinds),
        ("benchmarks", experiment.benchmarks),
        ("pictures", experiment.pictures),
        ("reference", [f"paper/reference/{name}.csv" for name in experiment.references]),
    ):
        if values:
            yield f"{name}: {', '.join(values)}"
    if experiment.tolerance is not None:
        yield f"tolerance: {experiment.tolerance:g} points"


def cost_lines(experiment: Experiment, results: Path) -> Iterator[str]:
    """Hours of one seed at paper scale by measured training speeds of these networks.

    Where no GPU's speed is among the rows, GPU hours are arithmetic on counted multiply-adds, and
    say so.
    """
    runs = experiment.runs("paper", 0) if "paper" in experiment.scales else []
    if not runs:
        return
    on_gpu = False
    for path in benchmark_files(results, "network"):
        rows = pd.read_csv(path)
        for device in rows["device"].unique():
            seconds = [_seconds(run, rows[rows["device"] == device]) for run in runs]
            if all(seconds):
                gpu = not path.stem.endswith("-cpu")
                on_gpu |= gpu
                hours = f"{sum(seconds) / 3600:,.1f} {'GPU ' if gpu else ''}hours"
                yield (
                    f"cost at paper scale: {hours} a seed for {_runs(runs)}, by the training speed "
                    f"measured on {device} ({path.name}; loading and evaluation not counted)"
                )
    counts = benchmark_files(results, "architectures")
    if counts and not on_gpu:
        macs = pd.read_csv(counts[0]).groupby("dataset")["macs"].sum()
        operations = sum(
            _OPERATIONS_PER_MAC * float(macs[run.data.source]) * _images(run)
            for run in runs
            if run.data.source in macs
        )
        estimate = operations / ASSUMED_GPU_OPERATIONS / 3600
        yield (
            f"cost at paper scale: about {estimate:,.1f} GPU hours a seed for {_runs(runs)}, by "
            "arithmetic on counted multiply-adds at an assumed "
            f"{ASSUMED_GPU_OPERATIONS:.0e} operations/s; no GPU was measured"
        )


def _runs(runs: list[RunConfig]) -> str:
    return f"{len(runs)} run{'s' if len(runs) > 1 else ''}"


def _images(run: RunConfig) -> int:
    return run.train.epochs * TRAINING_IMAGES[run.data.source]


def _seconds(run: RunConfig, rows: pd.DataFrame) -> float:
    """Of training, by the latest speed in `rows`; 0 where this network was not measured."""
    rows = rows[
        (rows["network"] == _NETWORKS.get(run.data.source))
        & (rows["precision"] == run.train.precision)
        & (rows["what"] == "train")
        & (rows["variant"] == ("coded" if run.model_role == "coded" else "plain"))
    ]
    if rows.empty:
        return 0.0
    last = rows.sort_values("created", kind="stable").iloc[-1]
    return float(_images(run) * last["value"] / last["batch"])
