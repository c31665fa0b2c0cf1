"""Sources of images: small sets in memory as `ImageSet`, large ones in their files as `FileSet`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from codepath.data.files import FileSet
from codepath.runtime import UserError, unknown_name


@dataclass(frozen=True)
class Split:
    """Images of one split in memory."""

    images: NDArray[np.uint8]
    """(n, H, W, C)"""
    labels: NDArray[np.int64]
    """(n,), classes counted from 0."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ImageSet:
    """A data set with its normalisation."""

    dataset: str
    source: str
    """Where these pixels come from, in words: it stands beside every number."""
    train: Split
    test: Split
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    """Per channel, of pixels scaled to [0, 1]."""
    std: tuple[float, ...]

    def split(self, name: str) -> Split:
        """The split called "train" or "test"."""
        return {"train": self.train, "test": self.test}[name]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        H, W, C = self.train.images.shape[1:]
        return C, H, W


def _digits(data: Path | None) -> ImageSet:  # noqa: ARG001 (comes with scikit-learn)
    """scikit-learn's handwritten digits: 1,797 grey images of 8 x 8, 500 of them held out.

    The split is stratified and fixed: every class keeps its share, in the files' order
    (of each class, the images whose rank falls on the held-out share).
    """
    from sklearn.datasets import load_digits

    raw = load_digits()
    images = np.round(raw.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = raw.target.astype(np.int64)
    held_out = np.zeros(len(labels), dtype=bool)
    for label in range(10):
        of_class = np.flatnonzero(labels == label)
        spread = np.linspace(0, len(of_class) - 1, 50).round().astype(int)
        held_out[of_class[spread]] = True
    train = Split(images[~held_out], labels[~held_out])
    pixels = train.images / 255
    return ImageSet(
        dataset="digits",
        source="scikit-learn digits",
        train=train,
        test=Split(images[held_out], labels[held_out]),
        class_names=tuple(str(name) for name in raw.target_names),
        mean=(float(pixels.mean()),),
        std=(float(pixels.std()),),
    )


_GENERATED_CLASSES, _GENERATED_IMAGES = 20, {"train": 200, "test": 100}


def _generated(stands_for: str, side: int) -> Callable[[Path | None], ImageSet]:
    """A source of made-up images for smoke runs: a coarse colour pattern a class, and noise.

    Args:
        stands_for: the data set whose experiments run on it.
        side: pixels a side, a multiple of 4.
    """

    def load(data: Path | None) -> ImageSet:  # noqa: ARG001 (made in memory)
        rng = np.random.default_rng(0)
        patterns = rng.integers(40, 216, (_GENERATED_CLASSES, 4, 4, 3))
        patterns = patterns.repeat(side // 4, axis=1).repeat(side // 4, axis=2)

        def split(images: int) -> Split:
            labels = np.arange(images, dtype=np.int64) % _GENERATED_CLASSES
            noise = rng.normal(0, 60, (images, side, side, 3))
            return Split(np.clip(patterns[labels] + noise, 0, 255).astype(np.uint8), labels)

        train, test = (split(_GENERATED_IMAGES[name]) for name in ("train", "test"))
        pixels = train.images / 255
        return ImageSet(
            dataset=f"generated-{stands_for}",
            source="made-up images (smoke)",
            train=train,
            test=test,
            class_names=tuple(f"class {k}" for k in range(_GENERATED_CLASSES)),
            mean=tuple(pixels.mean((0, 1, 2)).tolist()),
            std=tuple(pixels.std((0, 1, 2)).tolist()),
        )

    return load


def _cifar(name: str) -> Callable[[Path | None], ImageSet]:
    def load(data: Path | None) -> ImageSet:
        from codepath.data.cifar import load_cifar

        return load_cifar(name, data)

    return load


def _any_images(data: Path | None) -> ImageSet:
    from codepath.data.archives import load_images

    return load_images(data)


Images = ImageSet | FileSet
"""A data set in memory or in its files."""


_SOURCES: dict[str, Callable[[Path | None], ImageSet]] = {
    "digits": _digits,
    "cifar10": _cifar("cifar10"),
    "cifar100": _cifar("cifar100"),
    "images": _any_images,
    "generated-cifar10": _generated("cifar10", 16),
    "generated-cifar100": _generated("cifar100", 16),
    "generated-imagenet": _generated("imagenet", 32),
}
_IN_FILES = "imagenet"


def source_names() -> list[str]:
    """Names that `load_image_set` knows."""
    return sorted([*_SOURCES, _IN_FILES])


def load_image_set(
    source: str,
    data: Path | None = None,
    crop: int = 0,
    subset: bool = False,
    originals: bool = False,
) -> Images:
    """The data set of a source, from `data` where the source needs files.

    Args:
        source: one of `source_names()`.
        data: where its files are.
        crop: side of the images that loaders yield, of a source whose images have many sizes;
            0: the source's own.
        subset: whether fewer images than the data set has are meant.
        originals: whether betons are passed over, as for making them.

    Raises UserError for an unknown name, and where the files are absent or damaged.
    """
    if source == _IN_FILES:
        from codepath.data.imagenet import load_imagenet

        return load_imagenet(data, crop, subset, originals)
    if source not in _SOURCES:
        raise unknown_name("data source", source, source_names())
    if crop or subset:
        raise UserError(f"data.crop and data.subset are for {_IN_FILES}: leave them out")
    return _SOURCES[source](data)
