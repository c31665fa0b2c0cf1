"""Batches of images that stay in their files."""

from __future__ import annotations

import dataclasses
import io
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from codepath.core.errors import UserError
from codepath.data import (
    FileDataSet,
    Loader,
    LoaderOptions,
    choose_backend,
    evaluation_loader,
    load_data_set,
    training_loader,
)
from codepath.data.augment import CropAugmentation
from codepath.data.file_loader import FileLoader
from codepath.data.randaugment import RandAugment
from codepath.data.randomness import Draw, integers
from codepath.data.resize import central_crop, crop_draws, random_resized_crop_boxes
from codepath.run.config import DataConfig
from tests.data.photographs import WNIDS, make_folders

CONFIG = DataConfig(source="imagenet", crop=24, flip=True, randaugment="rand-m10-n2")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> FileDataSet:
    loaded = load_data_set(
        "imagenet", make_folders(tmp_path_factory.mktemp("imagenet")), crop=24, subset=True
    )
    assert isinstance(loaded, FileDataSet)
    return loaded


def collect(loader: Loader, epoch: int) -> tuple[torch.Tensor, ...]:
    loader.set_epoch(epoch)
    return tuple(torch.cat(parts) for parts in zip(*loader, strict=True))


def same(a: tuple[torch.Tensor, ...], b: tuple[torch.Tensor, ...]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_an_epoch_repeats_whatever_the_number_of_threads(images: FileDataSet) -> None:
    crops = CropAugmentation.from_config(CONFIG, images.mean, 24)
    one, three = (
        FileLoader(images.train, 5, crops, shuffle=True, seed=1, threads=n) for n in (1, 3)
    )
    first = collect(one, 4)
    assert same(first, collect(three, 4))
    assert not torch.equal(first[2], collect(three, 5)[2])
    assert same(first, collect(training_loader(images, CONFIG, 5, seed=1), 4))
    assert first[0].shape == (15, 3, 24, 24)
    assert first[0].dtype == torch.uint8
    assert first[1].tolist() == images.train.labels[first[2]].tolist()


def test_an_image_does_not_depend_on_its_batch(images: FileDataSet) -> None:
    parts = []
    for batch_size in (3, 15):
        pixels, _, indices = collect(training_loader(images, CONFIG, batch_size, seed=1), 2)
        parts.append(pixels[indices.argsort()])
    assert torch.equal(*parts)


def test_the_order_is_crop_then_flip_then_randaugment(images: FileDataSet) -> None:
    """Built again with Pillow from the same draws."""
    seed, epoch = 7, 3
    pixels, _, indices = collect(training_loader(images, CONFIG, 15, seed), epoch)
    draws, bicubic = crop_draws(seed, epoch, indices.numpy())
    flips = integers(2, seed, epoch, indices.numpy(), Draw.FLIP)
    assert 0 < flips.sum() < len(flips)
    crops = []
    for b, index in enumerate(indices.tolist()):
        image = Image.open(io.BytesIO(images.train.files.read(index)))
        box = random_resized_crop_boxes(np.array([image.size]), draws[b : b + 1])[0]
        filter = Image.Resampling.BICUBIC if bicubic[b] else Image.Resampling.BILINEAR
        crop = image.crop(box.tolist()).resize((24, 24), filter)
        crops.append(np.asarray(ImageOps.mirror(crop) if flips[b] else crop))
    plain = dataclasses.replace(CONFIG, randaugment="")
    unchanged, *_ = collect(training_loader(images, plain, 15, seed), epoch)
    assert np.array_equal(unchanged.numpy().transpose(0, 2, 3, 1), np.stack(crops))
    expected = np.empty((15, 24, 24, 3), np.uint8)
    policy = RandAugment.parse(CONFIG.randaugment, images.mean)
    policy.apply(np.stack(crops), np.arange(15), seed, epoch, indices.numpy(), expected)
    assert not np.array_equal(expected, np.stack(crops))
    assert np.array_equal(pixels.numpy().transpose(0, 2, 3, 1), expected)


def test_evaluation_is_every_image_once_in_order(images: FileDataSet) -> None:
    pixels, labels, indices = collect(evaluation_loader(images.test, 4), 0)
    assert indices.tolist() == list(range(6))
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]
    for i in range(6):
        expected = central_crop(images.test.image(i), 24)
        assert np.array_equal(pixels[i].numpy().transpose(1, 2, 0), expected)


def test_scale_and_ratio_are_the_configurations(images: FileDataSet) -> None:
    whole = dataclasses.replace(CONFIG, scale=(1.0, 1.0), ratio=(0.01, 100.0), randaugment="")
    crops = CropAugmentation.from_config(whole, images.mean, 24)
    assert (crops.scale, crops.ratio, crops.randaugment) == ((1.0, 1.0), (0.01, 100.0), None)
    for scale in [(0.5,), (0.5, 0.2), (0.0, 1.0), (0.5, 1.1)]:
        with pytest.raises(UserError, match="scale is"):
            dataclasses.replace(CONFIG, scale=scale)
    with pytest.raises(UserError, match="ratio is"):
        dataclasses.replace(CONFIG, ratio=(2.0, 1.0))


def test_a_damaged_image_ends_the_epoch_with_its_name(tmp_path: Path) -> None:
    data = make_folders(tmp_path)
    (data / "train" / WNIDS[1] / f"{WNIDS[1]}_0002.JPEG").write_bytes(b"no image")
    images = load_data_set("imagenet", data, subset=True)
    with pytest.raises(UserError, match=f"{WNIDS[1]}_0002"):
        list(training_loader(images, CONFIG, 5, seed=0))


def test_leaving_an_epoch_early_leaves_no_threads(images: FileDataSet) -> None:
    before = threading.active_count()
    iterator = iter(training_loader(images, CONFIG, 2, seed=0))
    next(iterator)
    iterator.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_what_does_not_fit_is_refused(images: FileDataSet) -> None:
    with pytest.raises(UserError, match=r"data\.pad is for images of one size"):
        training_loader(images, dataclasses.replace(CONFIG, pad=4), 5, seed=0)
    with pytest.raises(UserError, match="use the torch loader"):
        training_loader(images, CONFIG, 5, seed=0, options=LoaderOptions("ffcv"))
    assert choose_backend(images, LoaderOptions())[0] == "torch"
