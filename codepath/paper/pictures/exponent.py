"""The sentence on the exponent of Eq. 5 in the paper's text, as a picture."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from codepath.paper.beside_ours import paper_label, published
from codepath.paper.panel import Panel
from codepath.paper.setting_rows import EXPONENT_ITEM, exponent_rows
from codepath.paper.style import BLUE, PAPER_STYLE, legend_below, mean_line

NAME = "exponent"
TITLE = "Exponent of the coding loss"
ITEM = EXPONENT_ITEM
load = exponent_rows


def draw(ax: Axes, rows: pd.DataFrame, dataset: str) -> None:
    """Top-1 in per cent against the exponent, beside the paper's numbers."""
    values = sorted(rows["exponent"].unique())
    places = pd.Series(values, index=values)
    mean_line(ax, places, rows, "exponent", "ours", BLUE, marker="o", linestyle="-")
    paper = published("exponent_ablation", rows, dataset)
    if len(paper):
        label = paper_label(rows)
        ax.plot(paper["exponent"], paper["top1"], marker="o", label=label, **PAPER_STYLE)
    legend_below(ax)
    ax.set_xticks([1, 2, 4])
    ax.set(xlabel="exponent of Eq. 5", ylabel="top-1 accuracy (%)")
    ax.margins(0.15)


PANEL = Panel(name=NAME, title=TITLE, item=ITEM, load=load, draw=draw)
