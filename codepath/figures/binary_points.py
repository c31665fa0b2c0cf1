"""Precision and recall of every class's binary classifier, as Fig 2b, 2c and 8 show them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from codepath.experiments.coverage import rows_of_picture
from codepath.experiments.paper import reference
from codepath.figures.hover import name_points
from codepath.figures.style import PAPER_STYLE, SERIES, legend_below, paper_label

TITLE = "Binary classifiers, one per class"
MOST_NAMES = 20
"""Points have error bars and names up to so many classes; more are a cloud."""
IN, OUT = "in", "out"


def load(results: Path, picture: str, drawn: bool = False) -> pd.DataFrame:
    """Precision and recall of all classes, with a column `negatives`.

    `in`: against negatives of the data set itself, all of them or, with `drawn`, nine for each
    positive where that was measured (metrics METRIC/f1/train/9to1). `out`: against another data
    set, where that was measured (METRIC/f1/train/ood:NAME). Thresholds come from training images.
    """
    rows = rows_of_picture(results, "binary", picture)
    rows = rows[(rows["split"] == "test") & rows["class"].notna()]
    kept = []
    for metric in ("precision", "recall"):
        inside = rows[rows["metric"] == metric]
        if drawn and (rows["metric"] == f"{metric}/f1/train/9to1").any():
            inside = rows[rows["metric"] == f"{metric}/f1/train/9to1"]
        outside = rows[rows["metric"].str.startswith(f"{metric}/f1/train/ood:")]
        kept += [
            part.assign(metric=metric, negatives=negatives)
            for part, negatives in ((inside, IN), (outside, OUT))
        ]
    return pd.concat([part for part in kept if len(part)] or kept[:1], ignore_index=True)


def draw(ax: Axes, rows: pd.DataFrame, dataset: str) -> None:
    """A point per class: means over seeds, in per cent; classes on one spot share a label."""
    paper = reference("fig2b_binary_cifar10") if dataset == "cifar10" else None
    for negatives, look in zip((IN, OUT), SERIES, strict=False):
        mine = rows[rows["negatives"] == negatives]
        if len(mine):
            label = "classes" if negatives == IN else "negatives of other data"
            points = draw_points(ax, mine, label, look)
            if negatives == IN:
                named = points
        if paper is not None and len(mine):
            published = paper[paper["negatives"] == negatives]
            ax.plot(
                published["recall"],
                published["precision"],
                marker=look["marker"],
                label=paper_label(rows) + (", other negatives" if negatives == OUT else ""),
                **PAPER_STYLE,
            )
    ax.set(xlabel="recall (%)", ylabel="precision (%)")
    ax.margins(0.15)
    for (least, most), limit in ((ax.get_xlim(), ax.set_xlim), (ax.get_ylim(), ax.set_ylim)):
        limit(min(least, 94), min(most, 100.8))
    legend_below(ax)
    if len(named) <= MOST_NAMES:
        _label(ax, named)


def draw_points(
    ax: Axes, rows: pd.DataFrame, label: str, look: dict[str, Any], size: float = 5
) -> pd.DataFrame:
    """Draw one cloud, with the seeds' extremes as bars; the means in per cent.

    The result is (classes, [precision, recall]).
    """
    low, points, high = (
        100 * rows.groupby(["class", "metric"])["value"].agg(how).astype(float).unstack()
        for how in ("min", "mean", "max")
    )
    # Clipped: of equal seeds the mean may differ from the extremes in the last digit.
    below, above = (points - low).clip(lower=0), (high - points).clip(lower=0)
    bars = rows["seed"].nunique() > 1 and len(points) <= MOST_NAMES
    drawn = ax.errorbar(
        points["recall"],
        points["precision"],
        xerr=[below["recall"], above["recall"]] if bars else None,
        yerr=[below["precision"], above["precision"]] if bars else None,
        fmt=look["marker"],
        color=look["color"],
        ecolor="0.65",
        elinewidth=0.7,
        markersize=size if len(points) <= MOST_NAMES else 2.5,
        label=label,
    )
    name_points(drawn[0], [str(name) for name in points.index])
    return points


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
