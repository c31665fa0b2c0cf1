"""Precision and recall of every class's binary classifier, as Fig 2b, 2c and 8 show them."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from codepath.experiments.coverage import rows_of_picture
from codepath.paper.beside_ours import paper_label, published
from codepath.paper.binary_rows import foreign_negatives, own_negatives
from codepath.paper.hover import name_points
from codepath.paper.panel import Panel
from codepath.paper.style import PAPER_STYLE, SERIES, fix_layout, legend_below

TITLE = "Binary classifiers, one per class"
MOST_NAMES = 20
"""Up to so many classes, points have error bars and names; more classes are drawn as a cloud."""
IN, OUT = "in", "out"


def load(results: Path, picture: str, drawn: bool = False) -> pd.DataFrame:
    """Precision and recall of all classes, with a column `distribution` of the negatives.

    `in`: the negatives are of the data set itself. They are all of its negatives or, with `drawn`,
    nine for each positive where that was measured.
    `out`: the negatives are of another data set, where that was measured.
    Thresholds come from training images.
    """
    rows = rows_of_picture(results, "binary", picture)
    inside, outside = own_negatives(rows, drawn), foreign_negatives(rows)
    kept = [
        part[part["metric"] == metric].assign(distribution=distribution)
        for metric in ("precision", "recall")
        for part, distribution in ((inside, IN), (outside, OUT))
    ]
    return pd.concat([part for part in kept if len(part)] or kept[:1], ignore_index=True)


def draw(ax: Axes, rows: pd.DataFrame, dataset: str) -> None:
    """Draw a point for each class: means over seeds in per cent. `finish` writes the names."""
    paper = published("fig2b_binary_cifar10", rows, dataset)
    for negatives, look in zip((IN, OUT), SERIES, strict=False):
        mine = rows[rows["distribution"] == negatives]
        if len(mine):
            label = "classes" if negatives == IN else _other_data(mine)
            draw_points(ax, mine, label, look)
        theirs = paper[paper["negatives"] == negatives]
        if len(mine) and len(theirs):
            ax.plot(
                theirs["recall"],
                theirs["precision"],
                marker=look["marker"],
                label=paper_label(rows) + (", other negatives" if negatives == OUT else ""),
                **PAPER_STYLE,
            )
    ax.set(xlabel="recall (%)", ylabel="precision (%)")
    ax.margins(0.15)
    for (least, most), limit in ((ax.get_xlim(), ax.set_xlim), (ax.get_ylim(), ax.set_ylim)):
        limit(min(least, 94), min(most, 100.8))
    legend_below(ax)


def _other_data(rows: pd.DataFrame) -> str:
    """Label of the negatives out of distribution; it says where they are a substitute."""
    substitute = rows["negatives"].str.contains("substitute").any()
    return "substitute photographs" if substitute else "negatives of other data"


def draw_points(
    ax: Axes, rows: pd.DataFrame, label: str, look: dict[str, Any], size: float = 5
) -> None:
    """Draw one cloud of means in per cent, with the seeds' extremes as bars."""
    low, points, high = (
        100 * rows.groupby(["class", "metric"])["value"].agg(how).astype(float).unstack()
        for how in ("min", "mean", "max")
    )
    # Clipped, since the mean of equal seeds may differ from the extremes in the last digit.
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


_PLACES = [
    (distance * dx, distance * dy)
    for distance in (4, 9, 15)
    for dx, dy in ((-1, 0), (1, 0), (0, 1), (0, -1), (-0.7, 0.7), (0.7, 0.7), (-0.7, -0.7),
                   (0.7, -0.7))
]  # fmt: skip
"""Where a label may stand: offsets from its point in typographic points, best first."""


def finish(ax: Axes, rows: pd.DataFrame) -> None:
    """Write the names of the classes beside their points, once the axis has its place.

    A name takes the place around its point where it covers least of the points, error bars and
    names that are there already. Near places are preferred to far ones.
    """
    mine = rows[rows["distribution"] == IN]
    if mine["class"].nunique() > MOST_NAMES:
        return
    means = 100 * mine.groupby(["class", "metric"])["value"].mean().astype(float).unstack()
    names: dict[tuple[float, float], list[str]] = {}
    for name, recall, precision in means.round(1)[["recall", "precision"]].itertuples():
        names.setdefault((float(recall), float(precision)), []).append(str(name))
    figure = ax.get_figure(root=True)
    assert figure is not None
    fix_layout(figure)
    taken = _obstacles(ax)
    inside = ax.get_window_extent()
    for point, group in names.items():
        label = ax.annotate(
            ", ".join(group), point, xytext=_PLACES[0], textcoords="offset points", fontsize=6.5,
            parse_math=False,
        )  # fmt: skip
        label.set_in_layout(False)
        best: tuple[float, int] | None = None
        for number, place in enumerate(_PLACES):
            _put(label, place)
            box = label.get_window_extent()
            covered = sum(_overlap(box, other) for other in taken)
            outside = box.width * box.height - _overlap(box, inside)
            cost = covered + 10 * outside + math.hypot(*place) + 0.1 * number
            if best is None or cost < best[0]:
                best = (cost, number)
        assert best is not None
        _put(label, _PLACES[best[1]])
        taken.append(label.get_window_extent())


def _put(label: Annotation, place: tuple[float, float]) -> None:
    """Set a label beside its point, aligned to the side on which the offset lies."""
    x, y = place
    label.set_position(place)
    label.set_horizontalalignment("right" if x < 0 else "left" if x > 0 else "center")
    label.set_verticalalignment("top" if y < 0 else "bottom" if y > 0 else "center")


def _obstacles(ax: Axes) -> list[Bbox]:
    """Boxes of all markers and error bars, in pixels."""
    boxes = []
    dpi = ax.get_figure(root=True).dpi / 72  # type: ignore[union-attr]
    for line in ax.lines:
        half = line.get_markersize() * dpi / 2 + 1
        for x, y in ax.transData.transform(line.get_xydata()):
            boxes.append(Bbox([[x - half, y - half], [x + half, y + half]]))
    for container in ax.containers:
        if isinstance(container, ErrorbarContainer):
            for bars in container[2]:
                for segment in bars.get_segments():
                    (x0, y0), (x1, y1) = ax.transData.transform(segment)
                    boxes.append(Bbox([[x0 - 1, y0 - 1], [x1 + 1, y1 + 1]]))
    return boxes


def _overlap(a: Bbox, b: Bbox) -> float:
    """The area that two boxes share."""
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    return float(max(width, 0) * max(height, 0))


def panel(name: str, item: str, drawn: bool) -> Panel:
    """The panel of one data set's classifiers; for `drawn` see `load`."""
    return Panel(
        name=name,
        title=TITLE,
        item=item,
        load=partial(load, picture=name, drawn=drawn),
        draw=draw,
        finish=finish,
    )
