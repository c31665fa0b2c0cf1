"""Training objectives of the same network: early decoders, softmax and the plain network."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from codepath.paper.objective_rows import (
    ITEM,
    NAME,
    OWN,
    PAPER,
    PLAIN,
    SECOND,
    decoders_by_objective,
    f1_by_objective,
    top1_by_objective,
)
from codepath.paper.panel import Panel
from codepath.paper.style import BLUE, GREEN, ORANGE, legend_below, mean_line

END = 1 << 20
"""Stands for the network's end behind all blocks."""
_LOOKS = {
    PAPER: {"color": ORANGE, "marker": "s", "linestyle": "--"},
    OWN: {"color": BLUE, "marker": "o", "linestyle": "-"},
    SECOND: {"color": GREEN, "marker": "^", "linestyle": ":"},
    PLAIN: {"color": "0.35", "marker": "x", "linestyle": "none"},
}


def load(results: Path) -> pd.DataFrame:
    """Decoders by block, top-1 of the whole networks as block END, and F1 by class."""
    top1 = top1_by_objective(results)
    parts = [
        top1.assign(block=END),
        decoders_by_objective(results),
        f1_by_objective(results),
    ]
    rows = pd.concat(parts, ignore_index=True)
    return rows[rows["run_id"].isin(set(top1["run_id"]))]


def draw(ax: Axes, rows: pd.DataFrame, dataset: str) -> None:  # noqa: ARG001
    """Top-1 in per cent against the block; the mean F1 of the binary classifiers in the legend."""
    top1, f1 = rows[rows["metric"] == "top1"], rows[rows["metric"] == "f1"]
    blocks = sorted(set(top1["block"].astype(int)))
    places = pd.Series(range(len(blocks)), index=blocks)
    for name, look in _LOOKS.items():
        mine, own = top1[top1["objective_of"] == name], f1[f1["objective_of"] == name]
        if len(mine):
            label = f"{name}, mean F1 {100 * own['value'].mean():.1f} %" if len(own) else name
            mean_line(ax, places, mine, "block", label, **look)
    ax.set_xticks(places, ["softmax" if block == END else str(block) for block in blocks])
    legend_below(ax, columns=1)
    ax.set(xlabel="decoder of block", ylabel="top-1 accuracy (%)")
    ax.margins(x=0.08, y=0.12)


PANEL = Panel(name=NAME, title="Training objectives", item=ITEM, load=load, draw=draw)
