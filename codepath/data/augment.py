"""Augmentation as a function of (seed, epoch, sample indices) alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codepath.core.errors import UserError
from codepath.data.kernels import crop_flip
from codepath.data.randaugment import RandAugment
from codepath.data.randomness import Draw, integers
from codepath.data.resize import crop_draws, random_resized_crop_boxes, resized_crop
from codepath.run.config import DataConfig


def _policy(config: DataConfig, mean: tuple[float, ...]) -> RandAugment | None:
    if not config.randaugment:
        return None
    bits = config.posterize_min_bits
    return RandAugment.parse(config.randaugment, mean, posterize_min_bits=bits)


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
            config: the configuration; UserError where its RandAugment policy is not valid.
            mean: the data set's mean, which fills areas that RandAugment moves in from outside.
        """
        return cls(config.pad, config.flip, _policy(config, mean))

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


@dataclass(frozen=True)
class CropAugmentation:
    """Random resized crop, then flip, then RandAugment: the order for ImageNet."""

    crop: int
    scale: tuple[float, float]
    ratio: tuple[float, float]
    flip: bool = False
    randaugment: RandAugment | None = None

    @classmethod
    def from_config(
        cls, config: DataConfig, mean: tuple[float, ...], crop: int
    ) -> CropAugmentation:
        """The augmentation of training images that a configuration asks for.

        Args:
            config: the configuration; UserError where it sets `pad`, which is for images of one
                size, and where its RandAugment policy is not valid.
            mean: see `Augmentation.from_config`.
            crop: side of the images.
        """
        if config.pad:
            raise UserError(f"data.pad is for images of one size: leave it out for {config.source}")
        return cls(crop, config.scale, config.ratio, config.flip, _policy(config, mean))

    def apply(
        self,
        image: Callable[[int], NDArray[np.uint8]],
        seed: int,
        epoch: int,
        indices: NDArray[np.int64],
        out: NDArray[np.uint8],
    ) -> None:
        """Write the augmented images to `out`.

        Args:
            image: gives the (H, W, 3) image of an index.
            seed, epoch: of the run.
            indices: (B,) which images; the draws depend on them.
            out: (B, crop, crop, 3).
        """
        draws, bicubic = crop_draws(seed, epoch, indices)
        mirrored = integers(2, seed, epoch, indices, Draw.FLIP) == 1
        wholes = [image(index) for index in indices.tolist()]
        sizes = np.array([whole.shape[1::-1] for whole in wholes])
        boxes = random_resized_crop_boxes(sizes, draws, self.scale, self.ratio)
        for b, whole in enumerate(wholes):
            cut = resized_crop(whole, boxes[b], self.crop, "bicubic" if bicubic[b] else "bilinear")
            out[b] = cut[:, ::-1] if self.flip and mirrored[b] else cut
        if self.randaugment is not None:
            places = np.arange(len(indices))
            self.randaugment.apply(out.copy(), places, seed, epoch, indices, out)
