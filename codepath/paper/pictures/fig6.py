"""Fig 6: precision and recall of the binary classifiers by p_drop."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from codepath.experiments.coverage import rows_of_picture
from codepath.paper.beside_ours import paper_label, published
from codepath.paper.binary_rows import own_negatives
from codepath.paper.panel import Panel
from codepath.paper.pictures.binary_points import draw_points
from codepath.paper.setting_rows import several
from codepath.paper.style import PAPER_STYLE, SERIES, legend_below

NAME = "fig6"
TITLE = "Binary classifiers by p_drop"
ITEM = "Fig 6"


def load(results: Path) -> pd.DataFrame:
    """Precision and recall of all classes, with a column p_drop."""
    rows = rows_of_picture(results, "binary", NAME, {"p_drop": lambda run: run.model.p_drop})
    rows = own_negatives(rows)
    return several(rows[rows["metric"].isin(["precision", "recall"])], "p_drop")


def draw(ax: Axes, rows: pd.DataFrame, dataset: str) -> None:
    """A point for each class and p_drop (means over seeds in per cent), beside the paper's."""
    paper = published("fig6_pdrop", rows, dataset)
    for p_drop, look in zip(sorted(rows["p_drop"].unique()), SERIES, strict=False):
        mine = rows[rows["p_drop"] == p_drop]
        draw_points(ax, mine, f"p_drop {p_drop:g}", look, size=4)
        theirs = paper[(paper["p_drop"] - p_drop).abs() < 1e-9]
        if len(theirs):
            ax.plot(
                theirs["recall"],
                theirs["precision"],
                label=f"p_drop {p_drop:g} ({paper_label(rows)})",
                marker=look["marker"],
                **PAPER_STYLE,
            )
    ax.set(xlabel="recall (%)", ylabel="precision (%)")
    ax.set_ylim(0, 102)
    ax.margins(x=0.1)
    legend_below(ax)


PANEL = Panel(name=NAME, title=TITLE, item=ITEM, load=load, draw=draw)
