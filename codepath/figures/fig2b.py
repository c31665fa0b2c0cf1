"""Fig 2b: precision and recall of every class's binary classifier."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from codepath.experiments.paper import reference
from codepath.figures.style import BLUE, PAPER_STYLE, main_rows

NAME = "fig2b"
TITLE = "Binary classifiers, one per class"
_MOST_LABELS = 12


def load(results: Path) -> pd.DataFrame:
    """The rows this figure shows."""
    rows = main_rows(results, "binary")
    return rows[(rows["split"] == "test") & rows["metric"].isin(["precision", "recall"])]


def draw(ax: Axes, rows: pd.DataFrame, dataset: str) -> None:
    """A point per class: means over seeds, in per cent; classes on one spot share a label."""
    points = 100 * rows.pivot_table(index="class", columns="metric", values="value").astype(float)
    ax.plot(points["recall"], points["precision"], "o", color=BLUE, markersize=5, label="classes")
    if dataset == "cifar10":
        paper = reference("fig2b_binary_cifar10").query("negatives == 'in'")
        ax.plot(paper["recall"], paper["precision"], marker="o", label="paper", **PAPER_STYLE)
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
    for low, high, limit in ((*ax.get_xlim(), ax.set_xlim), (*ax.get_ylim(), ax.set_ylim)):
        limit(min(low, 94), max(high, 100.8))
