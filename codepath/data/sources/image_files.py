"""Any images in a folder or a tar."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codepath.core.errors import UserError
from codepath.data.archives import HELD_OUT, SPLITS, read_image_files
from codepath.data.data_set import ArrayDataSet


def load_images(data: Path | None, size: int = 0) -> ArrayDataSet:
    """Any folder or tar of images, train/CLASS/* and test/CLASS/*, or CLASS/*.

    Classes are those found there. Mean and standard deviation are those of the training images.

    Args:
        data: the folder or tar; UserError where it is neither, and where `read_image_files`
            raises it.
        size: pixels a side that each image is resized to; 0: all images have one size.
    """
    if data is None or not data.exists():
        raise UserError(
            f"{data or 'no data'}: name a folder or tar of images, train/CLASS/* and test/CLASS/* "
            "or CLASS/*, with --data (make: DATA=)"
        )
    found = read_image_files(data, size=size, plain=True)
    quality = f", JPEG quality {found.jpeg_quality}" if found.jpeg_quality else ""
    train, test = (found.splits[split] for split in SPLITS)
    mean, std = _statistics(train.images)
    fitted = f", resized to {size} x {size}" if size else ""
    drawn = f", {HELD_OUT:.0%} of each class held out to test" if found.held_out else ""
    source = f"images in {data.resolve().name}{quality}{fitted}{drawn}"
    return ArrayDataSet("images", source, train, test, found.class_names, mean, std)


def _statistics(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of (n, H, W, C), scaled to [0, 1]."""
    values = np.arange(256) / 255
    means, stds = [], []
    for channel in range(images.shape[3]):
        share = np.bincount(images[..., channel].ravel(), minlength=256) / images[..., 0].size
        means.append(float(share @ values))
        stds.append(float(np.sqrt(share @ (values - means[-1]) ** 2)))
    if min(stds) == 0:
        raise UserError("all training images are of one brightness: there is nothing to learn")
    return tuple(means), tuple(stds)
