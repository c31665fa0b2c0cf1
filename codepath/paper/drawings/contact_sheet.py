"""A contact sheet: training images as evaluation and as training see them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codepath.core.errors import UserError
from codepath.core.files import atomic_path, make_directory
from codepath.paper import style
from codepath.paper.scheme_drawing import SUFFIXES

_CELL = 0.8
"""Side of an image on the sheet, in inches."""


def draw_sheet(
    originals: NDArray[np.uint8],
    augmented: NDArray[np.uint8],
    names: Sequence[str],
    columns: Sequence[str],
    title: str,
    path: Path,
) -> None:
    """Write a sheet with a row for each image to `path`, whose suffix chooses the format.

    Args:
        originals: (n, H, W, C), the first column, set apart.
        augmented: (n, E, H, W, C), the other columns.
        names: (n,) what stands beside each row.
        columns: (E,) what stands above each column.
        title: what stands above the whole sheet.
        path: the file to write.

    Raises UserError for another suffix than .png, .pdf or .svg.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: a picture is one of {', '.join(SUFFIXES)}")
    make_directory(path.parent)
    style.use_style()
    rows, epochs = augmented.shape[:2]
    figure = style.new_figure(_CELL * (epochs + 1.25) + 1.0, _CELL * rows + 0.7)
    axes = figure.subplots(
        rows,
        epochs + 2,
        width_ratios=[1, 0.15, *[1] * epochs],
        squeeze=False,
        gridspec_kw={"wspace": 0.02, "hspace": 0.02},
    )
    for row in range(rows):
        axes[row, 1].axis("off")
        cells = [originals[row], *augmented[row]]
        for axis, pixels in zip(axes[row, [0, *range(2, epochs + 2)]], cells, strict=True):
            axis.imshow(pixels.squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
            for spine in axis.spines.values():
                spine.set_visible(False)
        axes[row, 0].set_ylabel(
            names[row], rotation=0, ha="right", va="center", fontsize=7, parse_math=False
        )
    for axis, text in zip(
        axes[0, [0, *range(2, epochs + 2)]], ["evaluation", *columns], strict=True
    ):
        axis.set_title(text, fontsize=7)
    figure.suptitle(title, fontsize=8, parse_math=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], dpi=200)
