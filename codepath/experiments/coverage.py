"""Which of the experiments' rows are there, and how to get those that are not."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from codepath.experiments.registry import (
    ON_REQUEST,
    Experiment,
    all_experiments,
    measuring_again,
)
from codepath.experiments.scales import SHORT
from codepath.run.config import RunConfig
from codepath.store import RUNS, read_benchmark, read_rows

_NAMED_RUNS = 2
OTHER_CONFIGURATION = "made with another configuration"
SettingOf = Callable[[RunConfig], Any]


_State = tuple[tuple[int, int], ...]
"""Time of modification and size of some files, which tell whether these have changed."""


@functools.lru_cache(maxsize=64)
def _rows(directory: Path, kind: str, state: _State) -> pd.DataFrame:  # noqa: ARG001
    return read_rows(directory, kind)


@functools.lru_cache(maxsize=64)
def _rows_by_run(directory: Path, kind: str, state: _State) -> dict[tuple[str, ...], pd.DataFrame]:
    """(experiment, model, scale) -> the rows of all seeds; of each seed, only the latest run's."""
    rows = _rows(directory, kind, state)
    return {
        (str(experiment), str(model), str(scale)): _latest_run(mine)
        for (experiment, model, scale), mine in rows.groupby(
            ["experiment", "model", "scale"], sort=False
        )
    }


def _latest_run(rows: pd.DataFrame) -> pd.DataFrame:
    """For each seed, the rows of the run that was measured last."""
    if rows.groupby("seed")["run_id"].nunique().max() <= 1:
        return rows
    latest = rows.groupby("seed")["run_id"].last()  # rows are in the order of their creation
    return rows[rows["run_id"] == rows["seed"].map(latest)]


def _state(results: Path, kind: str) -> _State:
    found = []
    for path in (results / f"{RUNS}.csv", results / f"{kind}.csv"):
        state = path.stat() if path.exists() else None
        found.append((state.st_mtime_ns, state.st_size) if state else (0, 0))
    return tuple(found)


def rows_of_kind(results: Path, kind: str) -> pd.DataFrame:
    """`read_rows`, cached while the files are unchanged. Callers must not change the result."""
    return _rows(results, kind, _state(results, kind))


def rows_of_run(results: Path, kind: str, run: RunConfig) -> pd.DataFrame:
    """The rows of all seeds of a planned run; of each seed, only the latest run's.

    Rows are found by the run's name, so rows of another configuration count too (see
    `other_configuration`). Callers must not change the result.
    """
    by_run = _rows_by_run(results, kind, _state(results, kind))
    key = (run.experiment, run.model_role, run.scale)
    return by_run[key] if key in by_run else rows_of_kind(results, kind).iloc[:0]


@functools.cache
def _planned(experiment: Experiment, scale: str) -> tuple[RunConfig, ...]:
    return tuple(experiment.runs(scale, seed=0))


_run_ids: dict[tuple[str, int], str] = {}


def _run_id(run: RunConfig, seed: int) -> str:
    """The run id of a planned run with another seed."""
    key = (run.run_id, seed)
    if key not in _run_ids:
        _run_ids[key] = dataclasses.replace(run, seed=seed).run_id
    return _run_ids[key]


@functools.cache
def _planned_ids(seed: int) -> frozenset[str]:
    return frozenset(
        _run_id(run, seed)
        for experiment in all_experiments()
        for scale in experiment.scales
        for run in _planned(experiment, scale)
    )


def other_configuration(run_ids: Iterable[str]) -> list[str]:
    """The runs whose configuration no experiment plans now, even where their name is planned."""
    found = []
    for run_id in sorted(set(run_ids)):
        seed = re.search(r"-s(\d+)-[0-9a-f]+$", run_id)
        if seed is None or run_id not in _planned_ids(int(seed[1])):
            found.append(run_id)
    return found


def configuration_note(run_ids: Iterable[str]) -> str:
    """The note beside numbers of runs with another configuration; empty where there are none."""
    every = set(run_ids)
    other = other_configuration(every)
    if not other:
        return ""
    of = "" if len(other) == len(every) else f"{len(other)} of {len(every)} runs "
    return of + OTHER_CONFIGURATION


def beside(rows: pd.DataFrame) -> str:
    """`configuration_note` in brackets, for the end of a cell."""
    note = configuration_note(rows["run_id"])
    return f" ({note})" if note else ""


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
        kind: kind of the rows.
        picture: name of a figure or table.
        settings: columns to add, each from the configuration of the row's run.
        roles: values of the model column that are taken.
    """
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
                    found.append(rows_of_run(results, kind, run).assign(**columns))
    found = [frame for frame in found if len(frame)]
    if not found:
        return rows_of_kind(results, kind).iloc[:0].assign(**dict.fromkeys(settings or {}))
    return pd.concat(found, ignore_index=True)


def setting_of(rows: pd.DataFrame) -> pd.Series:
    """Data set and scale of each row, as one text."""
    return rows["dataset"].str.cat(rows["scale"], sep=", ")


class Gap(NamedTuple):
    """What is missing of an experiment at one scale."""

    experiment: Experiment
    scale: str
    what: str
    command: str
    begun: bool = False
    """Whether some rows of its runs are there."""
    only_outdated: bool = False
    """Whether all rows are there, though made with another configuration."""

    def line(self) -> str:
        """The item, what is missing and how to get it."""
        pictures = ", ".join(self.experiment.pictures)
        return f"{pictures} of {self.experiment.name}: {self.what}; to get it: {self.command}"


def benchmark_files(results: Path, name: str) -> list[Path]:
    """NAME.csv, and NAME-DEVICE.csv where the rows of several devices are kept apart."""
    folder = results / "benchmarks"
    return [p for p in sorted(folder.glob(f"{name}*.csv")) if p.stem.split("-")[0] == name]


def benchmark_rows(results: Path, name: str) -> pd.DataFrame:
    """Rows of a benchmark on all devices; empty, and without columns, where there are none."""
    files = benchmark_files(results, name)
    return pd.concat([read_benchmark(path) for path in files]) if files else pd.DataFrame()


def kinds_of(experiment: Experiment, run: RunConfig) -> tuple[str, ...]:
    """The kinds of rows that an experiment needs of one of its runs."""
    coded = run.model_role == "coded"
    return tuple(kind for kind in experiment.kinds if kind == "accuracy" or coded)


def complete_seeds(experiment: Experiment, run: RunConfig, results: Path) -> set[int]:
    """The seeds for which a run has every kind of rows, made with its present configuration."""
    seeds = []
    for kind in kinds_of(experiment, run):
        rows = rows_of_run(results, kind, run)
        there = rows.drop_duplicates(["seed", "run_id"])
        seeds.append(
            {
                int(seed)
                for seed, run_id in zip(there["seed"], there["run_id"], strict=True)
                if _run_id(run, int(seed)) == run_id
            }
        )
    return set.intersection(*seeds) if seeds else set()


def gap_at(experiment: Experiment, scale: str, results: Path) -> Gap | None:
    """What is missing of an experiment at a scale; None where all is there.

    Rows of another configuration than the planned one count as missing.
    """
    command = experiment.command(scale, results)
    if experiment.benchmarks:
        files = [name for name in experiment.benchmarks if not benchmark_files(results, name)]
        what = f"no {' and no '.join(f'benchmarks/{name}.csv' for name in files)}"
        return Gap(experiment, scale, what, command) if files else None
    absent: list[str] = []
    partial: dict[str, list[RunConfig]] = {}
    other: list[str] = []
    for run in _planned(experiment, scale):
        name = f"{run.experiment} {run.model_role}"
        rows = {kind: rows_of_run(results, kind, run) for kind in kinds_of(experiment, run)}
        lacking = [kind for kind, found in rows.items() if found.empty]
        if lacking and rows_of_run(results, "accuracy", run).empty:
            absent.append(name)
        elif lacking:
            partial.setdefault(f"no {' and no '.join(lacking)} rows", []).append(run)
        elif not complete_seeds(experiment, run, results):
            other.append(name)
    parts = [f"no rows at {scale} scale of {_named(absent)}"] if absent else []
    for what, runs in partial.items():
        names = [f"{run.experiment} {run.model_role}" for run in runs]
        parts.append(f"{what} at {scale} scale of {_named(names)}")
    if other:
        parts.append(f"rows at {scale} scale of {_named(other)} are {OTHER_CONFIGURATION}")
    if not parts:
        return None
    again = [run for runs in partial.values() for run in runs]
    if again and not set(experiment.kinds) & set(ON_REQUEST):
        command += "; " + measuring_again(again, results)
    return Gap(
        experiment,
        scale,
        "; ".join(parts),
        command,
        begun=bool(partial or other),
        only_outdated=not (absent or partial),
    )


def missed_scales(experiment: Experiment, results: Path) -> tuple[str, ...]:
    """The scales at which absent rows count as missing.

    The short scale is one of them only once some of its runs have rows.
    """
    begun = SHORT in experiment.scales and any(
        len(rows_of_run(results, "accuracy", run)) for run in _planned(experiment, SHORT)
    )
    return tuple(scale for scale in experiment.scales if scale != SHORT or begun)


def _named(names: Sequence[str]) -> str:
    many = len(names) > _NAMED_RUNS
    return f"{len(names)} runs, {names[0]} among them" if many else ", ".join(names)


def gaps(results: Path, scale: str | None = None) -> list[Gap]:
    """A gap for every experiment that misses rows.

    Args:
        results: folder with the rows.
        scale: the scale to look at; experiments without it are left out. None: an experiment
            misses nothing if all its rows are there at any scale that is not smoke. Otherwise
            its gap is that of the first scale with some rows, or else of its first scale (the
            short scale takes part only where it has some rows). If nothing but demo-scale rows
            is there, only the demo scale takes part; else all scales but the demo scale do.
    """
    present = set(rows_of_kind(results, "accuracy")["scale"])
    only_demo = present == {"demo"}
    found = []
    for experiment in all_experiments():
        scales = [
            one
            for one in missed_scales(experiment, results)
            if one not in experiment.smoke and (one == "demo") == only_demo
        ]
        if scale is not None:
            scales = [scale] if scale in experiment.scales else []
        missing = [gap_at(experiment, one, results) for one in scales]
        if missing and None not in missing:
            there = [gap for gap in missing if gap is not None]
            found.append(next((gap for gap in there if gap.begun), there[0]))
    return found
