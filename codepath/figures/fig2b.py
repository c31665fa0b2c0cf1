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
        ax.legend(loc="best")
    ax.set(xlabel="recall (%)", ylabel="precision (%)")
    ax.margins(0.15)
    for (least, most), limit in ((ax.get_xlim(), ax.set_xlim), (ax.get_ylim(), ax.set_ylim)):
        limit(min(least, 94), min(most, 100.8))
    if len(points) <= _MOST_LABELS:
        _label(ax, points)


def _label(ax: Axes, points: pd.DataFrame) -> None:
    """Class names left of their points; right where another point is in the way."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    names: dict[tuple[float, float], list[str]] = {}
    for name, recall, precision in points.round(1)[["recall", "precision"]].itertuples():
        names.setdefault((float(recall), float(precision)), []).append(str(name))
    for (recall, precision), group in names.items():
        text = ", ".join(group)
        reach = (0.03 + 0.015 * len(text)) * (right - left)
        crowded = any(
            0 < recall - x < reach or (x == recall and y < precision)
            for x, y in names
            if abs(y - precision) < 0.06 * (top - bottom)
        )
        ax.annotate(
            text,
            (recall, precision),
            xytext=(4 if crowded else -4, -4),
            textcoords="offset points",
            ha="left" if crowded else "right",
            va="center",
            fontsize=6.5,
        )
