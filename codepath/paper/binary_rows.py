"""The rows of binary classifiers that are measured as in the paper.

The threshold is that of best F1 on training images, and the numbers are of test images.
"""

from __future__ import annotations

import pandas as pd

from codepath.store import ALL, DRAWN


def _papers_way(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of single classes that are measured as in the paper."""
    return rows[
        (rows["objective"] == "f1")
        & (rows["fitted"] == "train")
        & (rows["split"] == "test")
        & rows["class"].notna()
    ]


def own_negatives(rows: pd.DataFrame, drawn: bool = False) -> pd.DataFrame:
    """Rows of single classes, judged against negatives of the data set itself.

    The negatives are all of them or, where all were not judged (above ten classes), nine drawn for
    each positive. With `drawn` they are the nine, and all of them where nine were not drawn.
    """
    rows = _papers_way(rows)
    first, second = (rows[rows["negatives"] == way] for way in (ALL, DRAWN))
    if drawn:
        first, second = second, first
    return pd.concat([first, second[~second["run_id"].isin(set(first["run_id"]))]])


def foreign_negatives(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of single classes, judged against images of another data set."""
    rows = _papers_way(rows)
    return rows[~rows["negatives"].isin([ALL, DRAWN])]


def thresholds(rows: pd.DataFrame) -> pd.DataFrame:
    """The thresholds of best F1 on training images."""
    return rows[(rows["metric"] == "threshold") & (rows["split"] == "train")]
