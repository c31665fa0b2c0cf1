"""Variants of a network (ratios, schemes, mu with p_drop): top-1 side by side."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from codepath.config import RunConfig
from codepath.experiments.coverage import rows_of_picture
from codepath.experiments.paper import reference
from codepath.figures.style import BLUE, PAPER_STYLE, legend_below, paper_label, several, share

NAME = "variants"
TITLE = "Variants"
ITEM = "Text: ImageNet variants"
MOST_LETTERS = 20
"""Of a line beside the axis."""


def _name(run: RunConfig) -> str:
    """The settings that make the variant, without their section."""
    settings = run.experiment.split("+")[1:]
    return "\n".join(setting.partition(".")[2] for setting in settings) or (
        f"as in Table 2\n(mu={run.train.mu:g}, p_drop={run.model.p_drop:g})"
    )


def _published(run: RunConfig) -> bool:
    """Whether nothing but mu and p_drop was changed: then the paper may have its number."""
    settings = run.experiment.split("+")[1:]
    return all(setting.startswith(("train.mu=", "model.p_drop=")) for setting in settings)


def load(results: Path) -> pd.DataFrame:
    """Top-1 with columns variant, mu, p_drop, and whether only those two were changed."""
    rows = rows_of_picture(
        results,
        "accuracy",
        NAME,
        {
            "variant": _name,
            "mu": lambda run: run.train.mu,
            "p_drop": lambda run: run.model.p_drop,
            "published": _published,
        },
    )
    return several(rows[(rows["metric"] == "top1") & (rows["split"] == "test")], "variant")


def _wrapped(variant: str) -> str:
    """A variant's name in lines that leave room for the points."""
    lines = [
        line
        for part in variant.replace(",", ", ").split("\n")
        for line in textwrap.wrap(part, MOST_LETTERS)
    ]
    return "\n".join(line.replace(",  ", ", ") for line in lines)


def draw(ax: Axes, rows: pd.DataFrame, dataset: str) -> None:
    """A line for each variant: mean and range over seeds in per cent.

    The paper's stand beside its own scale alone: beside them a proxy's differences are not seen.
    """
    groups = share(rows, ["variant"])
    places = range(len(groups))
    spread = [
        (groups["mean"] - groups["min"]).clip(lower=0),
        (groups["max"] - groups["mean"]).clip(lower=0),
    ]
    bars = spread if rows["seed"].nunique() > 1 else None
    ax.errorbar(groups["mean"], places, xerr=bars, fmt="o", color=BLUE, label="ours", markersize=4)
    paper = reference("table2_accuracy")
    paper = paper[(paper["dataset"] == dataset) & (paper["model"] == "coded")]
    first = rows.drop_duplicates("variant").set_index("variant")
    points = [
        (float(str(one.top1)), place)
        for place, variant in enumerate(groups.index)
        for one in paper.itertuples()
        if (rows["scale"] == "paper").all()
        and first.loc[variant, "published"]
        and (first.loc[variant, "mu"], first.loc[variant, "p_drop"]) == (one.mu, one.p_drop)
    ]
    if points:
        x, y = zip(*points, strict=True)
        ax.plot(x, y, marker="o", label=paper_label(rows), **PAPER_STYLE)
    legend_below(ax)
    ax.set_yticks(places, [_wrapped(str(variant)) for variant in groups.index], fontsize=6)
    ax.invert_yaxis()
    ax.set(xlabel="top-1 accuracy (%)")
    ax.margins(0.15)
