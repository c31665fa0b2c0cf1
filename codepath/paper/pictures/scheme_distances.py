"""Coding schemes: CIFAR-10's codewords (Table 3), and all schemes against the bounds."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from codepath.codes import load_scheme
from codepath.paper import style
from codepath.paper.panel import Study

NAME = "codes"
ITEM = "Table 3"
BENCHMARK = "codes"
SHOWN = ("10-10-5", "10-10-3")
_ALGORITHMS = {"paper": ("Algorithm 1", style.ORANGE, "s"), "ours": ("ours", style.BLUE, "o")}


def draw(rows: pd.DataFrame) -> Figure:
    """Draw CIFAR-10's two tables, the minimum distances, and the pairs of classes at them."""
    figure = style.new_figure(style.TWO_COLUMNS, 2.5)
    axes = figure.subplots(1, 4, width_ratios=(1, 1, 1.25, 1.25))
    layout = figure.get_layout_engine()
    assert isinstance(layout, ConstrainedLayoutEngine)
    layout.set(wspace=0.08)
    for ax, name in zip(axes[:2], SHOWN, strict=True):
        scheme = load_scheme(name)
        ax.imshow(scheme.table, cmap="binary", vmin=0, vmax=1.3, interpolation="nearest")
        ax.grid(False)
        ax.set_yticks(range(scheme.classes), scheme.class_names if ax is axes[0] else [])
        ax.set_xticks(range(0, scheme.paths, 3))
        ax.set(xlabel="path n")
        ax.set_title(f"r = {scheme.active}/{scheme.paths}", loc="left", fontweight="bold")
    sizes = [f"{row.classes:,}, {row.paths}, {row.active}" for row in rows.itertuples()]
    rows = rows.assign(size=sizes)
    order = list(dict.fromkeys(sizes))
    distance, pairs = axes[2:]
    _compare(distance, rows, order, "distance")
    bound = rows.drop_duplicates("size").set_index("size").loc[order]
    distance.plot(
        bound["largest_distance"], range(len(order)), "|", color="black", ms=9, label="bound"
    )
    distance.set(xlabel="minimum distance", ylabel="K, N, Nact")
    distance.set_yticks(range(len(order)), order)
    distance.set_title("Distance", loc="left", fontweight="bold")
    style.legend_below(distance, columns=3)
    distance.set_xlim(0, 13)
    _compare(pairs, rows, order, "pairs")
    pairs.set_xscale("log")
    pairs.set(xlabel="pairs of classes at it")
    pairs.set_yticks(range(len(order)), [])
    pairs.set_title("Close pairs", loc="left", fontweight="bold")
    for ax in (distance, pairs):
        ax.invert_yaxis()
    figure.suptitle(
        "Coding schemes: the paper's for CIFAR-10 (dark: the path is the class's), and the paper's "
        "Algorithm 1 against ours\n"
        f"seed {', '.join(map(str, sorted(rows['seed'].unique())))}; a larger distance has more "
        "pairs at it",
        fontsize=8,
    )
    return figure


def _compare(ax: Axes, rows: pd.DataFrame, order: list[str], column: str) -> None:
    for algorithm, (label, color, marker) in _ALGORITHMS.items():
        mine = rows[rows["algorithm"] == algorithm].set_index("size")[column].reindex(order)
        shift = 0.12 if algorithm == "ours" else -0.12
        ax.plot(
            mine.astype(float),
            np.arange(len(order)) + shift,
            marker,
            color=color,
            ms=4,
            label=label,
        )


STUDY = Study(name=NAME, item=ITEM, benchmarks=(BENCHMARK,), draw=draw)
