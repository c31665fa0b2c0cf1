"""Which rows of binary classifiers are the paper's way: best F1 on training images, test images."""

from __future__ import annotations

import pandas as pd

from codepath.store import ALL, DRAWN


def _papers_way(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of single classes."""
    return rows[
        (rows["objective"] == "f1")
        & (rows["fitted"] == "train")
        & (rows["split"] == "test")
        & rows["class"].notna()
    ]


def own_negatives(rows: pd.DataFrame, drawn: bool = False) -> pd.DataFrame:
    """Against negatives of the data set itself.

    All of them; nine drawn for each positive where all were not judged (above ten classes) or,
    with `drawn`, where nine were.
    """
    rows = _papers_way(rows)
    first, second = (rows[rows["negatives"] == way] for way in (ALL, DRAWN))
    if drawn:
        first, second = second, first
    return pd.concat([first, second[~second["run_id"].isin(set(first["run_id"]))]])


def foreign_negatives(rows: pd.DataFrame) -> pd.DataFrame:
    """Against images of another data set."""
    rows = _papers_way(rows)
    return rows[~rows["negatives"].isin([ALL, DRAWN])]


def thresholds(rows: pd.DataFrame) -> pd.DataFrame:
    """The thresholds of best F1 on training images."""
    return rows[(rows["metric"] == "threshold") & (rows["split"] == "train")]
