"""Fig 2a: accuracy against the number of removed paths of one block."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from codepath.experiments import find_experiment
from codepath.experiments.coverage import rows_of_picture
from codepath.experiments.reference import reference
from codepath.paper.panel import Panel
from codepath.paper.style import PAPER_STYLE, SERIES, legend_below, mean_line, paper_label

NAME = "fig2a"
TITLE = "Accuracy without some of a block's paths"
ITEM = "Fig 2a"


def load(results: Path) -> pd.DataFrame:
    """The rows this figure shows."""
    return rows_of_picture(results, "removal", NAME)


def draw(ax: Axes, rows: pd.DataFrame, dataset: str) -> None:
    """Top-1 in per cent against removed active and inactive paths, beside the paper's numbers."""
    paper = reference("fig2a_removal")
    paper = paper[paper["dataset"] == dataset]
    blocks = sorted(rows["block"].unique())
    theirs = paper_label(rows)
    if len(paper):
        (run,) = find_experiment(f"{NAME}-{dataset}").runs("paper", 0)
        if blocks != [run.evaluation.removal_block]:
            theirs += f", block {run.evaluation.removal_block}"
    for group, look in zip(("active", "inactive"), SERIES, strict=False):
        mine = rows[rows["removed_from"] == group]
        counts = sorted(mine["removed"].unique())
        places = pd.Series(counts, index=counts)
        mean_line(ax, places, mine, "removed", f"{group} paths", **look)
        published = paper[paper["removed_from"] == group]
        if len(published):
            ax.plot(
                published["removed"],
                published["top1"],
                marker=look["marker"],
                label=f"{group} ({theirs})",
                **PAPER_STYLE,
            )
    ax.set(
        xlabel=f"paths removed from block {', '.join(map(str, blocks))}",
        ylabel="top-1 accuracy (%)",
    )
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_below(ax, columns=1 if "block" in theirs else 2)


PANEL = Panel(name=NAME, title=TITLE, item=ITEM, load=load, draw=draw)
