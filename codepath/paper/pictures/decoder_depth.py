"""Decoding study: errors of the nearest codeword under noise, for the paper's and best schemes."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from codepath.paper import style
from codepath.paper.panel import Study

NAME = "decoding"
ITEM = "Decoding (ours)"
BENCHMARK = "decoding"
FEWEST_ERRORS = 10
"""Points with fewer wrong decisions say little and are left out."""
LINES = {
    "paper": {"color": style.ORANGE, "linestyle": "--", "marker": "s", "markersize": 3},
    "best": {"color": style.BLUE, "linestyle": "-", "marker": "o", "markersize": 3},
}


def draw(rows: pd.DataFrame) -> Figure:
    """A panel for each set of K, N, Nact in `rows`."""
    sizes = list(dict.fromkeys(rows[["classes", "paths", "active"]].itertuples(index=False)))
    columns = 3
    lines = -(-len(sizes) // columns)
    figure = style.new_figure(style.TWO_COLUMNS, 1.9 * lines + 0.6)
    axes = figure.subplots(lines, columns, sharex=True, squeeze=False)
    for ax in axes.flat[len(sizes) :]:
        ax.set_visible(False)
    for ax, size in zip(axes.flat, sizes, strict=False):
        here = rows[(rows[["classes", "paths", "active"]] == list(size)).all(axis=1)]
        for family, line in LINES.items():
            one = here[(here["family"] == family) & (here["error"] * here["n"] >= FEWEST_ERRORS)]
            if len(one):
                label = f"{family}, d = {one['distance'].iloc[0]}"
                ax.plot(one["noise"], 100 * one["error"], label=label, linewidth=1, **line)
        ax.set_yscale("log")
        ax.set_title(
            f"K = {size.classes:,}, N = {size.paths}, Nact = {size.active}",
            loc="left",
            fontweight="bold",
        )
        ax.legend(loc="lower right")
    for ax in axes[-1]:
        ax.set_xlabel("standard deviation of the noise")
    for ax in axes[:, 0]:
        ax.set_ylabel("wrong classes (%)")
    figure.suptitle(
        "Nearest codeword when energies are a codeword plus normal noise (no network)\n"
        f"n = {rows['n'].min():,} decisions a point; points with at least "
        f"{FEWEST_ERRORS} wrong ones",
        fontsize=8,
    )
    return figure


STUDY = Study(name=NAME, item=ITEM, benchmarks=(BENCHMARK,), draw=draw)
