"""What coding costs: speed and memory of training, against plain ResNeXt and Eq. 2-3 literally."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from codepath.figures import style

NAME = "cost"
ITEM = "Table 4"
BENCHMARK = ("network", "block")
_RIVALS = {"plain": ("plain ResNeXt", style.BLUE, "o"), "literal": ("literal", style.ORANGE, "s")}
_PANELS = {
    "train": "speed of coded / speed of the other",
    "peak memory": "peak memory of coded / of the other",
}


def draw(networks: pd.DataFrame, blocks: pd.DataFrame) -> Figure:
    """Ratios of whole networks and of single blocks, one column of panels for speed and memory.

    Args:
        networks: rows of `codepath bench network` on one device.
        blocks: rows of `codepath bench block` on the same device.
    """
    networks = networks.assign(part=networks["network"] + " network")
    rows = pd.concat([networks, blocks.assign(part=blocks["stage"] + " block")])
    rows = rows.assign(part=rows["part"] + ", " + rows["precision"])
    order = list(dict.fromkeys(rows["part"]))
    figure, axes = plt.subplots(
        1, 2, figsize=(style.TWO_COLUMNS, 0.17 * len(order) + 1.3), sharey=True
    )
    for ax, (what, label) in zip(axes, _PANELS.items(), strict=True):
        for rival, (name, color, marker) in _RIVALS.items():
            mine = rows[(rows["what"] == what) & (rows["variant"] == rival)]
            ratio = mine.drop_duplicates("part", keep="last").set_index("part")["coded_ratio"]
            ax.plot(ratio.reindex(order), range(len(order)), marker, color=color, ms=4, label=name)
        ax.axvline(1, color="0.3", linewidth=1)
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        ax.set(xlabel=label)
    axes[0].set_yticks(range(len(order)), order)
    axes[0].invert_yaxis()
    for ax in axes:
        style.legend_below(ax)
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
