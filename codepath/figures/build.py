"""Every figure that the rows allow, for every data set and scale in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from codepath.experiments.coverage import benchmark_files, gaps
from codepath.figures import (
    codes,
    compression,
    concat,
    cost,
    decoding,
    exits,
    exponent,
    fig2a,
    fig2b,
    fig2c,
    fig3,
    fig4,
    fig5,
    fig6,
    fig7,
    fig8,
    linear,
    paths,
    style,
    variants,
)
from codepath.runtime import UserError, make_directory
from codepath.store import read_benchmark

PANELS = (
    *(fig2a, fig2b, fig2c, fig3, fig4, fig5, fig6, fig7, fig8, exponent, concat, variants),
    *(exits, linear, compression, paths),
)
"""Modules with NAME, TITLE, ITEM, load(results) and draw(ax, rows, dataset); a SHAPE of several
panels makes `ax` a sequence, a SIZE in inches is for what a column cannot hold, and
finish(ax, rows) comes when all else is drawn."""
OVERVIEW = (fig2a, fig2b, fig3, fig4)
STUDIES = (decoding, codes)
"""Modules that draw one file of results/benchmarks/."""


class Drawing(NamedTuple):
    """A figure, not yet written."""

    name: str
    item: str
    figure: Figure
    caption: str
    """What it shows, with scale, seeds and n."""
    run_ids: tuple[str, ...]


class Built(NamedTuple):
    """What `build_figures` did."""

    paths: list[Path]
    missing: list[str]
    """A line for each experiment without rows, with the command that makes them."""


def _settings(frames: dict[str, pd.DataFrame]) -> list[tuple[str, str]]:
    return sorted(
        {
            (str(dataset), str(scale))
            for rows in frames.values()
            for dataset, scale in zip(rows["dataset"], rows["scale"], strict=True)
        }
    )


def _panel_figure(
    panels: Sequence[ModuleType], rows: dict[str, pd.DataFrame], dataset: str, width: float
) -> Figure:
    """One figure of one panel, of one module with several, or of four panels."""
    first = panels[0]
    shape = (2, 2) if len(panels) == 4 else getattr(first, "SHAPE", (1, 1))
    height = {(1, 1): 3.0, (2, 2): 5.8}.get(shape, 1.6 * shape[0])
    size = getattr(first, "SIZE", (width, height)) if len(panels) == 1 else (width, height)
    figure, axes = plt.subplots(*shape, figsize=size, squeeze=False)
    if hasattr(first, "SHAPE"):
        first.draw(list(axes.flat), rows[first.NAME], dataset)
    else:
        for ax, panel in zip(axes.flat, panels, strict=True):
            panel.draw(ax, rows[panel.NAME], dataset)
            if ax.axison:  # else it made room for axes with titles of their own
                ax.set_title(panel.TITLE, loc="left", fontweight="bold")
    fontsize = 7 if size[0] < style.TWO_COLUMNS else 8
    about = style.describe(rows[first.NAME], style.has_bars(figure))
    figure.suptitle(about, fontsize=fontsize)
    for ax, panel in zip(axes.flat, panels, strict=False):
        if hasattr(panel, "finish"):
            panel.finish(ax, rows[panel.NAME])
    return figure


def drawings(results: Path, wide: bool = False, overview: bool = True) -> Iterator[Drawing]:
    """Every figure in turn; each is closed when the next is asked for.

    Args:
        results: folder with the rows.
        wide: single panels a second time, two columns wide, as NAME-wide.
        overview: also the four main panels in one.

    Raises UserError where there are no rows at all.
    """
    style.use_style()
    frames = {panel.NAME: panel.load(results) for panel in PANELS}
    settings = _settings(frames)
    if not settings:
        raise UserError(f"no rows of a coded network in {results}: run an experiment first")
    for dataset, scale in settings:
        chosen = {
            name: rows[(rows["dataset"] == dataset) & (rows["scale"] == scale)]
            for name, rows in frames.items()
        }
        pictures: dict[str, tuple[ModuleType, ...]] = {
            panel.NAME: (panel,) for panel in PANELS if len(chosen[panel.NAME])
        }
        if overview and all(panel.NAME in pictures for panel in OVERVIEW):
            pictures["overview"] = OVERVIEW
        for name, panels in pictures.items():
            single = len(panels) == 1 and not {"SHAPE", "SIZE"} & vars(panels[0]).keys()
            widths = {"": style.ONE_COLUMN if single else style.TWO_COLUMNS}
            if wide and single:
                widths["-wide"] = style.TWO_COLUMNS
            rows = pd.concat([chosen[panel.NAME] for panel in panels])
            for suffix, width in widths.items():
                figure = _panel_figure(panels, chosen, dataset, width)
                title = panels[0].TITLE if single else ""
                yield Drawing(
                    f"{name}-{dataset}-{scale}{suffix}",
                    panels[0].ITEM if len(panels) == 1 else "Overview",
                    figure,
                    f"{title}. {style.describe(rows, style.has_bars(figure))}".lstrip(". ").replace(
                        "\n", "; "
                    ),
                    tuple(sorted(set(rows["run_id"]))),
                )
                plt.close(figure)
    yield from _studies(results)


def _studies(results: Path) -> Iterator[Drawing]:
    drawn: list[tuple[str, str, Figure]] = []
    for study in STUDIES:
        for path in benchmark_files(results, study.BENCHMARK):
            name = study.NAME + path.stem.removeprefix(study.BENCHMARK)
            drawn.append((name, study.ITEM, study.draw(read_benchmark(path))))
    networks, blocks = (
        {path.stem.removeprefix(f"{name}-"): path for path in benchmark_files(results, name)}
        for name in cost.BENCHMARK
    )
    for device in sorted(set(networks) & set(blocks)):
        both = (read_benchmark(of[device]) for of in (networks, blocks))
        drawn.append((f"{cost.NAME}-{device}", cost.ITEM, cost.draw(*both)))
    for name, item, figure in drawn:
        caption = (figure.get_suptitle()).replace("\n", "; ")
        yield Drawing(name, item, figure, caption, ())
        plt.close(figure)


def build_figures(
    results: Path,
    out: Path,
    on_file: Callable[[Path], None] = lambda _: None,
    scale: str | None = None,
    wide: bool = False,
) -> Built:
    """Draw all figures from the rows in `results` into `out`/figures, as PDF and PNG.

    Args:
        results: folder with the rows.
        out: where figures/ is made.
        on_file: called with each file that was written.
        scale: whose rows are called missing (see `gaps`).
        wide: single panels also two columns wide.

    Raises UserError where there are no rows at all.
    """
    folder = out / "figures"
    built = Built(
        [], [gap.line() for gap in gaps(results, scale) if _draws(gap.experiment.pictures)]
    )
    for drawing in drawings(results, wide):
        make_directory(folder)
        for path in style.save(drawing.figure, folder, drawing.name):
            built.paths.append(path)
            on_file(path)
    return built


def _draws(pictures: tuple[str, ...]) -> bool:
    names = {module.NAME for module in (*PANELS, *STUDIES, cost)}
    return any(picture in names for picture in pictures)
