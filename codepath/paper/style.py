"""One look for all figures: sizes, colours, markers, and files without timestamps."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from codepath.core.files import atomic_path, write_text
from codepath.experiments.coverage import configuration_note
from codepath.experiments.scales import in_full
from codepath.paper.fonts import FAMILY

ONE_COLUMN = 3.4
TWO_COLUMNS = 7.0
"""Widths in inches."""
LONGEST_LABEL = 24
"""A legend under a picture of one column has columns up to so many letters."""
DPI = 200

# Distinct in hue for colour-blind readers and in lightness on a grey print; markers differ too.
BLUE, ORANGE, GREEN = "#0b5394", "#e08e0b", "#2aa198"
SERIES: tuple[dict[str, Any], ...] = (
    {"color": BLUE, "marker": "o", "linestyle": "-"},
    {"color": ORANGE, "marker": "s", "linestyle": "--"},
    {"color": GREEN, "marker": "^", "linestyle": ":"},
)
"""Looks of the first, second and third series of a figure."""
PAPER_STYLE: dict[str, Any] = {
    "linestyle": "none",
    "markerfacecolor": "none",
    "color": "black",
    "markersize": 6,
}
"""Look of the paper's own numbers: open markers."""


def _theme(cache: Path | None) -> dict[Any, Any]:
    """seaborn's white grid for papers.

    It is kept in `cache`, since importing seaborn takes as long as drawing two figures.
    """
    kept = cache and cache / f"seaborn-{importlib.metadata.version('seaborn')}.json"
    if kept and kept.exists():
        with contextlib.suppress(ValueError):  # a damaged file is made again
            return dict(json.loads(kept.read_text()))
    import seaborn as sns

    theme = {**sns.axes_style("whitegrid"), **sns.plotting_context("paper")}
    del theme["image.cmap"]  # matplotlib knows it only where seaborn is imported
    if kept:
        write_text(kept, json.dumps(theme, indent=1) + "\n")
    return theme


def use_style(cache: Path | None = None) -> None:
    """Set the style for all figures drawn afterwards; the backend stays what it is.

    A folder `cache` makes later calls faster.
    """
    mpl.rcParams.update(_theme(cache))
    mpl.rcParams.update(
        {
            "font.sans-serif": [FAMILY],  # comes with matplotlib: the same on every machine
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
            # Text is measured at this resolution: at a low one it comes out too narrow.
            "figure.dpi": DPI,
        }
    )


def new_figure(width: float, height: float) -> Figure:
    """A figure for a file, in inches: no window shows it, whatever pyplot's backend is."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def fix_layout(figure: Figure) -> None:
    """Give everything its place, once for all formats; where that is done already, do nothing."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    figure.set_layout_engine("none")


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write NAME.pdf and NAME.png; the same figure gives the same bytes."""
    fix_layout(figure)
    pdf, png = (folder / f"{name}.{suffix}" for suffix in ("pdf", "png"))
    # Figure.savefig would draw every file twice, since it lays the figure out again.
    with atomic_path(pdf) as temporary:
        FigureCanvasPdf(figure).print_pdf(temporary, metadata={"CreationDate": None})
    figure.set_dpi(DPI)
    with atomic_path(png) as temporary:
        FigureCanvasAgg(figure).print_png(temporary, metadata={"Software": None})
    return [pdf, png]


def has_bars(figure: Figure) -> bool:
    """Whether some axis of a figure has error bars."""
    return any(
        isinstance(drawn, ErrorbarContainer) and (drawn.has_xerr or drawn.has_yerr)
        for ax in figure.axes
        for drawn in ax.containers
    )


def describe(rows: pd.DataFrame, bars: bool) -> str:
    """Data source, scale, seeds (of each setting) and test images behind `rows`, for a title.

    `bars` tells whether the figure has bars for several seeds, or their means alone. A scale that
    takes many words has a line of its own. A last line says where rows are of another configuration
    than the experiment's.
    """
    sources = ", ".join(sorted(rows["source"].unique()))
    scales = ", ".join(map(in_full, sorted(rows["scale"].unique())))
    seeds = rows.groupby("experiment")["seed"].nunique()
    images = int(rows[rows["split"] == "test"]["n"].max())
    number = f"{seeds.min()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    shown = "bars: their range" if bars else "means"
    spread = "1 seed" if seeds.max() == 1 else f"{number} seeds ({shown})"
    note = configuration_note(rows["run_id"])
    apart = "\n" if ":" in scales else ", "
    return f"{sources}{apart}{scales}\n{spread}, n = {images:,} test images" + (
        f"\n{note}" if note else ""
    )


def legend_below(ax: Axes, columns: int = 2, below: float = 27) -> None:
    """A legend under the axis, where it hides no point; none for a single series.

    Args:
        ax: the axis.
        columns: columns of the legend; a label that is too long for them leaves one.
        below: distance from the axis in points, which holds the tick labels and the axis' label.
    """
    figure = ax.get_figure(root=True)
    handles, labels = ax.get_legend_handles_labels()
    if figure is not None and len(labels) > 1:
        order = sorted(range(len(labels)), key=lambda i: "paper" in labels[i])
        ax.legend(
            [handles[i] for i in order],
            [str(labels[i]) for i in order],
            loc="upper center",
            bbox_to_anchor=(0.5, 0.0),
            bbox_transform=ax.transAxes + ScaledTranslation(0, -below / 72, figure.dpi_scale_trans),
            ncols=columns if max(map(len, map(str, labels))) <= LONGEST_LABEL else 1,
            frameon=False,
            columnspacing=1.2,
            handletextpad=0.5,
        )


def mean_line(
    ax: Axes, x: pd.Series, rows: pd.DataFrame, by: str, label: str, color: str, **style: Any
) -> None:
    """Mean over seeds in per cent against positions `x`; bars span the seeds' extremes.

    `x` is indexed by the values of column `by`.
    """
    groups = 100 * rows.groupby(by)["value"].agg(["mean", "min", "max"]).astype(float)
    places = x.reindex(groups.index)
    # Clipped, since the mean of equal seeds may differ from the extremes in the last digit.
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


def share(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Mean, least and greatest value over seeds in per cent, by columns `by`, as floats."""
    return 100 * rows.groupby(by, sort=False)["value"].agg(["mean", "min", "max"]).astype(float)
