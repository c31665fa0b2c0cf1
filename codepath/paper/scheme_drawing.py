"""A coding scheme as a picture: its table, and the distances of its codewords."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

from codepath.codes import CodingScheme
from codepath.core.errors import UserError
from codepath.core.files import atomic_path, make_directory
from codepath.paper import style

SUFFIXES = (".png", ".pdf", ".svg")
MOST_NAMES = 20
"""Class names are written beside tables with at most this many rows."""


def draw_scheme(scheme: CodingScheme, name: str, path: Path) -> None:
    """Write a picture of `scheme` to `path`, whose suffix chooses the format.

    Raises UserError for another suffix than .png, .pdf or .svg.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: a picture is one of {', '.join(SUFFIXES)}")
    make_directory(path.parent)
    style.use_style()
    figure = style.new_figure(style.TWO_COLUMNS, 3.2)
    table, distances = figure.subplots(1, 2, width_ratios=(1, 1.2))
    table.imshow(
        scheme.table, cmap="binary", vmin=0, vmax=1.3, aspect="auto", interpolation="nearest"
    )
    table.grid(False)
    table.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    if scheme.class_names and scheme.classes <= MOST_NAMES:
        table.set_yticks(range(scheme.classes), scheme.class_names, parse_math=False)
    else:
        table.yaxis.set_major_locator(MaxNLocator(8, integer=True))
    table.set(xlabel="path n", ylabel="class k")
    table.set_title("Codewords (dark: the path is the class's)", loc="left", fontweight="bold")

    counts = scheme.distance_counts
    present = np.flatnonzero(counts)
    distances.bar(present, counts[present], width=1.2, color=style.BLUE)
    distances.bar(
        scheme.min_distance, counts[scheme.min_distance], width=1.2, color=style.ORANGE,
        hatch="///", edgecolor="white",
    )  # fmt: skip
    distances.set_yscale("log")
    distances.set_xticks(present)
    distances.set_ylim(0.7, counts.max() * 4)
    for distance in present:
        distances.annotate(
            f"{counts[distance]:,}", (distance, counts[distance]), xytext=(0, 2),
            textcoords="offset points", ha="center", fontsize=6,
        )  # fmt: skip
    distances.set(xlabel="Hamming distance of two codewords", ylabel="pairs of classes")
    distances.set_title(
        f"Distances (hatched: d = {scheme.min_distance})", loc="left", fontweight="bold"
    )
    figure.suptitle(
        f"{name}: K = {scheme.classes:,}, N = {scheme.paths}, Nact = {scheme.active}; "
        f"{scheme.column_sums.min()} to {scheme.column_sums.max()} classes per path",
        fontsize=8,
        parse_math=False,
    )
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], dpi=200)
