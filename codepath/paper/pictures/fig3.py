"""Fig 3: histogram of the first class's binary logit."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from codepath.paper.panel import Panel
from codepath.paper.pictures import histogram

NAME = "fig3"
TITLE = "What one binary classifier answers"
ITEM = "Fig 3"


def load(results: Path) -> pd.DataFrame:
    """The rows this figure shows."""
    return histogram.load(results, NAME, classes=1)


def draw(ax: Axes, rows: pd.DataFrame, dataset: str) -> None:  # noqa: ARG001
    """Share of each group's images per bin of the logit, in per cent."""
    histogram.draw_class(ax, rows)
    name, seed = rows["class"].iloc[0], rows["seed"].iloc[0]
    ax.set_xlabel(f"logit of the classifier of class {name} (seed {seed})", parse_math=False)
    ax.set_ylabel("share of images (%)")


PANEL = Panel(name=NAME, title=TITLE, item=ITEM, load=load, draw=draw)
