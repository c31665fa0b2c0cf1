"""Augmentation as a function of (seed, epoch, sample indices) alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codepath.config import DataConfig
from codepath.data.kernels import crop_flip
from codepath.data.randaugment import RandAugment
from codepath.data.randomness import Draw, integers


@dataclass(frozen=True)
class Augmentation:
    """RandAugment, then pad-crop, then flip: the order of the authors' code."""

    pad: int = 0
    flip: bool = False
    randaugment: RandAugment | None = None

    @classmethod
    def from_config(cls, config: DataConfig, mean: tuple[float, ...]) -> Augmentation:
        """The augmentation of training images that a configuration asks for.

        Args:
            config: the configuration; UserError for a RandAugment policy that is none.
            mean: the data set's, which fills what RandAugment moves in from outside.
        """
        policy = RandAugment.parse(config.randaugment, mean) if config.randaugment else None
        return cls(pad=config.pad, flip=config.flip, randaugment=policy)

    def apply(
        self,
        images: NDArray[np.uint8],
        rows: NDArray[np.int64],
        seed: int,
        epoch: int,
        indices: NDArray[np.int64],
        out: NDArray[np.uint8],
    ) -> None:
        """Write the augmented images[rows] to `out`.

        Args:
            images: (n, H, W, C).
            rows: (B,) places in `images`.
            seed, epoch: of the run.
            indices: (B,) places of the same samples in their split, which the draws depend on.
            out: (B, H, W, C).
        """
        if self.randaugment is not None:
            changed = np.empty_like(out)
            self.randaugment.apply(images, rows, seed, epoch, indices, changed)
            images, rows = changed, np.arange(len(rows))
        draws = (seed, epoch, indices)
        places = 2 * self.pad + 1
        top = integers(places, *draws, Draw.CROP_Y)
        left = integers(places, *draws, Draw.CROP_X)
        mirrored = integers(2, *draws, Draw.FLIP) == 1
        crop_flip(images, rows, top, left, mirrored & self.flip, self.pad, out)
