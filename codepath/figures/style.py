"""One look for all figures: sizes, colours, markers, and files without timestamps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from codepath.runtime import atomic_path
from codepath.store import read_rows

ONE_COLUMN = 3.4
TWO_COLUMNS = 7.0
"""Widths in inches."""

# Distinct in hue for colour-blind readers and in lightness on a grey print.
BLUE, ORANGE = "#0b5394", "#e08e0b"
PAPER_STYLE: dict[str, Any] = {
    "linestyle": "none",
    "markerfacecolor": "none",
    "color": "black",
    "markersize": 6,
}
"""Open markers: the paper's own numbers."""


def use_style() -> None:
    """Set the style for all figures drawn afterwards."""
    mpl.use("agg")
    sns.set_theme(style="whitegrid", context="paper")
    mpl.rcParams.update(
        {
            "font.size": 8,
            "axes.titlesize": 8,
            "axes.labelsize": 8,
            "legend.fontsize": 7,
            "xtick.labelsize": 7,
            "ytick.labelsize": 7,
            "axes.edgecolor": "0.3",
            "grid.color": "0.9",
            "legend.framealpha": 0.9,
            "pdf.fonttype": 42,
            "svg.hashsalt": "codepath",
            "figure.constrained_layout.use": True,
        }
    )


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write NAME.pdf and NAME.png; the same figure gives the same bytes."""
    paths = []
    for suffix, metadata in (("pdf", {"CreationDate": None}), ("png", {"Software": None})):
        path = folder / f"{name}.{suffix}"
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format=suffix, dpi=200, metadata=metadata)
        paths.append(path)
    return paths


def main_rows(results: Path, kind: str) -> pd.DataFrame:
    """Rows of the coded networks of the main experiments (table2-DATASET)."""
    rows = read_rows(results, kind)
    main = rows["experiment"].str.fullmatch(r"table2-\w+")
    return rows[main & (rows["model"] == "coded")]


def describe(rows: pd.DataFrame) -> str:
    """Data source, scale, seeds and test images behind `rows`, for a title."""
    sources, scales = (", ".join(sorted(rows[name].unique())) for name in ("source", "scale"))
    seeds = rows["seed"].nunique()
    images = int(rows[rows["split"] == "test"]["n"].max())
    spread = "1 seed" if seeds == 1 else f"{seeds} seeds (bars: their range)"
    return f"{sources}, {scales} scale\n{spread}, n = {images:,} test images"


def paper_label(rows: pd.DataFrame) -> str:
    """What the paper's points are called: beside a proxy it must be said that they are none."""
    return "paper" if (rows["scale"] == "paper").all() else "paper, full scale"


def mean_line(
    ax: Axes, x: pd.Series, rows: pd.DataFrame, by: str, label: str, color: str, **style: Any
) -> None:
    """Mean over seeds in per cent against positions `x`; bars span the seeds' extremes.

    `x` is indexed by the values of column `by`.
    """
    groups = 100 * rows.groupby(by)["value"].agg(["mean", "min", "max"]).astype(float)
    places = x.reindex(groups.index)
    # Clipped: of equal seeds the mean may differ from the extremes in the last digit.
    below, above = groups["mean"] - groups["min"], groups["max"] - groups["mean"]
    error = [below.clip(lower=0), above.clip(lower=0)]
    ax.errorbar(
        places,
        groups["mean"],
        yerr=error if rows["seed"].nunique() > 1 else None,
        label=label,
        color=color,
        capsize=2,
        markersize=4,
        **style,
    )
