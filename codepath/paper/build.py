"""Draws the figures that are not up to date, in as many processes as there are cores."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from codepath.core.files import make_directory, write_text
from codepath.core.machine import available_cores
from codepath.core.signals import EXIT_INTERRUPTED, InterruptedRun
from codepath.experiments.coverage import gaps
from codepath.paper import style
from codepath.paper.catalogue import PANELS, STUDIES, Picture, check_rows, pictures
from codepath.paper.fonts import use_slim_fonts
from codepath.paper.gallery import FILES, PAGE, Entry, Gallery
from codepath.paper.hover import to_svg
from codepath.paper.upkeep import file_digest, inputs_digest


def draw_files(gallery: Gallery, picture: Picture, suffixes: Sequence[str]) -> Entry:
    """Draw a picture and write its files; `suffixes` is FILES or PAGE."""
    drawing = picture.draw()
    figure, name = drawing.figure, picture.name
    if "pdf" in suffixes:
        style.save(figure, make_directory(gallery.out / "figures"), name)
    write_text(gallery.path(name, "svg"), to_svg(figure, name))
    broad = bool(figure.get_figwidth() > style.ONE_COLUMN)
    return Entry(
        name,
        drawing.item,
        drawing.caption,
        drawing.run_ids,
        broad,
        picture.on_page,
        picture.fingerprint,
        {suffix: file_digest(gallery.path(name, suffix)) for suffix in suffixes},
    )


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn an interrupt of this process, or of one that draws, into InterruptedRun in words."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise InterruptedRun(
            "interrupted: what was drawn is kept; repeat the command to go on"
        ) from None


@contextlib.contextmanager
def _painters(gallery: Gallery, processes: int | None) -> Iterator[ProcessPoolExecutor | None]:
    """Processes that draw, which get ready while this one reads the rows.

    Yields None where this process is to draw by itself.

    Args:
        gallery: its cache keeps style and fonts.
        processes: at most so many; None: as many as there are cores.
    """
    cache = make_directory(gallery.cache)
    processes = processes or available_cores()
    if processes == 1:
        _get_ready(cache)
        yield None
        return
    # Forked processes have pandas and matplotlib loaded already; on macOS forking is not safe.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(
        processes, mp_context=context, initializer=_start_painter, initargs=(cache, os.getpid())
    ) as pool:
        try:
            pool.submit(int)  # starts the processes
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


def _start_painter(cache: Path, parent: int) -> None:
    """Begin a process that draws.

    After an interrupt the process finishes its picture and draws no other. It ends as soon as its
    parent is gone.
    """

    def interrupted(*_: object) -> None:
        # No exception: one that is raised inside a destructor is printed and forgotten.
        global _stopped
        _stopped = True

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    signal.signal(signal.SIGINT, interrupted)
    threading.Thread(target=watch, daemon=True).start()
    _get_ready(cache)


_stopped = False
"""Whether this process was interrupted; it then begins no picture that still waits."""


def _paint(gallery: Gallery, picture: Picture, suffixes: Sequence[str]) -> Entry:
    if _stopped:
        sys.exit(EXIT_INTERRUPTED)
    return draw_files(gallery, picture, suffixes)


def _get_ready(cache: Path) -> None:
    style.use_style(cache)
    use_slim_fonts(cache / "fonts")


def _bring_up_to_date(
    gallery: Gallery,
    wanted: Sequence[Picture],
    suffixes: Sequence[str],
    force: bool,
    pool: ProcessPoolExecutor | None,
) -> Iterator[Entry]:
    """Draw the pictures whose files are not up to date; yield each one when it is finished."""
    todo = [
        picture
        for picture in wanted
        if force or not gallery.holds(picture.name, picture.fingerprint, suffixes)
    ]
    todo.sort(key=lambda picture: -picture.axes)  # none of the large ones is left to the end
    if pool is None:
        entries = (draw_files(gallery, picture, suffixes) for picture in todo)
    else:
        calls = [pool.submit(_paint, gallery, picture, suffixes) for picture in todo]
        entries = (call.result() for call in as_completed(calls))
    for entry in entries:
        gallery.add(entry)
        yield entry


class Built(NamedTuple):
    """What `build_figures` did."""

    paths: list[Path]
    """The files of all figures, in the figures' order."""
    drawn: int
    """How many pictures were drawn: those not up to date, or all with `force`."""
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
        out: folder in which figures/ is made.
        on_file: called with each file that was written.
        scale: the scale whose rows are called missing (see `gaps`).
        wide: draw single panels two columns wide as well.
        force: draw the figures that are up to date too.
        processes: at most so many draw; None: as many as there are cores.

    Raises UserError where there are no rows at all, and InterruptedRun on SIGINT.
    """
    check_rows(results)
    gallery, drawn, inputs = Gallery(out), 0, inputs_digest(results)
    with _explained(), _painters(gallery, processes) as pool:
        wanted = pictures(results, wide)
        for entry in _bring_up_to_date(gallery, wanted, FILES, force, pool):
            drawn += 1
            for suffix in ("pdf", "png"):
                on_file(gallery.path(entry.name, suffix))
    gallery.finish(inputs, [picture.name for picture in wanted])
    files = [gallery.path(picture.name, suffix) for picture in wanted for suffix in ("pdf", "png")]
    missing = [gap.line() for gap in gaps(results, scale) if _draws(gap.experiment.pictures)]
    return Built(files, drawn, missing)


def _draws(names: tuple[str, ...]) -> bool:
    drawn = {panel.name for panel in PANELS} | {study.name for study in STUDIES}
    return any(name in drawn for name in names)


def draw_page(results: Path, gallery: Gallery, force: bool = False) -> list[Entry]:
    """The pictures of the report; first draws those not up to date, or with `force` all."""
    check_rows(results)
    with _explained(), _painters(gallery, None) as pool:
        wanted = [picture for picture in pictures(results) if picture.on_page]
        for _ in _bring_up_to_date(gallery, wanted, PAGE, force, pool):
            pass
    return [gallery.entries[picture.name] for picture in wanted]
