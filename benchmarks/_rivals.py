"""The loaders that are compared: ours, and a plain torch DataLoader of the same images."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from rich.progress import track

from codepath.core.machine import available_cores
from codepath.run.config import STATISTICS, DataConfig

PHOTOGRAPHS = "photographs"
"""The recipe of ImageNet: random resized crop 160, flip, rand-m10-n2."""
ON_PILLOW = {"rand-m2-n1": "rand-m3-n1"}
"""Posterize to 0 bits, as in rand-m2, is an error in today's Pillow: the DataLoader gets m3."""
REFERENCE = "DataLoader"
PIXELS = "ffcv, pixels"
"""FFCV's file holds decoded images."""
CROP = 160


class Batches(Protocol):
    """Any of the rivals."""

    def __iter__(self) -> Iterator[Any]: ...

    def __len__(self) -> int: ...


class _PillowImages(torch.utils.data.Dataset):
    """What torchvision's CIFAR10 does, with images that are in memory already."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Any) -> None:
        self.images, self.labels, self.transform = images, labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def photograph(seed: int) -> bytes:
    """A made-up JPEG photograph of 400 to 500 pixels a side, quality 92, about 100 kB.

    Its spectrum falls as in natural images, amplitude with the inverse of frequency, and some
    edges cross it.
    """
    rng = np.random.default_rng(seed)
    width, height = (int(n) for n in rng.integers(400, 501, 2))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    shade = rng.normal(size=(height, width, 3))
    spectrum = np.fft.rfft2(shade, axes=(0, 1)) / frequency[..., None] ** 1.1
    picture = np.fft.irfft2(spectrum, (height, width), axes=(0, 1))
    picture = 0.7 * picture.mean(2, keepdims=True) + 0.3 * picture  # colours go together
    y, x = np.mgrid[:height, :width] / max(height, width)
    for _ in range(6):
        angle, place = rng.uniform(0, np.pi), rng.uniform(0.2, 0.8)
        side = np.cos(angle) * x + np.sin(angle) * y > place
        picture += side[..., None] * rng.normal(size=3) * picture.std() * 0.5
    picture = 128 + 55 * (picture - picture.mean()) / picture.std()
    buffer = io.BytesIO()
    pixels = picture.clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def make_photographs(folder: Path, number: int) -> None:
    """train/CLASS/*.JPEG and val/CLASS/*.JPEG of ten classes."""
    for index in track(range(number), "making photographs", transient=True):
        path = folder / "train" / f"n{index % 10:08d}" / f"{index}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photograph(index))
    for k in range(10):
        path = folder / "val" / f"n{k:08d}" / "0.JPEG"
        path.parent.mkdir(parents=True)
        path.write_bytes(photograph(number + k))


def policy_of(loader: str, recipe: str) -> str:
    """The RandAugment policy that a loader gets for a recipe."""
    if recipe == PHOTOGRAPHS:
        return "rand-m10-n2"
    return ON_PILLOW.get(recipe, recipe) if loader == REFERENCE else recipe


def loaders_here() -> list[str]:
    """The rivals that can run here, the reference first."""
    return [REFERENCE, "torch", *(["ffcv"] if importlib.util.find_spec("ffcv") else [])]


def loaders_of(recipe: str) -> list[str]:
    """The rivals of a recipe: photographs also as pixels in FFCV's file."""
    loaders = loaders_here()
    return [*loaders, PIXELS] if recipe == PHOTOGRAPHS and "ffcv" in loaders else loaders


def make_loader(loader: str, recipe: str, batch: int, folder: Path) -> Batches:
    """A rival over what lies in `folder`: images.npy (n, H, W, 3) and labels.npy (n,), or
    photographs. FFCV's files are made there."""
    if recipe == PHOTOGRAPHS:
        return _photograph_loader(loader, batch, folder)
    images, labels = np.load(folder / "images.npy"), np.load(folder / "labels.npy")
    policy = policy_of(loader, recipe)
    mean, std = STATISTICS["cifar10"]
    if loader == REFERENCE:
        from timm.data.auto_augment import rand_augment_transform
        from torchvision import transforms

        fill = tuple(min(255, round(255 * value)) for value in mean)
        steps = [rand_augment_transform(policy, {"img_mean": fill})] if policy else []
        steps += [
            transforms.RandomCrop(images.shape[1], padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.PILToTensor(),
        ]
        return _data_loader(_PillowImages(images, labels, transforms.Compose(steps)), batch)
    from codepath.data import ArrayDataSet, ArraySplit, LoaderOptions, training_loader

    split = ArraySplit(images, labels)
    names = tuple(map(str, range(10)))
    return training_loader(
        ArrayDataSet("cifar10", "benchmark", split, split, names, mean, std),
        DataConfig(source="cifar10", pad=4, flip=True, randaugment=policy),
        batch,
        seed=0,
        options=LoaderOptions(loader, folder),
    )


def _data_loader(dataset: torch.utils.data.Dataset, batch: int) -> Batches:
    return torch.utils.data.DataLoader(
        dataset,
        batch,
        shuffle=True,
        drop_last=True,
        num_workers=available_cores(),
        persistent_workers=True,
    )


def _photograph_loader(loader: str, batch: int, folder: Path) -> Batches:
    if loader == REFERENCE:
        from timm.data import create_transform
        from torchvision.datasets import ImageFolder

        transform = create_transform(
            CROP, is_training=True, use_prefetcher=True, auto_augment=policy_of(loader, PHOTOGRAPHS)
        )
        return _data_loader(ImageFolder(str(folder / "train"), transform), batch)
    from codepath.data import FileDataSet, LoaderOptions, load_data_set, training_loader
    from codepath.data.beton import Beton
    from codepath.data.beton_format import BetonSettings
    from codepath.data.beton_writer import ensure_beton

    images = load_data_set("imagenet", folder, CROP, subset=True)
    assert isinstance(images, FileDataSet)
    if loader != "torch":
        settings = BetonSettings("pixels" if loader == PIXELS else "jpeg")
        beton = Beton(ensure_beton(images, "train", folder / "betons" / settings.store, settings))
        images = replace(images, train=replace(images.train, files=beton))
    policy = policy_of(loader, PHOTOGRAPHS)
    config = DataConfig(source="imagenet", crop=CROP, flip=True, randaugment=policy)
    backend = "torch" if loader == "torch" else "ffcv"
    return training_loader(images, config, batch, seed=0, options=LoaderOptions(backend))
