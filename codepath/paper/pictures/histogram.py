"""Histogram of a binary classifier's logit for its class and for all others (Fig 3 and 7)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from codepath.experiments.coverage import rows_of_picture
from codepath.paper.binary_rows import thresholds
from codepath.paper.style import BLUE, ORANGE

_GROUPS: dict[str, dict[str, Any]] = {
    "negative": {"facecolor": ORANGE, "hatch": "////", "edgecolor": "white", "alpha": 0.9},
    "positive": {"facecolor": BLUE, "edgecolor": "white", "alpha": 0.8},
}


def load(results: Path, picture: str, classes: int) -> pd.DataFrame:
    """Histograms of the first classes at the first seed of each setting, and their thresholds.

    One seed is taken since bins differ between runs.
    """
    rows = rows_of_picture(results, "histograms", picture)
    rows = rows[rows["split"] == "test"]
    if rows.empty:
        return rows
    setting = ["dataset", "scale"]
    rows = rows[rows["seed"] == rows.groupby(setting)["seed"].transform("min")]
    names = {
        key: set(group["class"].drop_duplicates().iloc[:classes])
        for key, group in rows.groupby(setting)
    }
    chosen = thresholds(rows_of_picture(results, "binary", picture))
    chosen = chosen[chosen["run_id"].isin(set(rows["run_id"]))]
    both = pd.concat([rows, chosen], ignore_index=True)
    return both[
        [
            name in names.get((dataset, scale), ())
            for dataset, scale, name in zip(
                both["dataset"], both["scale"], both["class"], strict=True
            )
        ]
    ]


def draw_class(ax: Axes, rows: pd.DataFrame, small: bool = False) -> None:
    """Share of each group's images per bin of the logit, in per cent, for the one class in `rows`.

    Args:
        ax: where to draw.
        rows: the rows of one class.
        small: draw no legend, for one panel of many.
    """
    name = rows["class"].iloc[0]
    for group, look in _GROUPS.items():
        mine = rows[rows["group"] == group].sort_values("left")
        left = mine["left"].astype(float)
        counts = mine["value"].astype(float)
        label = f"class {name}" if group == "positive" else "all other classes"
        ax.bar(
            left,
            100 * counts / counts.sum(),
            width=left.diff().median(),
            align="edge",
            label=f"{label} (n = {counts.sum():,.0f})",
            linewidth=0.3,
            **look,
        )
    for threshold in rows[rows["metric"] == "threshold"]["value"].astype(float):
        ax.axvline(
            threshold,
            color="black",
            linestyle=":",
            linewidth=1.2,
            label="threshold of best F1\n(training images)",
        )
    ax.grid(axis="x", visible=False)
    if not small:
        ax.margins(y=0.45)
        for text in ax.legend(loc="upper left").get_texts():
            text.set_parse_math(False)
