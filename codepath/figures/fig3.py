"""Fig 3: histogram of a binary classifier's logit for its class and for all others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from codepath.figures.style import BLUE, ORANGE, main_rows

NAME = "fig3"
TITLE = "What one binary classifier answers"
_GROUPS: dict[str, dict[str, Any]] = {
    "negative": {"facecolor": ORANGE, "hatch": "////", "edgecolor": "white", "alpha": 0.9},
    "positive": {"facecolor": BLUE, "edgecolor": "white", "alpha": 0.8},
}


def load(results: Path) -> pd.DataFrame:
    """First class and first seed of each setting (bins differ between runs), with thresholds."""
    binary = main_rows(results, "binary")
    rows = pd.concat(
        [main_rows(results, "histograms"), binary[binary["metric"] == "threshold"]],
        ignore_index=True,
    )
    setting = rows.groupby(["dataset", "scale"])
    rows = rows[rows["seed"] == setting["seed"].transform("min")]
    first = rows.groupby(["dataset", "scale"])["class"].transform("first")
    return rows[rows["class"] == first]


def draw(ax: Axes, rows: pd.DataFrame, dataset: str) -> None:  # noqa: ARG001
    """Share of each group's images per bin of the logit, in per cent."""
    name = rows["class"].iloc[0]
    for group, look in _GROUPS.items():
        mine = rows[rows["metric"] == group].sort_values("x")
        left = mine["x"].astype(float)
        width = left.diff().median()
        counts = mine["value"].astype(float)
        share = 100 * counts / counts.sum()
        label = f"class {name}" if group == "positive" else "all other classes"
        ax.bar(
            left,
            share,
            width=width,
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
    seed = rows["seed"].iloc[0]
    ax.set(xlabel=f"logit of the classifier of class {name} (seed {seed})")
    ax.set_ylabel("share of images (%)")
    ax.margins(y=0.45)
    ax.grid(axis="x", visible=False)
    ax.legend(loc="upper left")
