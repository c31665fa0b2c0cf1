"""F1 of binary classifiers against the share of the network that is kept."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from codepath.core.errors import UserError
from codepath.experiments.coverage import rows_of_picture
from codepath.paper import style
from codepath.paper.panel import Panel
from codepath.paper.style import BLUE, ORANGE
from codepath.store import read_rows

NAME = "compression"
TITLE = "Smaller classifiers, without training"
ITEM = "ours"
MOST_LINES = 12
"""Each class has a line of its own where there are at most so many classes."""
TARGET = 40
"""The kept share that the figure marks, in per cent."""


def load(results: Path) -> pd.DataFrame:
    """The rows this figure shows."""
    return rows_of_picture(results, "compression", NAME)


def draw(ax: Axes, rows: pd.DataFrame, dataset: str) -> None:  # noqa: ARG001
    """F1 in per cent against the kept share: means over classes, bars over seeds."""
    points = rows.pivot_table(
        index=["seed", "class", "asked"], columns="metric", values="value", aggfunc="last"
    ).astype(float)
    by_seed = points.reset_index()
    classes = by_seed["class"].nunique()
    points = by_seed.groupby(["class", "asked"])[["f1", "share"]].mean().reset_index()
    complete = points.groupby("asked")["class"].nunique() == classes
    mean = points.groupby("asked")[["f1", "share"]].mean()[complete].sort_values("share")
    seeds = by_seed.groupby(["seed", "asked"])["f1"].mean().groupby("asked").agg(["min", "max"])
    seeds = seeds.loc[mean.index]
    # Clipped, since the mean of equal seeds may differ from the extremes in the last digit.
    bars = [(mean["f1"] - seeds["min"]).clip(lower=0), (seeds["max"] - mean["f1"]).clip(lower=0)]
    if classes <= MOST_LINES:
        for _, one in points.groupby("class"):
            one = one.sort_values("share")
            ax.plot(100 * one["share"], 100 * one["f1"], color="0.8", linewidth=0.8)
    ax.errorbar(
        100 * mean["share"], 100 * mean["f1"],
        yerr=[100 * bar for bar in bars] if by_seed["seed"].nunique() > 1 else None,
        color=BLUE, marker="o", markersize=4, capsize=2,
        label=f"mean of {classes} classes (grey: each)",
    )  # fmt: skip
    whole = mean.iloc[-1]
    ax.axhline(
        100 * whole["f1"] - 1, color=ORANGE, linestyle="--", linewidth=1,
        label="one point below the uncompressed",
    )  # fmt: skip
    ax.axvline(TARGET, color="0.4", linestyle=":", linewidth=1, label=f"{TARGET} % kept")
    ax.set(xlabel="kept share of the network's parameters (%)", ylabel="F1 (%)")
    style.legend_below(ax, columns=1)


def draw_run(rows: Path, out: Path) -> Path:
    """Draw the curve of one run's rows (RUN/rows) as OUT/compression.png; return that path."""
    found = read_rows(rows, NAME)
    if found.empty:
        raise UserError(f"{rows} has no rows of compression: codepath extract RUN --curve")
    style.use_style()
    figure = style.new_figure(style.ONE_COLUMN + 1, 3)
    ax = figure.subplots()
    draw(ax, found, str(found["dataset"].iloc[0]))
    ax.set_title(TITLE, loc="left", fontweight="bold")
    figure.suptitle(style.describe(found, style.has_bars(figure)), fontsize=7, parse_math=False)
    written = style.save(figure, out, NAME)
    return written[-1]


PANEL = Panel(name=NAME, title=TITLE, item=ITEM, load=load, draw=draw)
