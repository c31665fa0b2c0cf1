"""Rows of the ablations, with a column for the setting that their runs differ in.

Tables and figures show the same rows. Nothing here draws.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from codepath.experiments.coverage import rows_of_picture
from codepath.paper.binary_rows import own_negatives
from codepath.run.config import RunConfig

EXPONENT_ITEM = "Text: exponent"
CONCAT_ITEM = "Text: concatenation"
VARIANTS_ITEM = "Text: ImageNet variants"


def several(rows: pd.DataFrame, setting: str) -> pd.DataFrame:
    """The rows of the data sets and scales that have at least two values of a setting."""
    if rows.empty:
        return rows
    values = rows.groupby(["dataset", "scale"])[setting].transform("nunique")
    return rows[values > 1]


def top1_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Top-1 on test images."""
    return rows[(rows["metric"] == "top1") & (rows["split"] == "test")]


def exponent_rows(results: Path) -> pd.DataFrame:
    """Top-1 on test images, with a column exponent."""
    settings = {"exponent": lambda run: run.train.exponent}
    return several(top1_of(rows_of_picture(results, "accuracy", "exponent", settings)), "exponent")


def concat_rows(results: Path) -> pd.DataFrame:
    """F1 and prevalence of all classes, with a column aggregate."""
    settings = {"aggregate": lambda run: run.model.aggregate}
    rows = own_negatives(rows_of_picture(results, "binary", "concat", settings))
    return several(rows[rows["metric"].isin(["f1", "prevalence"])], "aggregate")


def variants_rows(results: Path) -> pd.DataFrame:
    """Top-1 on test images, with the columns variant, mu, p_drop and published."""
    settings = {
        "variant": _variant,
        "mu": lambda run: run.train.mu,
        "p_drop": lambda run: run.model.p_drop,
        "published": _published,
    }
    return several(top1_of(rows_of_picture(results, "accuracy", "variants", settings)), "variant")


def _variant(run: RunConfig) -> str:
    """A variant's name: the settings that make it, without their section."""
    settings = run.experiment.split("+")[1:]
    return "\n".join(setting.partition(".")[2] for setting in settings) or (
        f"as in Table 2\n(mu={run.train.mu:g}, p_drop={run.model.p_drop:g})"
    )


def _published(run: RunConfig) -> bool:
    """Whether nothing but mu and p_drop was changed, so that the paper may have this number."""
    settings = run.experiment.split("+")[1:]
    return all(setting.startswith(("train.mu=", "model.p_drop=")) for setting in settings)
