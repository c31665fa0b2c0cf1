"""Linear decoders against Eq. 7, block by block: the same energies, the same cost."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from codepath.experiments.coverage import rows_of_picture
from codepath.paper.panel import Panel
from codepath.paper.style import SERIES, legend_below, mean_line

NAME = "linear"
TITLE = "Early decoders, fitted to training images"
ITEM = "ours"
DECODERS = {"eq7": "Eq. 7", "linear": "linear decoder"}


def load(results: Path) -> pd.DataFrame:
    """Top-1 of both decoders by block, of runs that have both."""
    rows = rows_of_picture(results, "decoders", NAME)
    rows = rows[rows["decoder"].isin(DECODERS) & (rows["split"] == "test")]
    both = set(rows[rows["decoder"] == "linear"]["run_id"])
    return rows[rows["run_id"].isin(both)]


def draw(ax: Axes, rows: pd.DataFrame, dataset: str) -> None:  # noqa: ARG001
    """Top-1 in per cent against the block, with the mean difference in points over seeds."""
    blocks = sorted(rows["block"].unique())
    places = pd.Series(range(len(blocks)), index=blocks)
    means = {}
    for (decoder, label), look in zip(DECODERS.items(), SERIES, strict=False):
        mine = rows[rows["decoder"] == decoder]
        mean_line(ax, places, mine, "block", label, **look)
        means[decoder] = 100 * mine.groupby("block")["value"].mean().reindex(blocks).astype(float)
    gains = means["linear"] - means["eq7"]
    for place, gain, value in zip(places, gains, means["linear"], strict=True):
        ax.annotate(
            f"{gain:+.1f}",
            (place, value),
            xytext=(0, 5),
            textcoords="offset points",
            ha="center",
            fontsize=6.5,
        )
    ax.set_xticks(places, [str(block) for block in blocks])
    legend_below(ax)
    ax.set(xlabel="decoder of block", ylabel="top-1 accuracy (%)")
    ax.margins(x=0.14, y=0.2)


PANEL = Panel(name=NAME, title=TITLE, item=ITEM, load=load, draw=draw)
