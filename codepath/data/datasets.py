"""The registry of data sets: from a source's name to its images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from codepath.core.errors import UserError, unknown_name
from codepath.data.data_set import ArrayDataSet, DataSet
from codepath.data.sources.cifar import load_cifar
from codepath.data.sources.digits import load_digit_images
from codepath.data.sources.generated import made_up_images
from codepath.data.sources.image_files import load_images
from codepath.data.sources.imagenet import load_imagenet
from codepath.run.config import DataConfig

_SOURCES: dict[str, Callable[[Path | None], ArrayDataSet]] = {
    "digits": load_digit_images,
    "cifar10": partial(load_cifar, "cifar10"),
    "cifar100": partial(load_cifar, "cifar100"),
    "generated-cifar10": made_up_images("cifar10", 16),
    "generated-cifar100": made_up_images("cifar100", 16),
    "generated-imagenet": made_up_images("imagenet", 32),
}
_IN_FILES = "imagenet"
_OWN = "images"


def source_names() -> list[str]:
    """Names that `load_data_set` knows."""
    return sorted([*_SOURCES, _IN_FILES, _OWN])


def load_data_set(
    source: str,
    data: Path | None = None,
    crop: int = 0,
    subset: bool = False,
    originals: bool = False,
    size: int = 0,
) -> DataSet:
    """The data set of a source, from `data` where the source needs files.

    Args:
        source: one of `source_names()`.
        data: where the source's files are.
        crop: side of the images that loaders yield, for a source whose images have many sizes;
            0: the source's own.
        subset: whether a subset of the data set is meant.
        originals: whether betons are ignored, as they are when betons are made.
        size: of the source "images": pixels a side that each image is resized to (its central
            square); 0: all images have one size.

    Raises UserError for an unknown name, and where the files are absent or damaged.
    """
    if source == _IN_FILES:
        return load_imagenet(data, crop, subset, originals)
    if source not in source_names():
        raise unknown_name("data source", source, source_names())
    if crop or subset:
        raise UserError(f"data.crop and data.subset are for {_IN_FILES}: leave them out")
    if source == _OWN:
        return load_images(data, size)
    if size:
        raise UserError(f"data.size is for {_OWN}: leave it out")
    return _SOURCES[source](data)


def load_configured(config: DataConfig, data: Path | None = None) -> DataSet:
    """The data set of a run's configuration; errors as of `load_data_set`."""
    return load_data_set(
        config.source, data, crop=config.crop, subset=config.subset, size=config.size
    )
