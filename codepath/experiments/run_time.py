"""How long an experiment's runs should take by measured speeds, and its facts in lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from codepath.core.durations import readable_duration
from codepath.experiments.coverage import benchmark_files, benchmark_rows
from codepath.experiments.registry import Experiment
from codepath.experiments.scales import GPU_SCALES
from codepath.run.config import PRECISIONS, RunConfig
from codepath.store import read_benchmark

TRAINING_IMAGES = {"cifar10": 50_000, "cifar100": 50_000, "imagenet": 1_281_167}
_NETWORKS = {
    "coded_resnext29_10x11d": "C10",
    "resnext29_10x11d": "C10",
    "coded_resnext29_20x6d": "C100",
    "resnext29_20x6d": "C100",
    "coded_resnext50_32x4d": "ImageNet",
    "resnext50_32x4d": "ImageNet",
    "coded_resnext20_10x6d": "cpu scale",
    "resnext20_10x6d": "cpu scale",
}
"""Model -> its name in the rows of benchmarks."""
ASSUMED_GPU_OPERATIONS = 2e13
"""Operations a second that a data-centre GPU is assumed to sustain in bfloat16 on these networks
(grouped convolutions are far from its peak). This is an assumption: nothing was measured."""
_OPERATIONS_PER_MAC = 6
"""A multiply-add is two operations, and a training step costs as much as three forward passes."""


def facts(experiment: Experiment) -> Iterator[str]:
    """Lines that say what the experiment measures, draws and compares."""
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


def cost_lines(experiment: Experiment, results: Path, scales: Sequence[str] = ()) -> Iterator[str]:
    """How long one seed trains at each scale, by measured speeds of these networks.

    Where the rows hold no GPU's speed, GPU hours are computed from counted multiply-adds, and the
    line says so.

    Args:
        experiment: with its runs.
        results: folder of the rows of speeds.
        scales: empty for all that are not smoke.
    """
    speeds = measured_speeds(results)
    for scale in scales or experiment.real_scales:
        runs = experiment.runs(scale, 0) if scale != "demo" else []
        if not runs:
            continue
        on_gpu = False
        for device, rows in speeds.groupby("device", sort=False):
            times = _times(runs, rows)
            if not times:
                continue
            on_gpu |= bool(rows["gpu"].any())
            in_each = ", ".join(
                f"{readable_duration(seconds)} in {precision}" for precision, seconds in times
            )
            yield (
                f"{scale} scale, {_runs(runs)} of a seed: {in_each} of training on {device} "
                f"(measured speeds: {_listed(rows['file'])})"
            )
        if scale in GPU_SCALES and not on_gpu:
            yield from _assumed(runs, results)


def training_seconds(run: RunConfig, results: Path, device: str) -> float | None:
    """How long a run trains on a device, by speeds measured there; None where there are none.

    The speeds are those in the lowest precision that its recipe allows, else in float32.
    """
    rows = measured_speeds(results)
    return seconds_by_speeds(run, rows[rows["device"] == device])


def seconds_by_speeds(
    run: RunConfig, speeds: pd.DataFrame, precision: str = "auto"
) -> float | None:
    """How long a run trains by rows of `measured_speeds` of one device; None where none are of it.

    With "auto" they are those in the lowest precision that its recipe allows, else in float32.
    """
    times = dict(_times([run], speeds))
    if precision != "auto":
        return times.get(precision)
    return times.get(run.train.precision, times.get("float32"))


def assumed_gpu_hours(runs: Sequence[RunConfig], results: Path) -> str:
    """GPU hours of runs in words, from counted multiply-adds; empty where nothing is counted.

    Runs on other images than those of the paper's data sets are not in it.
    """
    counts = benchmark_rows(results, "architectures")
    if counts.empty:
        return ""
    macs = counts.groupby("dataset")["macs"].sum()
    operations = sum(
        _OPERATIONS_PER_MAC * float(macs[run.data.source]) * _images(run)
        for run in runs
        if run.data.source in macs
    )
    return (
        f"about {operations / ASSUMED_GPU_OPERATIONS / 3600:,.1f} GPU hours, if a GPU sustains "
        f"{ASSUMED_GPU_OPERATIONS:.0e} operations/s"
    )


def _assumed(runs: Sequence[RunConfig], results: Path) -> Iterator[str]:
    """The line on GPU hours of runs of one scale, from counted multiply-adds."""
    hours = assumed_gpu_hours(runs, results)
    if hours:
        yield (
            f"{runs[0].scale} scale, {_runs(runs)} of a seed: {hours} (assumed: no row holds a "
            "GPU's speed; codepath bench step makes one)"
        )


def measured_speeds(results: Path) -> pd.DataFrame:
    """Measured training speeds.

    The columns are network, model (coded or baseline), way, precision, seconds (for an image),
    device, gpu (whether the device is one), created and file.
    """
    found = []
    for path in benchmark_files(results, "network"):
        rows = read_benchmark(path)
        rows = rows[(rows["what"] == "train") & rows["variant"].isin(["coded", "plain"])]
        role = rows["variant"].replace({"plain": "baseline"})
        found.append(rows.assign(model=role, way="", file=path.name))
    for path in benchmark_files(results, "step"):
        rows = read_benchmark(path)
        of_runs = ~rows["way"].str.contains("+", regex=False)  # the others are candidates
        found.append(rows[of_runs].assign(file=path.name))
    columns = [
        "network", "model", "way", "precision", "seconds", "device", "gpu", "created", "file",
    ]  # fmt: skip
    if not found:
        return pd.DataFrame(columns=columns)
    rows = pd.concat(found)
    on_gpu = ~rows["file"].str.endswith("-cpu.csv")
    return rows.assign(seconds=rows["value"] / rows["batch"], gpu=on_gpu)[columns]


def _runs(runs: Sequence[RunConfig]) -> str:
    return f"{len(runs)} run{'s' if len(runs) > 1 else ''}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _images(run: RunConfig) -> int:
    return run.train.epochs * TRAINING_IMAGES[run.data.source]


def _times(runs: Sequence[RunConfig], rows: pd.DataFrame) -> list[tuple[str, float]]:
    """(precision, seconds that all runs train) on one device.

    A precision is listed where all recipes allow it and all networks were measured in it.
    """
    found = []
    for precision in PRECISIONS:
        allowed = all(precision in ("float32", run.train.precision) for run in runs)
        each = [_seconds(run, rows[rows["precision"] == precision]) for run in runs]
        measured = [seconds for seconds in each if seconds is not None]
        if allowed and len(measured) == len(runs):
            found.append((precision, sum(measured)))
    return found


def _seconds(run: RunConfig, rows: pd.DataFrame) -> float | None:
    """Seconds of training on one device in one precision; None where the network has no speed.

    The fastest way counts, by the latest speed of each.
    """
    rows = rows[
        (rows["network"] == _NETWORKS.get(run.model.name)) & (rows["model"] == run.model_role)
    ]
    if rows.empty or run.data.source not in TRAINING_IMAGES:
        return None
    latest = rows.sort_values("created", kind="stable").drop_duplicates(
        ["file", "way"], keep="last"
    )
    return float(_images(run) * latest["seconds"].min())
