"""Every figure that the rows allow, for every data set and scale in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import pandas as pd

from codepath.figures import decoding, fig2a, fig2b, fig3, fig4, style
from codepath.runtime import UserError, make_directory

PANELS = (fig2a, fig2b, fig3, fig4)


class Built(NamedTuple):
    """What `build_figures` did."""

    paths: list[Path]
    missing: list[str]
    """A line for each figure without rows."""


def build_figures(
    results: Path, out: Path, on_file: Callable[[Path], None] = lambda _: None
) -> Built:
    """Draw all figures from the rows in `results` into `out`/figures, as PDF and PNG.

    Raises UserError where there are no rows at all.
    """
    frames = {panel.NAME: panel.load(results) for panel in PANELS}
    settings = sorted(
        {
            (str(dataset), str(scale))
            for rows in frames.values()
            for dataset, scale in zip(rows["dataset"], rows["scale"], strict=True)
        }
    )
    if not settings:
        raise UserError(f"no rows of a coded network in {results}: run an experiment first")
    folder = make_directory(out / "figures")
    style.use_style()
    built = Built([], [])
    for dataset, scale in settings:
        chosen = {
            name: rows[(rows["dataset"] == dataset) & (rows["scale"] == scale)]
            for name, rows in frames.items()
        }
        drawable = [panel for panel in PANELS if len(chosen[panel.NAME])]
        built.missing.extend(
            f"{panel.NAME}: no rows of {dataset} at {scale} scale in {results}"
            for panel in PANELS
            if panel not in drawable
        )
        pictures = {panel.NAME: [panel] for panel in drawable}
        if len(drawable) == len(PANELS):
            pictures["overview"] = list(PANELS)
        for name, panels in pictures.items():
            alone = len(panels) == 1
            size = (style.ONE_COLUMN, 2.7) if alone else (style.TWO_COLUMNS, 5.2)
            shape = (1, 1) if alone else (2, 2)
            figure, axes = plt.subplots(*shape, figsize=size, squeeze=False)
            for ax, panel in zip(axes.flat, panels, strict=True):
                panel.draw(ax, chosen[panel.NAME], dataset)
                ax.set_title(panel.TITLE, loc="left", fontweight="bold")
            figure.suptitle(style.describe(chosen[panels[0].NAME]), fontsize=7 if alone else 8)
            for path in style.save(figure, folder, f"{name}-{dataset}-{scale}"):
                built.paths.append(path)
                on_file(path)
            plt.close(figure)
    study = results / decoding.SOURCE
    if study.is_file():
        for path in decoding.draw(pd.read_csv(study), folder):
            built.paths.append(path)
            on_file(path)
    else:
        built.missing.append(f"{decoding.NAME}: no {study}; codepath bench decoding writes it")
    return built
