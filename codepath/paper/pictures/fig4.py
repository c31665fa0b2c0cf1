"""Fig 4: accuracy of the early decoder of every coded block, and of the softmax."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from codepath.experiments.coverage import rows_of_picture
from codepath.paper.beside_ours import paper_label, published
from codepath.paper.panel import Panel
from codepath.paper.style import PAPER_STYLE, SERIES, legend_below, mean_line

NAME = "fig4"
TITLE = "Early decoders along the depth"
ITEM = "Fig 4"
SOFTMAX = 0
"""Stands for the softmax among block numbers."""


def load(results: Path) -> pd.DataFrame:
    """Top-1 of the decoders by block and of the softmax, with a column mu.

    Only runs that have decoders are taken.
    """
    rows = pd.concat(
        [
            rows_of_picture(results, kind, NAME, {"mu": lambda run: run.train.mu})
            for kind in ("decoders", "accuracy")
        ],
        ignore_index=True,
    )
    rows = rows[(rows["metric"] == "top1") & (rows["split"] == "test")]
    rows = rows[rows["decoder"].isna() | (rows["decoder"] == "eq7")]
    rows = rows.assign(block=rows["block"].fillna(SOFTMAX))
    with_decoders = set(rows[rows["block"] != SOFTMAX]["run_id"])
    return rows[rows["run_id"].isin(with_decoders)]


def draw(ax: Axes, rows: pd.DataFrame, dataset: str) -> None:
    """Top-1 in per cent from the first coded block to the softmax, beside the paper's numbers."""
    blocks = [*sorted(b for b in rows["block"].unique() if b != SOFTMAX), SOFTMAX]
    names = [*(str(b) for b in blocks[:-1]), "softmax"]
    places = pd.Series(range(len(blocks)), index=blocks)
    paper = published("fig4_early_decoders", rows, dataset)
    weights = sorted(rows["mu"].unique())
    for mu, look in zip(weights, SERIES, strict=False):
        mine = rows[rows["mu"] == mu]
        label = "ours" if len(weights) == 1 else f"ours (mu {mu:g})"
        mean_line(ax, places, mine, "block", label, **{**look, "linestyle": "none"})
        means = 100 * mine.groupby("block")["value"].mean().reindex(blocks).astype(float)
        ax.plot(places[:-1], means[:-1], color=look["color"], ls=look["linestyle"], linewidth=1)
        if len(weights) == 1 and len(blocks) <= 10:
            _write_values(ax, places, means)
        one = paper[paper["mu"] == mu]
        if one["block"].tolist() == names:  # else another network, with other blocks
            ax.plot(
                range(len(names)),
                one["top1"],
                marker=look["marker"],
                label=f"{paper_label(rows)} (mu {mu:g})",
                **PAPER_STYLE,
            )
    many = len(names) > 8
    ax.set_xticks(places, [*names[:-1], "soft-\nmax" if many else "softmax"])
    legend_below(ax, below=38 if many else 27)
    others = paper[paper["block"].isin(names[:-1]) & (paper["paper_label"] != paper["block"])]
    counted = f" (the paper's labels: {others['paper_label'].iloc[0]} on)" if len(others) else ""
    ax.set(xlabel=f"decoder of block{counted}", ylabel="top-1 accuracy (%)")
    ax.margins(x=0.14, y=0.2)


def _write_values(ax: Axes, places: pd.Series, means: pd.Series) -> None:
    for place, value in zip(places, means, strict=True):
        ax.annotate(
            f"{value:.1f}",
            (place, value),
            xytext=(3, -9),
            textcoords="offset points",
            ha="left",
            fontsize=6.5,
        )


PANEL = Panel(name=NAME, title=TITLE, item=ITEM, load=load, draw=draw)
