"""The text's sentence on the exponent of Eq. 5, as a picture."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from codepath.experiments.coverage import rows_of_picture
from codepath.experiments.paper import reference
from codepath.figures.style import BLUE, PAPER_STYLE, legend_below, mean_line, paper_label, several

NAME = "exponent"
TITLE = "Exponent of the coding loss"
ITEM = "Text: exponent"


def load(results: Path) -> pd.DataFrame:
    """Top-1, column exponent."""
    rows = rows_of_picture(results, "accuracy", NAME, {"exponent": lambda run: run.train.exponent})
    return several(rows[(rows["metric"] == "top1") & (rows["split"] == "test")], "exponent")


def draw(ax: Axes, rows: pd.DataFrame, dataset: str) -> None:
    """Top-1 in per cent against the exponent, the paper's beside."""
    values = sorted(rows["exponent"].unique())
    places = pd.Series(values, index=values)
    mean_line(ax, places, rows, "exponent", "ours", BLUE, marker="o", linestyle="-")
    paper = reference("exponent_ablation")
    paper = paper[paper["dataset"] == dataset]
    if len(paper):
        label = paper_label(rows)
        ax.plot(paper["exponent"], paper["top1"], marker="o", label=label, **PAPER_STYLE)
    legend_below(ax)
    ax.set_xticks([1, 2, 4])
    ax.set(xlabel="exponent of Eq. 5", ylabel="top-1 accuracy (%)")
    ax.margins(0.15)
