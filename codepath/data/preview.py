"""What a data set holds, and what training sees of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codepath.data.augment import Augmentation, CropAugmentation
from codepath.data.beton import Beton
from codepath.data.data_set import ArraySplit, DataSet
from codepath.data.files import FileDataSet, FileSplit
from codepath.data.resize import central_crop
from codepath.run.config import DataConfig

_LOOKED_AT = 200
"""To describe a split in files, the sizes of at most this many images are read."""


class Preview(NamedTuple):
    """Training images before and after augmentation."""

    originals: NDArray[np.uint8]
    """(n, H, W, C), as evaluation would see them."""
    augmented: NDArray[np.uint8]
    """(n, E, H, W, C), in each of E epochs."""
    indices: NDArray[np.int64]
    """(n,) places in the training split."""


def preview(
    images: DataSet, config: DataConfig, seed: int, epochs: Sequence[int], number: int
) -> Preview:
    """The augmentation of a few training images, spread evenly over the split.

    Args:
        images: the data set.
        config: the recipe; UserError where it does not fit the images.
        seed: of the run.
        epochs: the epochs, counted from 0.
        number: n, the number of images; fewer where the split has fewer.
    """
    size = len(images.train)
    places = np.linspace(0, size - 1, min(number, size)).round().astype(np.int64)
    C, H, W = images.image_shape
    augmented = np.empty((len(epochs), len(places), H, W, C), np.uint8)
    if isinstance(images, FileDataSet):
        split = images.train
        crops = CropAugmentation.from_config(config, images.mean, split.crop)
        for out, epoch in zip(augmented, epochs, strict=True):
            crops.apply(split.image, seed, epoch, places, out)
        originals = np.stack([central_crop(split.image(i), split.crop) for i in places.tolist()])
    else:
        policy = Augmentation.from_config(config, images.mean)
        for out, epoch in zip(augmented, epochs, strict=True):
            policy.apply(images.train.images, places, seed, epoch, places, out)
        originals = images.train.images[places]
    return Preview(originals, augmented.swapaxes(0, 1), places)


def describe_images(images: DataSet) -> list[str]:
    """Lines with the source in words, sizes of the splits and their images, images per class."""
    lines = [f"{images.dataset}: {images.source}"]
    for name in ("train", "test"):
        split = images.split(name)
        counts = np.bincount(split.labels, minlength=len(images.class_names))
        lines.append(
            f"{name:5} {len(split):,} images of {np.count_nonzero(counts):,} classes, "
            f"{_range(counts, ' to ')} a class; {_sizes(split)}{_stored(split)}"
        )
    width = max(len(name) for name in ["class", *images.class_names])
    lines.append(f"{'class':{width}} {'train':>8} {'test':>8}")
    both = zip(
        images.class_names,
        *(np.bincount(images.split(s).labels, minlength=len(images.class_names)).tolist()
          for s in ("train", "test")),
        strict=True,
    )  # fmt: skip
    return lines + [f"{name:{width}} {train:8,} {test:8,}" for name, train, test in both]


def _range(values: Sequence[int] | NDArray[np.int64], to: str = "-") -> str:
    least, most = min(values), max(values)
    return f"{least:,}" if least == most else f"{least:,}{to}{most:,}"


def _stored(split: ArraySplit | FileSplit) -> str:
    """Which beton the images come from, and how it holds them."""
    if isinstance(split, ArraySplit) or not isinstance(split.files, Beton):
        return ""
    kind = split.files.manifest["settings"].get("store", "pixels")
    return f"; from {split.files.path} (as {'JPEG' if kind == 'jpeg' else kind})"


def _sizes(split: ArraySplit | FileSplit) -> str:
    """Width x height of the images in words."""
    if isinstance(split, ArraySplit):
        _, H, W, C = split.images.shape
        return f"{W} x {H} pixels, {C} channel{'s' if C > 1 else ''}"
    looked = np.unique(np.linspace(0, len(split) - 1, min(_LOOKED_AT, len(split))).astype(int))
    widths, heights = zip(*(split.size(i) for i in looked.tolist()), strict=True)
    return (
        f"{_range(widths)} x {_range(heights)} pixels in {len(looked)} of them, "
        f"cropped to {split.crop} x {split.crop}"
    )
