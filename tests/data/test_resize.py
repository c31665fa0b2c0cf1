"""Resizing and cropping against Pillow, torchvision and timm."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import ks_2samp
from timm.data.transforms_factory import transforms_imagenet_eval
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.functional import resized_crop as torchvision_resized_crop

from codepath.core.errors import UserError
from codepath.data.resize import (
    central_crop,
    crop_draws,
    random_resized_crop_boxes,
    resize,
    resized_crop,
)

PINNED = [[34, 31, 428, 341], [127, 15, 477, 375]]
PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
SHAPES = [(1, 1), (1, 7), (7, 1), (2, 3), (13, 31), (50, 37), (160, 160), (97, 300)]
SIZES = [(1, 1), (1, 9), (9, 2), (16, 16), (37, 50), (31, 13), (160, 160), (211, 64)]


def noise(shape: tuple[int, int], seed: int, channels: int = 3) -> np.ndarray:
    """Extreme values, so that rounding and clipping at both ends are exercised."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*shape, channels))
    return np.where(rng.random(image.shape) < 0.3, rng.choice([0, 255]), image).astype(np.uint8)


@pytest.mark.parametrize("filter", PILLOW)
def test_whole_images_equal_pillow(filter: str) -> None:
    for i, shape in enumerate(SHAPES):
        image = noise(shape, i)
        for size in SIZES:
            expected = np.asarray(Image.fromarray(image).resize(size, PILLOW[filter]))
            assert np.array_equal(resize(image, None, size, filter), expected), (shape, size)


@pytest.mark.parametrize("filter", PILLOW)
def test_boxes_equal_pillow(filter: str) -> None:
    rng = np.random.default_rng(1)
    for i in range(400):
        H, W = rng.integers(2, 120, 2)
        image = noise((H, W), i)
        (left, right), (top, bottom) = (np.sort(rng.uniform(0, n, 2)) for n in (W, H))
        box = (left, top, right, bottom)
        if i % 3 == 0:  # whole pixels
            left, top = int(left), int(top)
            box = (left, top, max(int(right), left + 1), max(int(bottom), top + 1))
        size = (int(rng.integers(1, 90)), int(rng.integers(1, 90)))
        if i % 5 == 0:  # one direction is left as it is
            box, size = (0, box[1], W, box[3]), (int(W), size[1])
        expected = np.asarray(Image.fromarray(image).resize(size, PILLOW[filter], box=box))
        assert np.array_equal(resize(image, box, size, filter), expected), (image.shape, box, size)


def test_grey_and_strided_images() -> None:
    image = noise((40, 30), 0, channels=1)
    expected = np.asarray(Image.fromarray(image[..., 0]).resize((17, 23), PILLOW["bicubic"]))
    assert np.array_equal(resize(image, None, (17, 23), "bicubic")[..., 0], expected)
    wide = noise((40, 60), 1)
    assert np.array_equal(
        resize(wide[::2, ::3], None, (9, 9), "bilinear"),
        resize(wide[::2, ::3].copy(), None, (9, 9), "bilinear"),
    )


def test_mistakes() -> None:
    image = noise((8, 8), 0)
    with pytest.raises(UserError, match="unknown filter"):
        resize(image, None, (4, 4), "lanczos")
    for box in [(0, 0, 9, 8), (4, 0, 4, 8), (-1, 0, 8, 8)]:
        with pytest.raises(UserError, match="cannot resize"):
            resize(image, box, (4, 4), "bicubic")
    with pytest.raises(UserError, match="uint8"):
        resize(image.astype(float), None, (4, 4), "bicubic")  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(50, 37), (160, 160), (375, 500), (97, 300), (9, 1000)])
def test_evaluation_equals_timm(shape: tuple[int, int]) -> None:
    image = noise(shape, 5)
    transform = transforms_imagenet_eval(160, crop_pct=0.875, interpolation="bicubic")
    transform.transforms = transform.transforms[:2]  # resize and crop, still on Pillow images
    expected = np.asarray(transform(Image.fromarray(image)))
    assert expected.shape == (160, 160, 3)
    assert np.array_equal(central_crop(image, 160), expected)


def test_evaluation_equals_timm_at_odd_crops() -> None:
    for crop in (31, 64, 225):
        image = noise((83, 120), crop)
        transform = transforms_imagenet_eval(crop, crop_pct=0.875, interpolation="bicubic")
        transform.transforms = transform.transforms[:2]
        assert np.array_equal(
            central_crop(image, crop), np.asarray(transform(Image.fromarray(image)))
        )


def test_resized_crops_equal_torchvision() -> None:
    image = noise((120, 90), 2)
    draws, bicubic = crop_draws(0, 0, np.arange(50))
    assert 10 < bicubic.sum() < 40
    boxes = random_resized_crop_boxes(np.tile([90, 120], (50, 1)), draws)
    for box, cubic in zip(boxes, bicubic, strict=True):
        filter = "bicubic" if cubic else "bilinear"
        left, top, right, bottom = box.tolist()
        expected = torchvision_resized_crop(
            Image.fromarray(image), top, left, bottom - top, right - left, [32, 32], PILLOW[filter]
        )
        assert np.array_equal(resized_crop(image, box, 32, filter), np.asarray(expected))


@pytest.mark.parametrize("size", [(500, 375), (64, 64), (375, 500), (200, 40), (30, 300)])
def test_boxes_are_distributed_as_torchvisions(size: tuple[int, int]) -> None:
    """Left, top, width and height of 4,000 boxes; the last shapes often need the central box."""
    number = 4000
    draws, _ = crop_draws(3, 1, np.arange(number))
    left, top, right, bottom = random_resized_crop_boxes(np.tile(size, (number, 1)), draws).T
    torch.manual_seed(0)
    random.seed(0)
    image = torch.empty(3, size[1], size[0])
    theirs = np.array(
        [RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(number)]
    )
    ours = np.stack([top, left, bottom - top, right - left], 1)
    assert (ours[:, :2] >= 0).all()
    assert (right <= size[0]).all()
    assert (bottom <= size[1]).all()
    combined = (ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3])
    for a, b in [*zip(ours.T, theirs.T, strict=True), combined]:
        assert ks_2samp(a, b).pvalue > 0.001


def test_the_central_box_of_a_strip() -> None:
    """No try fits into a strip when its shape is far from all that may be drawn."""
    draws, _ = crop_draws(0, 0, np.arange(20))
    boxes = random_resized_crop_boxes(np.tile([400, 4], (20, 1)), draws, scale=(0.9, 1.0))
    assert np.unique(boxes, axis=0).tolist() == [[197, 0, 202, 4]]
    theirs = RandomResizedCrop.get_params(torch.empty(3, 4, 400), [0.9, 1.0], [3 / 4, 4 / 3])
    assert theirs == (0, 197, 4, 5)


def test_draws_are_pinned_and_belong_to_the_sample() -> None:
    """Known boxes: augmentation must not change between versions or machines."""
    draws, bicubic = crop_draws(1, 2, np.array([5, 3, 5]))
    boxes = random_resized_crop_boxes(np.tile([500, 375], (3, 1)), draws)
    assert np.array_equal(boxes[0], boxes[2])
    assert boxes[:2].tolist() == PINNED
    assert bicubic[0] == bicubic[2]
    other, _ = crop_draws(1, 3, np.array([5]))
    assert not np.array_equal(other[0], draws[0])
