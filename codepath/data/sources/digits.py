"""scikit-learn's handwritten digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from codepath.data.data_set import ArrayDataSet, ArraySplit


def load_digit_images(data: Path | None) -> ArrayDataSet:  # noqa: ARG001 (comes with scikit-learn)
    """scikit-learn's handwritten digits: 1,797 grey images of 8 x 8, 500 of them held out.

    The split is fixed and stratified: of each class 50 images are held out, spread evenly over
    the class's images in their order of storage.
    """
    raw = load_digits()
    images = np.round(raw.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = raw.target.astype(np.int64)
    held_out = np.zeros(len(labels), dtype=bool)
    for label in range(10):
        of_class = np.flatnonzero(labels == label)
        spread = np.linspace(0, len(of_class) - 1, 50).round().astype(int)
        held_out[of_class[spread]] = True
    train = ArraySplit(images[~held_out], labels[~held_out])
    pixels = train.images / 255
    return ArrayDataSet(
        dataset="digits",
        source="scikit-learn digits",
        train=train,
        test=ArraySplit(images[held_out], labels[held_out]),
        class_names=tuple(str(name) for name in raw.target_names),
        mean=(float(pixels.mean()),),
        std=(float(pixels.std()),),
    )
