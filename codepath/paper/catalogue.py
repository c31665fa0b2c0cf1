"""Every figure that the rows allow, for each of their data sets and scales; drawn on demand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from codepath.core.errors import UserError
from codepath.experiments.coverage import benchmark_files
from codepath.paper import style
from codepath.paper.panel import Panel, Study
from codepath.paper.pictures import (
    compression_curve,
    concat,
    cost_of_coding,
    decoder_depth,
    exit_curves,
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
    objective,
    path_energies,
    scheme_distances,
    variants,
)
from codepath.paper.upkeep import code_digest, digest
from codepath.run.config import SCALES
from codepath.store import RUNS, read_benchmark

PANELS: tuple[Panel, ...] = (
    fig2a.PANEL,
    fig2b.PANEL,
    fig2c.PANEL,
    fig3.PANEL,
    fig4.PANEL,
    fig5.PANEL,
    fig6.PANEL,
    fig7.PANEL,
    fig8.PANEL,
    exponent.PANEL,
    concat.PANEL,
    variants.PANEL,
    exit_curves.PANEL,
    linear.PANEL,
    objective.PANEL,
    compression_curve.PANEL,
    path_energies.PANEL,
)
OVERVIEW = (fig2a.PANEL, fig2b.PANEL, fig3.PANEL, fig4.PANEL)
STUDIES: tuple[Study, ...] = (decoder_depth.STUDY, scheme_distances.STUDY, cost_of_coding.STUDY)


class Drawing(NamedTuple):
    """A figure, not yet written."""

    name: str
    item: str
    figure: Figure
    caption: str
    """Says what the figure shows, with scale, seeds and n."""
    run_ids: tuple[str, ...]


@dataclass(frozen=True)
class Picture:
    """A figure, not yet drawn. It holds plain values, so that another process can draw it."""

    name: str
    fingerprint: str
    """Checksum of all that it is a function of: rows, size, code, style, libraries."""
    modules: tuple[str, ...]
    """The names of its panels, or the name of its study."""
    on_page: bool
    """Whether the report shows it; it leaves out what other figures show already."""
    rows: tuple[pd.DataFrame, ...] = ()
    """The rows of each panel."""
    dataset: str = ""
    width: float = 0.0
    """Inches."""
    files: tuple[Path, ...] = ()
    """The files of a study's benchmark rows."""

    @property
    def axes(self) -> int:
        """About how many pairs of axes it has; the more, the longer it takes to draw."""
        if self.files:
            return 8
        return sum(_PANELS[name].axes for name in self.modules)

    def draw(self) -> Drawing:
        """Draw it."""
        if self.files:
            study = _STUDIES[self.modules[0]]
            figure = study.draw(*map(read_benchmark, self.files))
            caption = figure.get_suptitle().replace("\n", "; ")
            return Drawing(self.name, study.item, figure, caption, ())
        panels = [_PANELS[name] for name in self.modules]
        rows = dict(zip(self.modules, self.rows, strict=True))
        figure = _panel_figure(panels, rows, self.dataset, self.width)
        every = pd.concat(self.rows)
        about = style.describe(every, style.has_bars(figure))
        title = panels[0].title if _is_single(panels) else ""
        return Drawing(
            self.name,
            panels[0].item if len(panels) == 1 else "Overview",
            figure,
            f"{title}. {about}".lstrip(". ").replace("\n", "; "),
            tuple(sorted(set(every["run_id"]))),
        )


_PANELS = {panel.name: panel for panel in PANELS}
_STUDIES = {study.name: study for study in STUDIES}


def _is_single(panels: Sequence[Panel]) -> bool:
    """Whether a figure has one pair of axes, which can be drawn at any width."""
    return len(panels) == 1 and panels[0].is_single


def check_rows(results: Path) -> None:
    """Raise UserError where there are no runs at all; quicker than asking for the pictures."""
    if not (results / f"{RUNS}.csv").exists():
        raise _no_rows(results)


def _no_rows(results: Path) -> UserError:
    return UserError(f"no rows of a coded network in {results}: run an experiment first")


def pictures(results: Path, wide: bool = False) -> list[Picture]:
    """All figures that can be drawn from the rows in `results`.

    Args:
        results: folder with the rows.
        wide: add single panels a second time, two columns wide, as NAME-wide.

    Raises UserError where there are no rows at all.
    """
    frames = {panel.name: panel.load(results) for panel in PANELS}
    settings = _settings(frames)
    if not settings:
        raise _no_rows(results)
    found: list[Picture] = []
    for dataset, scale in settings:
        chosen = {
            name: rows[(rows["dataset"] == dataset) & (rows["scale"] == scale)]
            for name, rows in frames.items()
        }
        modules: dict[str, tuple[Panel, ...]] = {
            panel.name: (panel,) for panel in PANELS if len(chosen[panel.name])
        }
        if all(panel.name in modules for panel in OVERVIEW):
            modules["overview"] = OVERVIEW
        for name, panels in modules.items():
            single = _is_single(panels)
            widths = {"": style.ONE_COLUMN if single else style.TWO_COLUMNS}
            if wide and single:
                widths["-wide"] = style.TWO_COLUMNS
            rows = tuple(chosen[panel.name] for panel in panels)
            for suffix, width in widths.items():
                full = f"{name}-{dataset}-{scale}{suffix}"
                found.append(
                    Picture(
                        name=full,
                        fingerprint=_fingerprint(full, width, *map(_digest_rows, rows)),
                        modules=tuple(panel.name for panel in panels),
                        on_page=not suffix and panels is not OVERVIEW,
                        rows=rows,
                        dataset=dataset,
                        width=width,
                    )
                )
    return found + list(_studies(results))


def drawings(results: Path, wide: bool = False) -> Iterator[Drawing]:
    """Every figure in turn.

    The arguments are those of `pictures`.
    """
    style.use_style()
    for picture in pictures(results, wide):
        yield picture.draw()


def _settings(frames: dict[str, pd.DataFrame]) -> list[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for rows in frames.values():
        pairs = rows[["dataset", "scale"]].drop_duplicates()
        found.update(pairs.astype(str).itertuples(index=False, name=None))
    return sorted(found, key=lambda setting: (setting[0], SCALES.index(setting[1])))


def _fingerprint(name: str, *parts: object) -> str:
    return digest([code_digest().encode(), name.encode(), *(str(part).encode() for part in parts)])


def _digest_rows(rows: pd.DataFrame) -> str:
    values = pd.util.hash_pandas_object(rows, index=False).to_numpy().tobytes()
    return digest([",".join(map(str, rows.columns)).encode(), values])


def _panel_figure(
    panels: Sequence[Panel], rows: dict[str, pd.DataFrame], dataset: str, width: float
) -> Figure:
    """A figure of one panel, of one panel with several pairs of axes, or of four panels."""
    first = panels[0]
    shape = (2, 2) if len(panels) == 4 else first.shape or (1, 1)
    height = {(1, 1): 3.0, (2, 2): 5.8}.get(shape, 1.6 * shape[0])
    size = (first.size if len(panels) == 1 else None) or (width, height)
    figure = style.new_figure(*size)
    axes = figure.subplots(*shape, squeeze=False)
    if first.shape:
        first.draw(list(axes.flat), rows[first.name], dataset)
    else:
        for ax, panel in zip(axes.flat, panels, strict=True):
            panel.draw(ax, rows[panel.name], dataset)
            if ax.axison:  # else the panel put axes with titles of their own here
                ax.set_title(panel.title, loc="left", fontweight="bold")
    fontsize = 7 if size[0] < style.TWO_COLUMNS else 8
    about = style.describe(rows[first.name], style.has_bars(figure))
    figure.suptitle(about, fontsize=fontsize, parse_math=False)
    for ax, panel in zip(axes.flat, panels, strict=False):
        if panel.finish:
            panel.finish(ax, rows[panel.name])
    return figure


def _studies(results: Path) -> Iterator[Picture]:
    for study in STUDIES:
        found = [
            {path.stem.removeprefix(name).removeprefix("-"): path for path in paths}
            for name in study.benchmarks
            for paths in [benchmark_files(results, name)]
        ]
        for device in sorted(set(found[0]).intersection(*found[1:])):
            name = f"{study.name}-{device}" if device else study.name
            yield _study(name, study, *(files[device] for files in found))


def _study(name: str, study: Study, *files: Path) -> Picture:
    fingerprint = _fingerprint(name, *(digest([path.read_bytes()]) for path in files))
    return Picture(name, fingerprint, (study.name,), on_page=True, files=files)
