"""Negatives out of a network's distribution, for networks of any image size."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from codepath.data import ArraySplit, DataSet, Foreign, foreign_images
from codepath.data.foreign import photograph_patches
from codepath.data.resize import resize

FEWEST_ENLARGED = 500
"""Patches are cut smaller, and enlarged, until there are at least this many."""
_MOST_TIMES = 8


def foreign_negatives(images: DataSet, data: Path | None) -> Foreign | None:
    """`foreign_images` or, where images are too large for whole patches, enlarged patches.

    Scikit-learn's two photographs hold few patches of ImageNet's size, so smaller patches are cut
    out and enlarged (bicubic). They are a substitute, and their name says so. None where even this
    gives too few.
    """
    found = foreign_images(images, data)
    if found is not None:
        return found
    C, H, W = images.image_shape
    for times in range(2, _MOST_TIMES + 1):
        small = photograph_patches((C, -(-H // times), -(-W // times)))
        if len(small) >= FEWEST_ENLARGED:
            large = np.stack([resize(patch, None, (W, H), "bicubic") for patch in small])
            name = f"photograph patches enlarged {times} times (a substitute)"
            return Foreign(name, ArraySplit(large, np.zeros(len(large), np.int64)))
    return None
