"""The rows that a claim about a shape is judged on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from codepath.experiments.coverage import rows_of_run
from codepath.paper.binary_rows import own_negatives
from codepath.paper.claims.judge import (
    common_seeds,
)
from codepath.run.config import RunConfig

Runs = Sequence[RunConfig]


def rows_on_test_images(
    results: Path, kind: str, run: RunConfig, metric: str, **where: float | str
) -> pd.DataFrame:
    """Rows of a run on test images whose columns `where` have such values."""
    rows = rows_of_run(results, kind, run)
    rows = rows[(rows["metric"] == metric) & (rows["split"] == "test")]
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return rows


def f1_rows(results: Path, run: RunConfig) -> pd.DataFrame:
    """F1 of every class, measured the paper's way."""
    return own_negatives(rows_on_test_images(results, "binary", run, "f1"))


def run_of_role(runs: Runs, role: str) -> RunConfig:
    """The run that is coded, or the baseline."""
    return next(run for run in runs if run.model_role == role)


def images_of(rows: pd.DataFrame) -> int:
    """How many images each row was measured on."""
    return int(rows["n"].iloc[0])


def rows_of_common_seeds(
    results: Path, kind: str, runs: Runs, metric: str, **where: float | str
) -> list[pd.DataFrame] | None:
    """Rows of every run, of the seeds that all of them have; None where there are none."""
    return with_common_seeds(
        *(rows_on_test_images(results, kind, run, metric, **where) for run in runs)
    )


def with_common_seeds(*frames: pd.DataFrame) -> list[pd.DataFrame] | None:
    """The rows of the seeds that all frames have; None where there are none."""
    common = common_seeds(*frames)
    return None if any(rows.empty for rows in common) else common
