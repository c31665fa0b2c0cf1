"""Fig 5: accuracy of softmax and early decoders against mu."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from codepath.experiments.coverage import rows_of_picture
from codepath.paper.beside_ours import paper_label, published
from codepath.paper.panel import Panel
from codepath.paper.setting_rows import several
from codepath.paper.style import PAPER_STYLE, SERIES, legend_below, mean_line

NAME = "fig5"
TITLE = "The weight of the coding loss"
ITEM = "Fig 5"
_SETTINGS = {"mu": lambda run: run.train.mu, "middle": lambda run: run.evaluation.removal_block}


def load(results: Path) -> pd.DataFrame:
    """Top-1, with the columns mu and `decoder`.

    `decoder` is the softmax, the last coded block, or (middle) the block whose paths are removed,
    which is the last one of the first coded stage.
    """
    softmax = rows_of_picture(results, "accuracy", NAME, _SETTINGS)
    decoders = rows_of_picture(results, "decoders", NAME, _SETTINGS)
    decoders = decoders[decoders["decoder"] == "eq7"].drop(columns="decoder")
    last = decoders.groupby(["dataset", "scale"])["block"].transform("max")
    parts = [
        softmax.assign(decoder="softmax"),
        decoders[decoders["block"] == last].assign(decoder="last"),
        decoders[decoders["block"] == decoders["middle"]].assign(decoder="middle"),
    ]
    rows = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    rows = rows[(rows["metric"] == "top1") & (rows["split"] == "test")]
    return several(rows, "mu")


def draw(ax: Axes, rows: pd.DataFrame, dataset: str) -> None:
    """Top-1 in per cent against mu, beside the paper's numbers."""
    values = sorted(rows["mu"].unique())
    places = pd.Series(values, index=values)
    paper = published("fig5_mu", rows, dataset)
    for decoder, look in zip(("softmax", "last", "middle"), SERIES, strict=True):
        mine = rows[rows["decoder"] == decoder]
        if mine.empty:
            continue
        block = "softmax" if decoder == "softmax" else f"block {mine['block'].iloc[0]}"
        mean_line(ax, places, mine, "mu", block, **look)
        theirs = paper[paper["decoder"] == block.replace(" ", "")]
        if len(theirs):
            ax.plot(
                theirs["mu"],
                theirs["top1"],
                marker=look["marker"],
                label=f"{block} ({paper_label(rows)})",
                **PAPER_STYLE,
            )
    ax.set_xticks(values)
    ax.set(xlabel="mu, weight of the coding loss", ylabel="top-1 accuracy (%)")
    ax.set_ylim(bottom=0)
    legend_below(ax)


PANEL = Panel(name=NAME, title=TITLE, item=ITEM, load=load, draw=draw)
