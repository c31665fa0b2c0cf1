"""Variants of a network (ratios, schemes, mu with p_drop): top-1 side by side."""

from __future__ import annotations

import textwrap

import pandas as pd
from matplotlib.axes import Axes

from codepath.paper.beside_ours import paper_label, published
from codepath.paper.panel import Panel
from codepath.paper.setting_rows import VARIANTS_ITEM, variants_rows
from codepath.paper.style import BLUE, PAPER_STYLE, legend_below, share

NAME = "variants"
TITLE = "Variants"
ITEM = VARIANTS_ITEM
load = variants_rows
MOST_LETTERS = 20
"""Letters in a line of a variant's name beside the axis."""


def _wrapped(variant: str) -> str:
    """A variant's name in lines that leave room for the points."""
    lines = [
        line
        for part in variant.replace(",", ", ").split("\n")
        for line in textwrap.wrap(part, MOST_LETTERS)
    ]
    return "\n".join(line.replace(",  ", ", ") for line in lines)


def draw(ax: Axes, rows: pd.DataFrame, dataset: str) -> None:
    """A line for each variant: mean and range over seeds in per cent, beside the paper's."""
    groups = share(rows, ["variant"])
    places = range(len(groups))
    spread = [
        (groups["mean"] - groups["min"]).clip(lower=0),
        (groups["max"] - groups["mean"]).clip(lower=0),
    ]
    bars = spread if rows["seed"].nunique() > 1 else None
    ax.errorbar(groups["mean"], places, xerr=bars, fmt="o", color=BLUE, label="ours", markersize=4)
    paper = published("table2_accuracy", rows, dataset)
    paper = paper[paper["model"] == "coded"]
    first = rows.drop_duplicates("variant").set_index("variant")
    points = [
        (float(str(one.top1)), place)
        for place, variant in enumerate(groups.index)
        for one in paper.itertuples()
        if first.loc[variant, "published"]
        and (first.loc[variant, "mu"], first.loc[variant, "p_drop"]) == (one.mu, one.p_drop)
    ]
    if points:
        x, y = zip(*points, strict=True)
        ax.plot(x, y, marker="o", label=paper_label(rows), **PAPER_STYLE)
    legend_below(ax)
    ax.set_yticks(places, [_wrapped(str(variant)) for variant in groups.index], fontsize=6)
    ax.invert_yaxis()
    ax.set(xlabel="top-1 accuracy (%)")
    ax.margins(0.15)


PANEL = Panel(name=NAME, title=TITLE, item=ITEM, load=load, draw=draw)
