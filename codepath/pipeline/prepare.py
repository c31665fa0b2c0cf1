"""Getting a data set ready before runs need it."""

from __future__ import annotations

from pathlib import Path

from codepath.data import (
    ArrayDataSet,
    LoaderOptions,
    choose_backend,
    describe_images,
    load_configured,
)
from codepath.data.beton_writer import ensure_beton
from codepath.run.config import DataConfig


def beton_folder(data: Path | None) -> Path:
    """The folder of FFCV's files: in the data's folder where there is one, else in data/."""
    return (data if data is not None and data.is_dir() else Path("data")) / "betons"


def prepare_data(config: DataConfig, data: Path | None = None, backend: str = "auto") -> list[str]:
    """Get a data set ready, so that runs do not do this side by side; return lines about it.

    Archives are downloaded or found, and files are listed. Where FFCV will load images that are
    held in memory, its betons are written. A repeated call finds the work done. ImageNet's betons
    are not written here, since they are a choice (`codepath data build imagenet`); they are used
    where they are.

    Args:
        config: the data set of the runs.
        data: where its files are (see `load_data_set`).
        backend: ffcv, torch or auto.
    """
    images = load_configured(config, data)
    options = LoaderOptions(backend, beton_folder(data))
    chosen, reason = choose_backend(images, options)
    if chosen == "ffcv" and isinstance(images, ArrayDataSet):
        ensure_beton(images, "train", options.betons)
    return [*describe_images(images)[:2], f"{chosen} loader{f' ({reason})' if reason else ''}"]
