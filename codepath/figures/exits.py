"""Early exits: accuracy against multiply-adds, cross-fitted."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from codepath.experiments.coverage import rows_of_picture
from codepath.figures.style import BLUE, ORANGE

NAME = "exits"
TITLE = "Early exits, two-fold cross-fitted"
ITEM = "ours"
CRITERION = "margin"
_LOOKS = {
    "combined": {"color": BLUE, "marker": "o", "label": "adaptive, all energies so far"},
    "eq7": {"color": ORANGE, "marker": "s", "label": "adaptive, Eq. 7"},
}


def load(results: Path) -> pd.DataFrame:
    """Curves over budgets, costs of the exits, and the accuracy of the decoders and the end."""
    exits = rows_of_picture(results, "exits", NAME)
    wanted = exits["metric"].str.startswith(("top1_budget/", "macs_budget/")) | exits[
        "metric"
    ].isin(["macs_until", "top1/combined/crossfit"])
    decoders = rows_of_picture(results, "decoders", NAME)
    accuracy = rows_of_picture(results, "accuracy", NAME)
    parts = [
        exits[wanted],
        decoders[decoders["metric"] == "top1"].assign(metric="top1/eq7"),
        accuracy[accuracy["metric"] == "top1"].assign(metric="top1/end"),
    ]
    rows = pd.concat(parts, ignore_index=True)
    measured = exits[wanted][["dataset", "scale"]].apply(tuple, axis=1)
    return rows[rows[["dataset", "scale"]].apply(tuple, axis=1).isin(set(measured))]


def draw(ax: Axes, rows: pd.DataFrame, dataset: str) -> None:  # noqa: ARG001
    """Top-1 in per cent against mean multiply-adds an image in per cent; means over seeds."""

    def mean(metric: str, by: str) -> pd.Series:
        return rows[rows["metric"] == metric].groupby(by)["value"].mean().astype(float)

    costs = mean("macs_until", "block")
    whole = costs[0]
    for decoder, look in _LOOKS.items():
        name = f"{decoder}/{CRITERION}/crossfit"
        cost, top1 = mean(f"macs_budget/{name}", "x"), mean(f"top1_budget/{name}", "x")
        ax.plot(100 * cost / whole, 100 * top1, markersize=3, linewidth=1, **look)  # type: ignore[arg-type]
    fixed = mean("top1/eq7", "block")
    blocks = [block for block in fixed.index if block in costs.index]
    ax.plot(
        100 * costs[blocks] / whole, 100 * fixed[blocks], color="0.3", marker="^", markersize=5,
        linestyle="none", label="every image at one block, Eq. 7",
    )  # fmt: skip
    for block in blocks:
        ax.annotate(
            f"{block}", (100 * costs[block] / whole, 100 * fixed[block]), xytext=(4, -8),
            textcoords="offset points", fontsize=6.5,
        )  # fmt: skip
    end = 100 * float(rows[rows["metric"] == "top1/end"]["value"].mean())
    ax.axhline(end, color="0.3", linestyle=":", linewidth=1)
    ax.annotate(
        f"whole network {end:.1f}", (100 * costs[blocks[0]] / whole, end), xytext=(0, 3),
        textcoords="offset points", fontsize=6.5,
    )  # fmt: skip
    ax.set(xlabel="multiply-adds an image (% of the network's)", ylabel="top-1 accuracy (%)")
    ax.margins(y=0.12)
    ax.legend(loc="lower right")
