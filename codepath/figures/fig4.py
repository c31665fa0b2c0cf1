"""Fig 4: accuracy of the early decoder of every coded block, and of the softmax."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from codepath.experiments.paper import reference
from codepath.figures.style import BLUE, PAPER_STYLE, main_rows, mean_line

NAME = "fig4"
TITLE = "Early decoders along the depth"
SOFTMAX = 0
"""Stands for the softmax among block numbers."""


def load(results: Path) -> pd.DataFrame:
    """The rows this figure shows: decoders by block, and top-1 of the softmax."""
    rows = pd.concat(
        [main_rows(results, kind) for kind in ("decoders", "accuracy")], ignore_index=True
    )
    rows = rows[(rows["metric"] == "top1") & (rows["split"] == "test")]
    return rows.assign(block=rows["block"].fillna(SOFTMAX))


def draw(ax: Axes, rows: pd.DataFrame, dataset: str) -> None:
    """Top-1 in per cent from the first coded block to the softmax, the paper's beside."""
    blocks = [*sorted(b for b in rows["block"].unique() if b != SOFTMAX), SOFTMAX]
    places = pd.Series(range(len(blocks)), index=blocks)
    mean_line(ax, places, rows, "block", "ours", BLUE, marker="o", linestyle="none")
    means = 100 * rows.groupby("block")["value"].mean().reindex(blocks).astype(float)
    ax.plot(places[:-1], means[:-1], color=BLUE, linewidth=1)
    for place, value in zip(places, means, strict=True):
        ax.annotate(
            f"{value:.1f}",
            (place, value),
            xytext=(3, -9),
            textcoords="offset points",
            ha="left",
            fontsize=6.5,
        )
    paper = reference("fig4_early_decoders")
    paper = paper[paper["dataset"] == dataset]
    names = [*(str(b) for b in blocks[:-1]), "softmax"]
    for (_, one), marker in zip(paper.groupby("mu"), "s^", strict=False):
        if one["block"].tolist() != names:  # another network: its blocks are not comparable
            continue
        ax.plot(
            range(len(names)),
            one["top1"],
            marker=marker,
            label=f"paper (mu {one['mu'].iloc[0]:g})",
            **PAPER_STYLE,
        )
        ax.legend(loc="lower right")
    ax.set_xticks(places, [*(f"{b}" for b in blocks[:-1]), "softmax"])
    ax.set(xlabel="decoder of block", ylabel="top-1 accuracy (%)")
    ax.margins(x=0.14, y=0.2)
