"""Fig 2a: accuracy against the number of removed paths of one block."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from codepath.experiments.coverage import rows_of_picture
from codepath.paper.beside_ours import paper_label, published
from codepath.paper.panel import Panel
from codepath.paper.style import PAPER_STYLE, SERIES, legend_below, mean_line

NAME = "fig2a"
TITLE = "Accuracy without some of a block's paths"
ITEM = "Fig 2a"


def load(results: Path) -> pd.DataFrame:
    """The rows this figure shows."""
    return rows_of_picture(results, "removal", NAME)


def draw(ax: Axes, rows: pd.DataFrame, dataset: str) -> None:
    """Top-1 in per cent against removed active and inactive paths, beside the paper's numbers."""
    paper = published("fig2a_removal", rows, dataset)
    blocks = sorted(rows["block"].unique())
    for group, look in zip(("active", "inactive"), SERIES, strict=False):
        mine = rows[rows["removed_from"] == group]
        counts = sorted(mine["removed"].unique())
        places = pd.Series(counts, index=counts)
        mean_line(ax, places, mine, "removed", f"{group} paths", **look)
        theirs = paper[paper["removed_from"] == group]
        if len(theirs):
            ax.plot(
                theirs["removed"],
                theirs["top1"],
                marker=look["marker"],
                label=f"{group} ({paper_label(rows)})",
                **PAPER_STYLE,
            )
    ax.set(
        xlabel=f"paths removed from block {', '.join(map(str, blocks))}",
        ylabel="top-1 accuracy (%)",
    )
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_below(ax)


PANEL = Panel(name=NAME, title=TITLE, item=ITEM, load=load, draw=draw)
