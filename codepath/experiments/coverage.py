"""Which of the experiments' rows are there, and how to get those that are not."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from codepath.config import RunConfig
from codepath.experiments.registry import Experiment, all_experiments
from codepath.store import read_rows

_NAMED_RUNS = 2
SettingOf = Callable[[RunConfig], Any]


@functools.lru_cache(maxsize=64)
def _cached(directory: Path, kind: str, stamp: tuple[int, int]) -> pd.DataFrame:  # noqa: ARG001
    return read_rows(directory, kind)


def rows_of_kind(results: Path, kind: str) -> pd.DataFrame:
    """`read_rows`, read once as long as the file stays as it is. Not to be written to."""
    path = results / f"{kind}.csv"
    state = path.stat() if path.exists() else None
    return _cached(results, kind, (state.st_mtime_ns, state.st_size) if state else (0, 0))


@functools.cache
def _planned(experiment: Experiment, scale: str) -> tuple[RunConfig, ...]:
    return tuple(experiment.runs(scale, seed=0))


def rows_of_run(rows: pd.DataFrame, run: RunConfig) -> pd.DataFrame:
    """The rows of all seeds of a planned run."""
    return rows[
        (rows["experiment"] == run.experiment)
        & (rows["model"] == run.model_role)
        & (rows["scale"] == run.scale)
    ]


def rows_of_picture(
    results: Path,
    kind: str,
    picture: str,
    settings: Mapping[str, SettingOf] | None = None,
    roles: Sequence[str] = ("coded",),
) -> pd.DataFrame:
    """Rows of one kind of every run of the experiments that list `picture` among theirs.

    Args:
        results: folder with the rows.
        kind: of measurement.
        picture: name of a figure or table.
        settings: columns to add, each from the configuration of the row's run.
        roles: values of the model column.
    """
    rows = rows_of_kind(results, kind)
    found, seen = [], set()
    for experiment in all_experiments():
        if picture not in experiment.pictures:
            continue
        for scale in experiment.scales:
            for run in _planned(experiment, scale):
                key = (run.experiment, run.model_role, run.scale)
                if run.model_role in roles and key not in seen:
                    seen.add(key)
                    columns = {name: of(run) for name, of in (settings or {}).items()}
                    found.append(rows_of_run(rows, run).assign(**columns))
    found = [frame for frame in found if len(frame)]
    if not found:
        return rows.iloc[:0].assign(**dict.fromkeys(settings or {}))
    return pd.concat(found, ignore_index=True)


class Gap(NamedTuple):
    """What is missing of an experiment at one scale."""

    experiment: Experiment
    scale: str
    what: str
    command: str

    def line(self) -> str:
        """The item, what is missing and how to get it."""
        pictures = ", ".join(self.experiment.pictures)
        return f"{pictures} of {self.experiment.name}: {self.what}; to get it: {self.command}"


def benchmark_files(results: Path, name: str) -> list[Path]:
    """NAME.csv or, where rows of several devices are kept apart, NAME-DEVICE.csv."""
    folder = results / "benchmarks"
    return [p for p in sorted(folder.glob(f"{name}*.csv")) if p.stem.split("-")[0] == name]


def gap_at(experiment: Experiment, scale: str, results: Path) -> Gap | None:
    """What is missing of an experiment at a scale; None where all is there."""
    if experiment.benchmarks:
        absent = [name for name in experiment.benchmarks if not benchmark_files(results, name)]
        what = f"no {' and no '.join(f'benchmarks/{name}.csv' for name in absent)}"
    else:
        absent = [
            f"{run.experiment} {run.model_role}"
            for run in _planned(experiment, scale)
            if any(
                rows_of_run(rows_of_kind(results, kind), run).empty
                for kind in experiment.kinds
                if kind == "accuracy" or run.model_role == "coded"
            )
        ]
        many = len(absent) > _NAMED_RUNS
        of = f"{len(absent)} runs, {absent[0]} among them" if many else ", ".join(absent)
        what = f"no rows at {scale} scale of {of}"
    return Gap(experiment, scale, what, experiment.command(scale)) if absent else None


def gaps(results: Path, scale: str | None = None) -> list[Gap]:
    """A gap for every experiment that misses rows.

    Args:
        results: folder with the rows.
        scale: the scale that is asked for; experiments without it are left out. None: any scale
            will do, smoke apart. Then experiments of the demo count only where nothing but
            demo-scale rows is there, and the others only where that is not so.
    """
    present = set(rows_of_kind(results, "accuracy")["scale"])
    only_demo = present == {"demo"}
    found = []
    for experiment in all_experiments():
        scales = [s for s in experiment.real_scales if (s == "demo") == only_demo]
        if scale is not None:
            scales = [scale] if scale in experiment.scales else []
        missing = [gap_at(experiment, one, results) for one in scales]
        if missing and None not in missing:
            found.append(next(gap for gap in missing if gap is not None))
    return found
