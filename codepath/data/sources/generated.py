"""Images made up in memory, for smoke runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from codepath.data.data_set import ArrayDataSet, ArraySplit

_GENERATED_CLASSES, _GENERATED_IMAGES = 20, {"train": 200, "test": 100}


def made_up_images(stands_for: str, side: int) -> Callable[[Path | None], ArrayDataSet]:
    """A source of made-up images for smoke runs: a coarse colour pattern per class, and noise.

    Args:
        stands_for: the data set whose experiments run on these images.
        side: pixels a side, a multiple of 4.
    """

    def load(data: Path | None) -> ArrayDataSet:  # noqa: ARG001 (made in memory)
        rng = np.random.default_rng(0)
        patterns = rng.integers(40, 216, (_GENERATED_CLASSES, 4, 4, 3))
        patterns = patterns.repeat(side // 4, axis=1).repeat(side // 4, axis=2)

        def split(images: int) -> ArraySplit:
            labels = np.arange(images, dtype=np.int64) % _GENERATED_CLASSES
            noise = rng.normal(0, 60, (images, side, side, 3))
            return ArraySplit(np.clip(patterns[labels] + noise, 0, 255).astype(np.uint8), labels)

        train, test = (split(_GENERATED_IMAGES[name]) for name in ("train", "test"))
        pixels = train.images / 255
        return ArrayDataSet(
            dataset=f"generated-{stands_for}",
            source="made-up images (smoke)",
            train=train,
            test=test,
            class_names=tuple(f"class {k}" for k in range(_GENERATED_CLASSES)),
            mean=tuple(pixels.mean((0, 1, 2)).tolist()),
            std=tuple(pixels.std((0, 1, 2)).tolist()),
        )

    return load
