"""Images of other things than a network was trained on: negatives out of its distribution."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision.datasets import CIFAR10, CIFAR100

from codepath.data.data_set import ArraySplit, DataSet
from codepath.data.datasets import load_data_set

_COUNTERPARTS = {"cifar10": "cifar100", "cifar100": "cifar10"}
MOST_PATCHES = 2000
FEWEST_PATCHES = 100
_REDUCTIONS = (1, 2, 4)


class Foreign(NamedTuple):
    """A foreign set; its labels mean nothing."""

    name: str
    """What the images are, in words."""
    split: ArraySplit


def foreign_images(images: DataSet, data: Path | None) -> Foreign | None:
    """Images that belong to none of a data set's classes.

    CIFAR-10 takes CIFAR-100's test images and the other way round, as in the paper, where the
    other's archive lies in `data` (nothing is downloaded). Otherwise patches of scikit-learn's two
    photographs (a temple and a flower) are a substitute. None where these give fewer than
    FEWEST_PATCHES.
    """
    folder = data or Path("data")
    name = _COUNTERPARTS.get(images.dataset, "")
    if name and _has_archive(name, folder):
        other = load_data_set(name, folder)
        assert isinstance(other.test, ArraySplit)
        return Foreign(f"{other.source}, test images", other.test)
    patches = photograph_patches(images.image_shape)
    if len(patches) < FEWEST_PATCHES:
        return None
    labels = np.zeros(len(patches), np.int64)
    return Foreign("photograph patches (a substitute)", ArraySplit(patches, labels))


def _has_archive(name: str, folder: Path) -> bool:
    archive = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    return any((folder / part).exists() for part in (archive.filename, archive.base_folder))


def photograph_patches(image_shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """(n, H, W, C) tiles of scikit-learn's photographs at three scales, at most MOST_PATCHES."""
    C, H, W = image_shape
    tiles = []
    for photograph in load_sample_images().images:
        image = Image.fromarray(photograph).convert("L" if C == 1 else "RGB")
        for reduction in _REDUCTIONS:
            pixels = np.asarray(image.reduce(reduction)).reshape(
                image.height // reduction + bool(image.height % reduction), -1, C
            )
            rows, columns = pixels.shape[0] // H, pixels.shape[1] // W
            grid = pixels[: rows * H, : columns * W].reshape(rows, H, columns, W, C)
            tiles.append(grid.swapaxes(1, 2).reshape(-1, H, W, C))
    every = np.concatenate(tiles)
    chosen = np.linspace(0, len(every) - 1, min(MOST_PATCHES, len(every))).astype(int)
    return np.ascontiguousarray(every[np.unique(chosen)])
