"""Fig 2b: precision and recall of every class's binary classifier, few classes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from codepath.paper.panel import Panel
from codepath.paper.pictures import binary_points

NAME = "fig2b"
TITLE = binary_points.TITLE
ITEM = "Fig 2b"
draw, finish = binary_points.draw, binary_points.finish


def load(results: Path) -> pd.DataFrame:
    """The rows this figure shows."""
    return binary_points.load(results, NAME)


PANEL = Panel(name=NAME, title=TITLE, item=ITEM, load=load, draw=draw, finish=finish)
