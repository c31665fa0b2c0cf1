"""Which loader serves which images: the choice of the backend, and the making of the loader."""

from __future__ import annotations

import importlib.util

from codepath.core.errors import UserError, unknown_name
from codepath.data.augment import Augmentation, CropAugmentation
from codepath.data.beton import Beton
from codepath.data.beton_writer import cannot_be_written, ensure_beton
from codepath.data.data_set import ArrayDataSet, ArraySplit, DataSet
from codepath.data.file_loader import FileLoader
from codepath.data.files import FileDataSet, FileSplit
from codepath.data.loaders import (
    MOST_THREADS,
    ArrayLoader,
    Loader,
    LoaderOptions,
    Shard,
    usable_workers,
)
from codepath.run.config import DataConfig

BACKENDS = ("auto", "ffcv", "torch")


def choose_backend(images: DataSet, options: LoaderOptions) -> tuple[str, str]:
    """(backend, why): "ffcv" or "torch", and the reason where "auto" leaves FFCV out."""
    if options.backend not in BACKENDS:
        raise unknown_name("loader", options.backend, BACKENDS)
    if options.backend == "torch":
        return "torch", ""
    reason = ""
    if images.image_shape[0] != 3:
        reason = f"FFCV stores RGB images, {images.dataset} has {images.image_shape[0]} channel"
    elif isinstance(images, FileDataSet) and not isinstance(images.train.files, Beton):
        reason = f"no beton: `codepath data build {images.dataset}` makes one"
    elif importlib.util.find_spec("ffcv") is None:
        reason = "FFCV is not installed, `codepath doctor` says why"
    elif isinstance(images, ArrayDataSet):
        reason = cannot_be_written(images, "train", options.betons)
        reason = f"FFCV's file cannot be written: {reason}" if reason else ""
    if reason and options.backend == "ffcv":
        raise UserError(f"{reason}: use the torch loader")
    return ("torch", reason) if reason else ("ffcv", "")


def training_loader(
    images: DataSet,
    config: DataConfig,
    batch_size: int,
    seed: int,
    options: LoaderOptions | None = None,
    shard: Shard | None = None,
) -> Loader:
    """The augmented training split in the order of (seed, epoch); whole batches only.

    Both backends yield the same bytes in the same order.

    Args:
        images: the data set.
        config: its augmentation.
        batch_size: B, over all processes.
        seed: of order and augmentation.
        options: what changes the speed alone.
        shard: this process's share of each batch.
    """
    options = options or LoaderOptions()
    workers = usable_workers(options.workers)
    backend, _ = choose_backend(images, options)
    if isinstance(images, FileDataSet):
        crops = CropAugmentation.from_config(config, images.mean, images.train.crop)
        if backend == "ffcv":
            return _ffcv_loader(images, batch_size, crops, seed, options, shard)
        return FileLoader(images.train, batch_size, crops, True, seed, workers, shard)
    augmentation = Augmentation.from_config(config, images.mean)
    if backend == "ffcv":
        return _ffcv_loader(images, batch_size, augmentation, seed, options, shard)
    threads = min(workers, MOST_THREADS)
    return ArrayLoader(images.train, batch_size, augmentation, True, seed, threads, shard)


def _ffcv_loader(
    images: DataSet,
    batch_size: int,
    augmentation: Augmentation | CropAugmentation,
    seed: int,
    options: LoaderOptions,
    shard: Shard | None,
) -> Loader:
    from codepath.data.ffcv_loader import FfcvLoader  # FFCV may not be installed

    beton = images.train.files if isinstance(images, FileDataSet) else None
    if not isinstance(beton, Beton):
        beton = Beton(ensure_beton(images, "train", options.betons))
    workers = usable_workers(options.workers)
    return FfcvLoader(beton, batch_size, augmentation, seed, workers, shard)


def evaluation_loader(
    split: ArraySplit | FileSplit,
    batch_size: int = 500,
    workers: int = 0,
    shard: Shard | None = None,
) -> Loader:
    """Every image of a split once, over all processes, in order and without augmentation."""
    if isinstance(split, FileSplit):
        return FileLoader(split, batch_size, threads=usable_workers(workers), shard=shard)
    return ArrayLoader(split, batch_size, shard=shard)
