"""The tables of results/benchmarks/, checked against the schema."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from codepath.core.errors import UserError, reason
from codepath.core.files import atomic_path
from codepath.store.schema import benchmark_columns
from codepath.store.tables import writing_in


def read_benchmark(path: Path) -> pd.DataFrame:
    """The rows of benchmarks/NAME.csv or NAME-DEVICE.csv.

    Raises UserError where the file cannot be read or is not of NAME's form (see `check_benchmark`).
    """
    text, _ = benchmark_columns(_name(path))
    try:
        frame = pd.read_csv(path, dtype=dict.fromkeys(set(text) - {"dirty"}, str))
    except (ValueError, TypeError, OverflowError, OSError) as error:
        raise UserError(f"cannot read {path}: {reason(error)}") from None
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes the first cells for names of rows
        raise UserError(
            f"{path}, line 2 has more cells than the header; remove it and repeat codepath bench"
        )
    check_benchmark(frame, path)
    return frame


def check_benchmark(frame: pd.DataFrame, path: Path) -> None:
    """UserError where a frame lacks the form of the benchmark that `path` is named after.

    It has exactly the benchmark's columns, with numbers in the columns of numbers.
    """
    text, numbers = benchmark_columns(_name(path))
    odd = sorted(set(map(str, frame)) ^ {*text, *numbers})
    if odd:
        state = "has a column that is not its own" if odd[0] in frame else "lacks a column"
        raise UserError(f"{path} {state}: '{odd[0]}'; remove it and repeat codepath bench")
    for column in numbers:
        try:
            if frame[column].map(pd.api.types.is_bool).any():  # "True", which pandas takes for 1
                raise ValueError
            pd.to_numeric(frame[column])
        except (ValueError, TypeError, OverflowError):
            raise UserError(
                f"{path}: column '{column}' holds something that is not a number"
            ) from None


def put_benchmark(path: Path, rows: pd.DataFrame, settings: Sequence[str]) -> None:
    """Write rows to benchmarks/NAME.csv or NAME-DEVICE.csv.

    A row that is there already stays unless a new row equals it in the columns `settings` and in
    the device. Without `settings` the whole file is replaced.
    """
    check_benchmark(rows, path)
    with writing_in(path.parent):
        if settings and path.exists():
            old = read_benchmark(path)
            key = [*settings, "device"]
            replaced = old[key].apply(tuple, axis=1).isin(set(rows[key].apply(tuple, axis=1)))
            rows = pd.concat([old[~replaced], rows], ignore_index=True)
        with atomic_path(path) as temporary:
            rows.to_csv(temporary, index=False, lineterminator="\n")


def _name(path: Path) -> str:
    return path.stem.split("-")[0]
