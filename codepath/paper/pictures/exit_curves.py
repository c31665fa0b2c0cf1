"""Early exits: accuracy against multiply-adds, cross-fitted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from codepath.experiments.coverage import rows_of_picture, setting_of
from codepath.paper.exit_rows import CRITERION, probe_rows
from codepath.paper.panel import Panel
from codepath.paper.style import BLUE, GREEN, ORANGE, legend_below

NAME = "exits"
TITLE = "Early exits, two-fold cross-fitted"
ITEM = "ours"
_LOOKS = {
    "combined": {"color": BLUE, "marker": "o", "label": "adaptive, all energies so far"},
    "eq7": {"color": ORANGE, "marker": "s", "label": "adaptive, Eq. 7"},
    "linear": {"color": GREEN, "marker": "^", "label": "adaptive, linear decoders"},
    "probes": {"color": "0.45", "marker": "x", "linestyle": "--",
               "label": "adaptive, linear probes on the plain network"},
}  # fmt: skip
END = "end"
"""Stands for the network's softmax among the decoders."""


def load(results: Path) -> pd.DataFrame:
    """Curves over budgets, costs of the exits, and accuracy of the decoders and of the softmax."""
    exits = rows_of_picture(results, "exits", NAME)
    curves = (exits["target"] == "budget") & (exits["criterion"] == CRITERION)
    exits = exits[curves.fillna(False) | (exits["metric"] == "macs_until")]
    decoders = rows_of_picture(results, "decoders", NAME)
    accuracy = rows_of_picture(results, "accuracy", NAME)
    parts = [
        exits,
        decoders[decoders["decoder"] == "eq7"],
        accuracy[accuracy["metric"] == "top1"].assign(decoder=END),
        probe_rows(results, set(exits["run_id"])).filter(items=list(exits.columns)),
    ]
    rows = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    return rows[setting_of(rows).isin(set(setting_of(exits)))]


def draw(ax: Axes, rows: pd.DataFrame, dataset: str) -> None:  # noqa: ARG001
    """Top-1 in per cent against mean multiply-adds an image, in per cent of the network's."""
    until = _spread(rows[rows["metric"] == "macs_until"], "block")
    costs = until["mean"]
    whole = float(costs[0]) / 100  # so that shares come out in per cent
    several = rows["seed"].nunique() > 1

    def points(cost: pd.DataFrame, top1: pd.DataFrame, **look: Any) -> None:
        """Means, with the seeds' extremes as bars."""
        where, level = cost / whole, 100 * top1
        ax.errorbar(
            where["mean"],
            level["mean"],
            xerr=_reach(where) if several else None,
            yerr=_reach(level) if several else None,
            elinewidth=0.7,
            linewidth=1,
            **look,
        )

    for decoder, look in _LOOKS.items():
        curve = rows[(rows["decoder"] == decoder) & (rows["target"] == "budget")]
        cost, top1 = (_spread(curve[curve["metric"] == what], "limit") for what in ("macs", "top1"))
        if cost.empty:
            continue
        points(cost, top1.reindex(cost.index), markersize=3, **look)
    fixed = _spread(rows[(rows["decoder"] == "eq7") & rows["target"].isna()], "block")
    fixed = fixed[fixed.index.isin(costs.index)]
    depth = until.loc[fixed.index]
    points(
        depth, fixed, color="0.3", marker="D", markersize=4, linestyle="none",
        label="every image at one block, Eq. 7",
    )  # fmt: skip
    for block in fixed.index:
        ax.annotate(
            f"{block}", (depth["mean"][block] / whole, 100 * fixed["mean"][block]),
            xytext=(4, -8), textcoords="offset points", fontsize=6.5,
        )  # fmt: skip
    end = 100 * float(rows[rows["decoder"] == END]["value"].mean())
    ax.axhline(end, color="0.3", linestyle=":", linewidth=1)
    ax.annotate(
        f"whole network {end:.1f}", (depth["mean"].min() / whole, end), xytext=(0, 3),
        textcoords="offset points", fontsize=6.5,
    )  # fmt: skip
    ax.set(xlabel="multiply-adds an image (% of the network's)", ylabel="top-1 accuracy (%)")
    ax.margins(y=0.12)
    legend_below(ax, columns=1)


def _spread(rows: pd.DataFrame, by: str) -> pd.DataFrame:
    """Mean, least and greatest value over seeds, as floats."""
    groups = rows.groupby(by)["value"]
    return groups.agg(["mean", "min", "max"]).astype(float)


def _reach(spread: pd.DataFrame) -> list[pd.Series]:
    """Distances from the mean to the extremes.

    They are clipped, since the mean of equal seeds may differ from the extremes in the last digit.
    """
    below, above = spread["mean"] - spread["min"], spread["max"] - spread["mean"]
    return [below.clip(lower=0), above.clip(lower=0)]


PANEL = Panel(name=NAME, title=TITLE, item=ITEM, load=load, draw=draw)
