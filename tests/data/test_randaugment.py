"""RandAugment's operators against timm's on Pillow, and the policy's draws."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from timm.data import auto_augment
from timm.data.auto_augment import rand_augment_ops

from codepath.config import DataConfig
from codepath.data.augment import Augmentation
from codepath.data.randaugment import (
    OPERATORS,
    SIGNED,
    RandAugment,
    apply_op,
    level_to_argument,
)
from codepath.runtime import UserError

TIMM = {
    "AutoContrast": auto_augment.auto_contrast,
    "Equalize": auto_augment.equalize,
    "Invert": auto_augment.invert,
    "Rotate": auto_augment.rotate,
    "Posterize": auto_augment.posterize,
    "Solarize": auto_augment.solarize,
    "SolarizeAdd": auto_augment.solarize_add,
    "Color": auto_augment.color,
    "Contrast": auto_augment.contrast,
    "Brightness": auto_augment.brightness,
    "Sharpness": auto_augment.sharpness,
    "ShearX": auto_augment.shear_x,
    "ShearY": auto_augment.shear_y,
    "TranslateXRel": auto_augment.translate_x_rel,
    "TranslateYRel": auto_augment.translate_y_rel,
}
FILL = (125, 123, 114)
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def images() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    ramp = np.add.outer(3 * np.arange(40), 4 * np.arange(32)) % 256
    return {
        "noise": rng.integers(0, 256, (32, 32, 3)).astype(np.uint8),
        "ramp": np.stack([ramp, ramp[::-1], 255 - ramp], -1).astype(np.uint8),
        "constant": np.full((32, 32, 3), 77, np.uint8),
        "two levels": (rng.integers(0, 2, (20, 31, 3)) * 200 + 9).astype(np.uint8),
        "3 x 3": rng.integers(0, 256, (3, 3, 3)).astype(np.uint8),
        "one row": rng.integers(0, 256, (1, 17, 3)).astype(np.uint8),
        "one column": rng.integers(0, 256, (17, 1, 3)).astype(np.uint8),
        "160 px": rng.integers(0, 256, (160, 160, 3)).astype(np.uint8),
    }


def on_pillow(image: np.ndarray, name: str, arg: float, resample: str) -> np.ndarray:
    if name == "Posterize" and arg == 0:  # Pillow refuses it; timm's result used to be black
        return np.zeros_like(image)
    arguments = () if name in ("AutoContrast", "Equalize", "Invert") else (arg,)
    options = {"resample": FILTERS[resample], "fillcolor": FILL}
    return np.array(TIMM[name](Image.fromarray(image), *arguments, **options))


@pytest.mark.parametrize("name", OPERATORS)
def test_every_pixel_equals_timms(name: str) -> None:
    signs = (1, -1) if SIGNED[OPERATORS.index(name)] else (1,)
    for magnitude in range(11):
        for sign in signs:
            arg = sign * level_to_argument(name, magnitude)
            for resample in FILTERS:
                for kind, image in images().items():
                    got = apply_op(image, name, arg, resample, FILL)
                    expected = on_pillow(image, name, arg, resample)
                    assert np.array_equal(got, expected), (magnitude, sign, resample, kind)


@pytest.mark.parametrize("factor", [0.0, 0.1, 0.46, 0.82, 1.0, 1.9])
@pytest.mark.parametrize("name", ["Color", "Contrast", "Brightness", "Sharpness"])
def test_blending_factors(name: str, factor: float) -> None:
    for image in images().values():
        assert np.array_equal(
            apply_op(image, name, factor), on_pillow(image, name, factor, "bilinear")
        )


@pytest.mark.parametrize("magnitude", range(11))
def test_arguments_are_timms(magnitude: int) -> None:
    timms = rand_augment_ops(magnitude, transforms=list(OPERATORS))
    for op, name in zip(timms, OPERATORS, strict=True):
        arguments = op.level_fn(magnitude, {}) if op.level_fn is not None else (0.0,)
        assert abs(arguments[0]) == level_to_argument(name, magnitude)


def test_operators_are_timms_list_in_its_order() -> None:
    assert list(OPERATORS) == auto_augment._RAND_TRANSFORMS


def test_a_whole_policy_equals_timms_operators_replayed() -> None:
    rng = np.random.default_rng(3)
    batch = rng.integers(0, 256, (300, 32, 32, 3)).astype(np.uint8)
    policy = RandAugment.parse("rand-m4-n3", (0.4914, 0.4822, 0.4465))
    assert policy.fill == FILL
    indices = rng.permutation(50_000)[:300]
    out = np.empty_like(batch)
    policy.apply(batch, np.arange(300), 7, 11, indices, out)
    operators, applied, negative, bicubic = policy.draw(7, 11, indices)
    for b, image in enumerate(batch):
        for layer in range(3):
            number = operators[b, layer]
            if applied[b, layer]:
                sign = -1 if SIGNED[number] and negative[b, layer] else 1
                arg = sign * level_to_argument(OPERATORS[number], 4)
                resample = "bicubic" if bicubic[b, layer] else "bilinear"
                image = on_pillow(image, OPERATORS[number], arg, resample)
        assert np.array_equal(out[b], image)


def test_draws_follow_the_policy() -> None:
    policy = RandAugment.parse("rand-m4-n3", (0.5, 0.5, 0.5))
    n = 60_000
    operators, applied, negative, bicubic = policy.draw(0, 0, np.arange(n))
    for layer in range(3):
        counts = np.bincount(operators[:, layer], minlength=15)
        assert ((counts - n / 15) ** 2 / (n / 15)).sum() < 36.1  # 14 degrees, p = 0.001
    applications = np.bincount(applied.sum(1), minlength=4) / n
    np.testing.assert_allclose(applications, [1 / 8, 3 / 8, 3 / 8, 1 / 8], atol=0.008)
    for coin in (applied, negative, bicubic):
        assert abs(coin.mean() - 0.5) < 0.006
    draws = np.concatenate([operators, applied, negative, bicubic], 1).astype(float)
    correlation = np.corrcoef(draws.T) - np.eye(12)
    assert np.abs(correlation).max() < 4.5 / np.sqrt(n)


def test_augmentation_depends_on_the_sample_alone() -> None:
    rng = np.random.default_rng(1)
    batch = rng.integers(0, 256, (40, 32, 32, 3)).astype(np.uint8)
    config = DataConfig(source="cifar10", pad=4, flip=True, randaugment="rand-m4-n3")
    augmentation = Augmentation.from_config(config, (0.49, 0.48, 0.45))
    whole, parts = np.empty_like(batch), np.empty_like(batch)
    rows = np.arange(40)
    augmentation.apply(batch, rows, 1, 2, rows, whole)
    for part in (rows[25:], rows[:25]):
        out = np.empty_like(batch[part])
        augmentation.apply(batch, part, 1, 2, part, out)
        parts[part] = out
    assert np.array_equal(whole, parts)
    assert not np.array_equal(whole, batch)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("rnd-m4-n3", "unknown RandAugment policy"),
        ("rand-m4-x3", "unknown part 'x3'"),
        ("rand-m2.5-n1", "whole numbers"),
        ("rand-m11-n1", "magnitude 0 to 10"),
        ("rand-m4-n0", "layers from 1"),
    ],
)
def test_policies_that_are_none(policy: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        RandAugment.parse(policy, (0.5, 0.5, 0.5))


def test_bad_calls() -> None:
    image = images()["noise"]
    with pytest.raises(UserError, match="did you mean Posterize"):
        apply_op(image, "Posterise", 1)
    with pytest.raises(UserError, match=r"expected \(H, W, 3\) uint8"):
        apply_op(image[..., 0], "Invert", 0)
    with pytest.raises(UserError, match="did you mean bilinear"):
        apply_op(image, "Rotate", 5, resample="linear")
