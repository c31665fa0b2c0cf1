"""The sentence on concatenation in the paper's text: F1 of summed and of concatenated paths."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from codepath.paper.claims.judge import always_yes
from codepath.paper.hover import name_points
from codepath.paper.panel import Panel
from codepath.paper.setting_rows import CONCAT_ITEM, concat_rows
from codepath.paper.style import SERIES, share

NAME = "concat"
TITLE = "Paths summed and side by side"
ITEM = CONCAT_ITEM
load = concat_rows
_NAMES = {"sum": "sum", "concat": "concatenation"}


def draw(ax: Axes, rows: pd.DataFrame, dataset: str) -> None:  # noqa: ARG001
    """F1 of every class in per cent (means over seeds), and F1 of always answering yes."""
    f1 = share(rows[rows["metric"] == "f1"], ["aggregate", "class"])
    for place, (aggregate, look) in enumerate(zip(_NAMES, SERIES, strict=False)):
        classes = f1.loc[aggregate]
        mine = classes["mean"]
        apart = pd.Series(range(len(mine))).sub((len(mine) - 1) / 2) * 0.3 / len(mine)
        bars = [(mine - classes["min"]).clip(lower=0), (classes["max"] - mine).clip(lower=0)]
        drawn = ax.errorbar(
            place + apart,
            mine,
            yerr=bars if rows["seed"].nunique() > 1 else None,
            ecolor="0.65",
            elinewidth=0.7,
            markersize=4,
            label=_NAMES[aggregate],
            **{**look, "linestyle": "none"},
        )
        name_points(drawn[0], [str(name) for name in classes.index])
        ax.plot([place - 0.25, place + 0.25], [mine.mean()] * 2, color=look["color"])
        ax.annotate(
            f"mean {mine.mean():.1f}",
            (place + 0.27, mine.mean()),
            fontsize=6.5,
            va="center",
        )
    chance = 100 * always_yes(
        float(rows[rows["metric"] == "prevalence"]["value"].astype(float).mean())
    )
    ax.axhline(chance, color="0.3", linestyle=":")
    ax.set_xticks(range(len(_NAMES)), _NAMES.values())
    ax.set(xlabel="how paths are joined", ylabel="F1 of the binary classifiers (%)")
    ax.set_ylim(0, 102)
    ax.set_xlim(-0.5, len(_NAMES) - 0.3)
    ax.annotate(
        "always answering yes",
        (len(_NAMES) - 0.32, chance),
        fontsize=6.5,
        ha="right",
        va="bottom",
    )


PANEL = Panel(name=NAME, title=TITLE, item=ITEM, load=load, draw=draw)
