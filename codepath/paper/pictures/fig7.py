"""Fig 7: histograms of the first ten classes' binary logits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from codepath.paper.panel import Panel
from codepath.paper.pictures import histogram

NAME = "fig7"
TITLE = ""
ITEM = "Fig 7"
SHAPE = (2, 5)


def load(results: Path) -> pd.DataFrame:
    """The rows this figure shows."""
    return histogram.load(results, NAME, classes=SHAPE[0] * SHAPE[1])


def draw(axes: Sequence[Axes], rows: pd.DataFrame, dataset: str) -> None:  # noqa: ARG001
    """A panel for each class, in the order of the classes."""
    histograms = rows[rows["metric"] != "threshold"]
    names = list(histograms["class"].drop_duplicates())
    for ax in axes[len(names) :]:
        ax.set_visible(False)
    for ax, name in zip(axes, names, strict=False):
        histogram.draw_class(ax, rows[rows["class"] == name], small=True)
        ax.set_title(f"class {name}", loc="left", fontweight="bold", fontsize=7, parse_math=False)
    for ax in axes[:: SHAPE[1]]:
        ax.set_ylabel("share of images (%)")
    seed = histograms["seed"].iloc[0]
    axes[min(len(names), 8) - 1].set_xlabel(
        f"logit (seed {seed}); dark: the class, hatched: all others; dotted: threshold of best F1"
    )


PANEL = Panel(name=NAME, title=TITLE, item=ITEM, load=load, draw=draw, shape=SHAPE)
