"""Augmentation as a function of (seed, epoch, sample indices) alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codepath.config import DataConfig
from codepath.data.kernels import crop_flip
from codepath.data.randomness import Draw, integers
from codepath.runtime import UserError


@dataclass(frozen=True)
class Augmentation:
    """Pad-crop and flip; RandAugment goes before them."""

    pad: int = 0
    flip: bool = False

    @classmethod
    def from_config(cls, config: DataConfig) -> Augmentation:
        """The augmentation of training images that a configuration asks for.

        Raises UserError for RandAugment, whose kernels are not here yet.
        """
        if config.randaugment:
            raise UserError(
                f"RandAugment ({config.randaugment}) is not available yet: train at cpu scale, or "
                "without it by --set data.randaugment= (recorded as another experiment)"
            )
        return cls(pad=config.pad, flip=config.flip)

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
        draws = (seed, epoch, indices)
        places = 2 * self.pad + 1
        top = integers(places, *draws, Draw.CROP_Y)
        left = integers(places, *draws, Draw.CROP_X)
        mirrored = integers(2, *draws, Draw.FLIP) == 1
        crop_flip(images, rows, top, left, mirrored & self.flip, self.pad, out)
