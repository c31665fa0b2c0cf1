"""Fig 2b: precision and recall of every class's binary classifier."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from codepath.experiments.paper import reference
from codepath.figures.style import BLUE, PAPER_STYLE, main_rows, paper_label

NAME = "fig2b"
TITLE = "Binary classifiers, one per class"
_MOST_LABELS = 12


def load(results: Path) -> pd.DataFrame:
    """The rows this figure shows."""
    rows = main_rows(results, "binary")
    return rows[(rows["split"] == "test") & rows["metric"].isin(["precision", "recall"])]


def draw(ax: Axes, rows: pd.DataFrame, dataset: str) -> None:
    """A point per class: means over seeds, in per cent; classes on one spot share a label."""
    low, points, high = (
        100 * rows.groupby(["class", "metric"])["value"].agg(how).astype(float).unstack()
        for how in ("min", "mean", "max")
    )
    # Clipped: of equal seeds the mean may differ from the extremes in the last digit.
    below, above = (points - low).clip(lower=0), (high - points).clip(lower=0)
    several = rows["seed"].nunique() > 1
    ax.errorbar(
        points["recall"],
        points["precision"],
        xerr=[below["recall"], above["recall"]] if several else None,
        yerr=[below["precision"], above["precision"]] if several else None,
        fmt="o",
        color=BLUE,
        ecolor="0.65",
        elinewidth=0.7,
        markersize=5,
        label="classes",
    )
    if dataset == "cifar10":
        paper = reference("fig2b_binary_cifar10").query("negatives == 'in'")
        ax.plot(
            paper["recall"], paper["precision"], marker="o", label=paper_label(rows), **PAPER_STYLE
        )
        ax.legend(loc="lower left")
    if len(points) <= _MOST_LABELS:
        spots = points.round(1).groupby(["recall", "precision"])
        for (recall, precision), group in spots:
            ax.annotate(
                ", ".join(str(name) for name in group.index),
                (recall, precision),
                xytext=(-4, -4),
                textcoords="offset points",
                ha="right",
                va="top",
                fontsize=6.5,
            )
    ax.set(xlabel="recall (%)", ylabel="precision (%)")
    ax.margins(0.12)
    for (least, most), limit in ((ax.get_xlim(), ax.set_xlim), (ax.get_ylim(), ax.set_ylim)):
        limit(min(least, 94), min(most, 100.8))
