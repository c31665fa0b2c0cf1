"""What coding costs: speed and memory of training, against plain ResNeXt and Eq. 2-3 literally."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from codepath.paper import style
from codepath.paper.panel import Study

NAME = "cost"
ITEM = "Table 4"
BENCHMARK = ("network", "block")
_RIVALS = {"plain": ("plain ResNeXt", style.BLUE, "o"), "literal": ("literal", style.ORANGE, "s")}
_PANELS = {
    "train": "speed of coded / speed of the other",
    "peak memory": "peak memory of coded / of the other",
}


def draw(networks: pd.DataFrame, blocks: pd.DataFrame) -> Figure:
    """Draw the ratios of whole networks and single blocks: a panel for speed, one for memory.

    Args:
        networks: rows of `codepath bench network` on one device.
        blocks: rows of `codepath bench block` on the same device.
    """
    networks = networks.assign(part=networks["network"] + " network")
    rows = pd.concat([networks, blocks.assign(part=blocks["stage"] + " block")])
    rows = rows.assign(part=rows["part"] + ", " + rows["precision"])
    order = list(dict.fromkeys(rows["part"]))
    figure = style.new_figure(style.TWO_COLUMNS, 0.17 * len(order) + 1.4)
    axes = figure.subplots(1, 2, sharey=True)
    for ax, (what, label) in zip(axes, _PANELS.items(), strict=True):
        for rival, (name, color, marker) in _RIVALS.items():
            mine = rows[(rows["what"] == what) & (rows["variant"] == rival)]
            ratio = mine.drop_duplicates("part", keep="last").set_index("part")["coded_ratio"]
            ratio = ratio.reindex(order).astype(float)
            places = range(len(order))
            # Markers lie above the line at 1, and their white edge tells them from it.
            ax.plot(ratio, places, marker, color=color, ms=5, mec="white", label=name, zorder=3)
            for value, place in zip(ratio, places, strict=True):
                if pd.notna(value):
                    ax.annotate(
                        f"{value:.3g}" if value >= 10 else f"{value:.2f}",
                        (value, place),
                        xytext=(-5 if value < 1 else 5, 0),  # away from the line at 1
                        textcoords="offset points",
                        ha="right" if value < 1 else "left",
                        va="center",
                        fontsize=6,
                    )
        ax.axvline(1, color="0.3", linewidth=1, zorder=1)
        ax.set_xscale("log")
        ax.margins(x=0.16, y=0.03)
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.set(xlabel=label)
    axes[0].set_yticks(range(len(order)), order)
    axes[0].invert_yaxis()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, [f"coded / {name}" for name in labels], loc="outside lower center", ncols=2,
        frameon=False,
    )  # fmt: skip
    devices = ", ".join(sorted(rows["device"].unique()))
    figure.suptitle(
        "What coding costs in training: against plain ResNeXt, and against Eq. 2-3 written "
        f"literally (medians of interleaved turns)\n{devices}; batch of {_batches(networks)} "
        f"images for networks, {_batches(blocks)} for blocks",
        fontsize=8,
    )
    return figure


def _batches(rows: pd.DataFrame) -> str:
    return ", ".join(map(str, sorted(rows["batch"].unique())))


STUDY = Study(name=NAME, item=ITEM, benchmarks=BENCHMARK, draw=draw)
