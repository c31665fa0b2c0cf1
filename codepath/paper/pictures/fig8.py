"""Fig 8: precision and recall of every class's binary classifier, ImageNet."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from codepath.paper.panel import Panel
from codepath.paper.pictures import binary_points

NAME = "fig8"
TITLE = binary_points.TITLE
ITEM = "Fig 8"
draw, finish = binary_points.draw, binary_points.finish


def load(results: Path) -> pd.DataFrame:
    """The rows this figure shows."""
    return binary_points.load(results, NAME, drawn=True)


PANEL = Panel(name=NAME, title=TITLE, item=ITEM, load=load, draw=draw, finish=finish)
