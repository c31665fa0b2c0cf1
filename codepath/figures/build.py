"""Figures as files: those that are not up to date, in as many processes as there are cores."""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt

from codepath.experiments.coverage import gaps
from codepath.figures import cost, style
from codepath.figures.fonts import use_slim_fonts
from codepath.figures.hover import to_svg
from codepath.figures.pictures import PANELS, STUDIES, Picture, pictures
from codepath.figures.upkeep import CACHE, file_digest
from codepath.runtime import available_cores, make_directory, write_text

FILES, PAGE = ("pdf", "png", "svg"), ("svg",)
"""Formats that `build_figures` makes, and that the report needs. SVG goes to the cache alone."""


@dataclass(frozen=True)
class Entry:
    """What was drawn of a picture."""

    name: str
    item: str
    caption: str
    run_ids: tuple[str, ...]
    broad: bool
    """Whether it is broader than a column."""
    fingerprint: str
    checksums: dict[str, str]
    """Format -> SHA-256 of the file."""


class Gallery:
    """The files of the pictures of OUT, and what they were drawn of (OUT/.drawn/pictures.json)."""

    def __init__(self, out: Path) -> None:
        self.out, self.cache = out, out / CACHE
        self.index = self.cache / "pictures.json"
        self.entries: dict[str, Entry] = {}
        try:
            for one in json.loads(self.index.read_text()):
                self.entries[one["name"]] = Entry(**one | {"run_ids": tuple(one["run_ids"])})
        except (OSError, ValueError, KeyError, TypeError):
            self.entries = {}  # absent or damaged: all is drawn anew

    def path(self, name: str, suffix: str) -> Path:
        """Where a picture's file of a format is."""
        return (self.cache if suffix == "svg" else self.out / "figures") / f"{name}.{suffix}"

    def holds(self, picture: Picture, suffixes: Sequence[str]) -> bool:
        """Whether the files of a picture are there, and those of its present rows and code."""
        entry = self.entries.get(picture.name)
        return (
            entry is not None
            and entry.fingerprint == picture.fingerprint
            and all(
                entry.checksums.get(suffix) == file_digest(self.path(picture.name, suffix))
                for suffix in suffixes
            )
        )

    def add(self, entry: Entry) -> None:
        """Note a picture, so that an interrupted call keeps it."""
        self.entries[entry.name] = entry
        text = json.dumps([asdict(one) for one in self.entries.values()], indent=1)
        write_text(self.index, text + "\n")

    def drawn(self, picture: Picture, suffixes: Sequence[str]) -> Entry:
        """Draw a picture and write its files."""
        drawing = picture.draw()
        figure, name = drawing.figure, picture.name
        engine = figure.get_layout_engine()
        if "pdf" in suffixes:
            style.save(figure, make_directory(self.out / "figures"), name)
        else:
            style.fix_layout(figure)  # what follows depends on it
        figure.set_layout_engine(engine)
        figure.suptitle("")  # the page has it as caption
        write_text(self.path(name, "svg"), to_svg(figure, name))
        broad = bool(figure.get_figwidth() > style.ONE_COLUMN)
        plt.close(figure)
        checksums = {suffix: file_digest(self.path(name, suffix)) for suffix in suffixes}
        return Entry(
            name,
            drawing.item,
            drawing.caption,
            drawing.run_ids,
            broad,
            picture.fingerprint,
            checksums,
        )


def bring_up_to_date(
    gallery: Gallery,
    wanted: Sequence[Picture],
    suffixes: Sequence[str],
    force: bool = False,
    processes: int | None = None,
) -> Iterator[Entry]:
    """Draw those pictures whose files are not up to date; yields them as they are finished.

    Args:
        gallery: where the files are.
        wanted: the pictures.
        suffixes: formats, FILES or PAGE.
        force: draw all of them.
        processes: how many at most; None: as many as there are cores.
    """
    global _shared
    todo = [picture for picture in wanted if force or not gallery.holds(picture, suffixes)]
    if not todo:
        return
    style.use_style()
    use_slim_fonts(gallery.cache / "fonts")
    processes = min(processes or available_cores(), len(todo))
    # Pictures hold their rows, and a forked process has them already.
    if processes == 1 or sys.platform != "linux":
        for picture in todo:
            entry = gallery.drawn(picture, suffixes)
            gallery.add(entry)
            yield entry
        return
    _shared = _Shared(gallery, {picture.name: picture for picture in todo}, tuple(suffixes))
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        try:
            for done in as_completed([pool.submit(_draw, picture.name) for picture in todo]):
                gallery.add(done.result())
                yield done.result()
        finally:
            pool.shutdown(cancel_futures=True)
            _shared = None


class _Shared(NamedTuple):
    gallery: Gallery
    pictures: dict[str, Picture]
    suffixes: tuple[str, ...]


_shared: _Shared | None = None
"""What the processes of `bring_up_to_date` find when they are forked."""


def _draw(name: str) -> Entry:
    assert _shared is not None
    return _shared.gallery.drawn(_shared.pictures[name], _shared.suffixes)


class Built(NamedTuple):
    """What `build_figures` did."""

    paths: list[Path]
    """Of all figures, in their order."""
    drawn: int
    """How many pictures were not up to date."""
    missing: list[str]
    """A line for each experiment without rows, with the command that makes them."""


def build_figures(
    results: Path,
    out: Path,
    on_file: Callable[[Path], None] = lambda _: None,
    scale: str | None = None,
    wide: bool = False,
    force: bool = False,
    processes: int | None = None,
) -> Built:
    """Draw all figures from the rows in `results` into `out`/figures, as PDF and PNG.

    Args:
        results: folder with the rows.
        out: where figures/ is made.
        on_file: called with each file that was written.
        scale: whose rows are called missing (see `gaps`).
        wide: single panels also two columns wide.
        force: draw those that are up to date too.
        processes: see `bring_up_to_date`.

    Raises UserError where there are no rows at all.
    """
    gallery, wanted = Gallery(out), pictures(results, wide)
    drawn = 0
    for entry in bring_up_to_date(gallery, wanted, FILES, force, processes):
        drawn += 1
        for suffix in ("pdf", "png"):
            on_file(gallery.path(entry.name, suffix))
    files = [gallery.path(picture.name, suffix) for picture in wanted for suffix in ("pdf", "png")]
    missing = [gap.line() for gap in gaps(results, scale) if _draws(gap.experiment.pictures)]
    return Built(files, drawn, missing)


def _draws(names: tuple[str, ...]) -> bool:
    drawn = {module.NAME for module in (*PANELS, *STUDIES, cost)}
    return any(name in drawn for name in names)
