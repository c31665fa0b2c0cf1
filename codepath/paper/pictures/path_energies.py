"""Measured paths: mean energy of every class and path, beside the codewords."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from codepath.core.errors import UserError
from codepath.core.files import atomic_path, make_directory
from codepath.experiments.coverage import rows_of_picture, setting_of
from codepath.paper import style
from codepath.paper.panel import Panel
from codepath.paper.scheme_drawing import SUFFIXES

NAME = "paths"
TITLE = "Paths as measured"
ITEM = "ours"
SIZE = (style.TWO_COLUMNS, 5.2)
MOST_CELLS = 20
"""Codewords are outlined and names written up to so many classes, numbers up to so many paths."""
MOST_COLUMNS = 3
MOST_TICKS = 12
"""Every path is numbered where there are at most so many; otherwise every fourth is."""
MAP = LinearSegmentedColormap.from_list("energy", ["white", "#9fc5e8", style.BLUE, "#041f3a"])
HIGHEST = 1.5
"""r E at the dark end of the colours; a path that is used as meant has 1."""


class BlockTable(NamedTuple):
    """One block's measured paths."""

    block: int
    mean: NDArray[np.float64]
    """(K, N) mean of r E"""
    codewords: NDArray[np.uint8]
    """(K, N)"""
    bit_error_rate: float


def load(results: Path) -> pd.DataFrame:
    """Energies and codewords of the first seed, and its bit-error rates."""
    rows = rows_of_picture(results, "paths", NAME)
    setting = rows.groupby(["dataset", "scale"])
    rows = rows[rows["seed"] == setting["seed"].transform("min")]
    measured = setting_of(rows[rows["metric"] == "energy"])
    return rows[setting_of(rows).isin(set(measured))]


def tables_of(rows: pd.DataFrame) -> tuple[list[BlockTable], list[str]]:
    """The blocks' tables in `load`'s rows of one setting, and the class names."""
    names = list(dict.fromkeys(rows[rows["metric"] == "energy"]["class"]))
    tables = []
    for block in sorted(rows["block"].unique()):
        here = rows[rows["block"] == block]
        parts = {
            metric: here[here["metric"] == metric]
            .pivot(index="class", columns="path", values="value")
            .reindex(names)
            .to_numpy(float)
            for metric in ("energy", "codeword")
        }
        rate = here[(here["metric"] == "bit_error") & here["path"].isna()]["value"].iloc[0]
        tables.append(
            BlockTable(int(block), parts["energy"], parts["codeword"].astype(np.uint8), rate)
        )
    return tables, names


def draw(ax: Axes, rows: pd.DataFrame, dataset: str) -> None:  # noqa: ARG001
    """Draw a table for every block, in the place of `ax`."""
    tables, names = tables_of(rows)
    place = ax.get_subplotspec()
    assert place is not None
    lines, columns = _grid(len(tables))
    grid = place.subgridspec(lines, columns)
    ax.set_axis_off()
    figure = ax.figure
    axes = np.array([figure.add_subplot(cell) for cell in grid])  # type: ignore[attr-defined]
    _draw_tables(axes.reshape(lines, -1), tables, names)


def draw_paths(
    tables: Sequence[BlockTable], class_names: Sequence[str], about: str, path: Path
) -> None:
    """Write the picture of a run to `path`, whose suffix chooses the format.

    Raises UserError for another suffix than .png, .pdf or .svg.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: a picture is one of {', '.join(SUFFIXES)}")
    make_directory(path.parent)
    style.use_style()
    lines, columns = _grid(len(tables))
    height = 2.5 if len(class_names) <= MOST_CELLS else 3.2
    figure = style.new_figure(2.6 * columns + 0.6, height * lines + 0.5)
    axes = figure.subplots(lines, columns, squeeze=False)
    _draw_tables(axes, tables, class_names)
    figure.suptitle(f"Mean energy of every path, by class; {about}", fontsize=9, parse_math=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], dpi=200)


def _grid(tables: int) -> tuple[int, int]:
    """Lines and columns of a grid that holds so many tables."""
    lines = -(-tables // MOST_COLUMNS)
    return lines, -(-tables // lines)


def _draw_tables(
    axes: NDArray[Any], tables: Sequence[BlockTable], class_names: Sequence[str]
) -> None:
    shown = None
    for place, ax in enumerate(axes.flat):
        if place >= len(tables):
            ax.set_visible(False)
            continue
        shown = _draw_table(ax, tables[place], class_names)
        if place % axes.shape[1]:
            ax.set_yticklabels([])
            ax.set_ylabel("")
    if shown is not None:
        bar = axes.flat[0].figure.colorbar(shown, ax=list(axes.flat), shrink=0.7, pad=0.01)
        outlined = "; outlined: the codeword's ones" if len(class_names) <= MOST_CELLS else ""
        bar.set_label(f"mean of r E (1: used as meant{outlined})", fontsize=7)


def _draw_table(ax: Axes, table: BlockTable, class_names: Sequence[str]) -> Any:
    shown = ax.imshow(
        table.mean, cmap=MAP, vmin=0, vmax=HIGHEST, aspect="auto", interpolation="nearest"
    )
    ax.grid(False)
    K, N = table.mean.shape
    if K <= MOST_CELLS:
        ax.set_yticks(range(K), class_names, parse_math=False)
        for k, n in np.argwhere(table.codewords):
            ax.add_patch(
                Rectangle((n - 0.5, k - 0.5), 1, 1, fill=False, edgecolor=style.ORANGE, lw=1.3)
            )
    else:
        ax.set_ylabel("class")
    ax.set_xticks(range(0, N, 1 if N <= MOST_TICKS else 4))
    ax.set_xlabel("path")
    ax.set_title(
        f"block {table.block}: {100 * table.bit_error_rate:.1f} % wrong bits",
        loc="left",
        fontweight="bold",
    )
    return shown


PANEL = Panel(name=NAME, title=TITLE, item=ITEM, load=load, draw=draw, size=SIZE)
