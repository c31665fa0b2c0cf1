"""Getting a data set ready before runs need it."""

from __future__ import annotations

from pathlib import Path

from codepath.data import (
    ImageSet,
    LoaderOptions,
    choose_backend,
    describe_images,
    load_image_set,
)
from codepath.data.beton import ensure_beton
from codepath.run.config import DataConfig


def beton_folder(data: Path | None) -> Path:
    """Where FFCV's files are kept: beside the data where that is a folder."""
    return (data if data is not None and data.is_dir() else Path("data")) / "betons"


def prepare_data(config: DataConfig, data: Path | None = None, backend: str = "auto") -> list[str]:
    """Get a data set ready for runs, so that they do not do it side by side; describe it.

    Archives are downloaded or found, files are listed, and where FFCV will load images that are in
    memory, its betons are written. Repeating it finds the work done. ImageNet's betons are a choice
    (`codepath data build imagenet`) and are used where they are.

    Args:
        config: the data set of the runs.
        data: where its files are (see `load_image_set`).
        backend: ffcv, torch or auto.
    """
    images = load_image_set(config.source, data, config.crop, config.subset)
    options = LoaderOptions(backend, beton_folder(data))
    chosen, reason = choose_backend(images, options)
    if chosen == "ffcv" and isinstance(images, ImageSet):
        ensure_beton(images, "train", options.betons)
    return [*describe_images(images)[:2], f"{chosen} loader{f' ({reason})' if reason else ''}"]
