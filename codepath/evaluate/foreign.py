"""Negatives out of a network's distribution, for networks of any image size."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from codepath.data import Foreign, Images, Split, foreign_images
from codepath.data.foreign import photograph_patches
from codepath.data.resize import resize

FEWEST_ENLARGED = 500
"""Patches are cut smaller and enlarged until there are so many."""
_MOST_TIMES = 8


def foreign_negatives(images: Images, data: Path | None) -> Foreign | None:
    """`foreign_images`, and where images are too large for whole patches, enlarged ones.

    Scikit-learn's two photographs hold few patches of ImageNet's size: smaller ones are cut out and
    resized (bicubic), a substitute whose name says so. None where even that gives too few.
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
            return Foreign(name, Split(large, np.zeros(len(large), np.int64)))
    return None
