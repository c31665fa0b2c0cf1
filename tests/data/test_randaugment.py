"""RandAugment's operators against timm's on Pillow, and the policy's draws."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image
from scipy import stats
from sklearn.datasets import load_sample_images
from timm.data import auto_augment
from timm.data.auto_augment import rand_augment_ops

from codepath.core.errors import UserError
from codepath.core.provenance import REPO_ROOT
from codepath.data.augment import Augmentation, CropAugmentation
from codepath.data.augment_operators import OPERATORS, apply_op, level_to_argument
from codepath.data.randaugment import Decisions, RandAugment
from codepath.data.sources.cifar import IMAGES_VARIABLE
from codepath.run.config import DataConfig

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
SIGNED = ("Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel")
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


def crops_of_photographs() -> dict[str, np.ndarray]:
    """Pieces of scikit-learn's two photographs, of CIFAR's and of other sizes."""
    sizes = {"32 x 32": (32, 32), "96 x 64": (64, 96), "160 x 160": (160, 160)}
    return {
        f"{name} of photograph {k}": np.ascontiguousarray(
            photograph[60 + 90 * k :, 200:][: size[0], : size[1]]
        )
        for k, photograph in enumerate(load_sample_images().images)
        for name, size in sizes.items()
    }


def cifar_images() -> dict[str, np.ndarray]:
    """Two images of each class from the tar that the environment names, or beside the checkout."""
    named = os.environ.get(IMAGES_VARIABLE)
    path = Path(named) if named else REPO_ROOT.parent / "shared/data/cifar10-jpeg-q75.tar.gz"
    if not path.is_file():
        pytest.skip(f"no images of CIFAR-10: {IMAGES_VARIABLE} names none")
    found: dict[str, np.ndarray] = {}
    taken: Counter[str] = Counter()
    with tarfile.open(path) as archive:
        for member in archive:
            parts = PurePosixPath(member.name).parts
            if not member.isfile() or parts[0] != "test" or taken[parts[1]] == 2:
                continue
            taken[parts[1]] += 1
            stream = archive.extractfile(member)
            assert stream is not None
            found[member.name] = np.array(Image.open(stream).convert("RGB"))
            if len(found) == 20:
                break
    return found


def on_pillow(image: np.ndarray, name: str, arg: float, resample: str) -> np.ndarray:
    if name == "Posterize" and arg == 0:  # Pillow refuses it; timm's result used to be black
        return np.zeros_like(image)
    arguments = () if name in ("AutoContrast", "Equalize", "Invert") else (arg,)
    if name == "Posterize":
        arguments = (int(arg),)
    options = {"resample": FILTERS[resample], "fillcolor": FILL}
    return np.array(TIMM[name](Image.fromarray(image), *arguments, **options))


@pytest.fixture(scope="module", params=["awkward", "photographs", "CIFAR-10"])
def pictures(request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    make = {"awkward": images, "photographs": crops_of_photographs, "CIFAR-10": cifar_images}
    return make[request.param]()


@pytest.mark.parametrize("name", OPERATORS)
def test_every_pixel_equals_timms(name: str, pictures: dict[str, np.ndarray]) -> None:
    signs = (1, -1) if name in SIGNED else (1,)
    for magnitude in range(11):
        for sign in signs:
            arg = sign * level_to_argument(name, magnitude)
            for resample in FILTERS:
                for kind, image in pictures.items():
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


@pytest.mark.parametrize("degrees", [-270, -180, -90, 0, 90, 180, 270])
def test_right_angles(degrees: float) -> None:
    """Pillow turns some of them without resampling."""
    for image in images().values():
        for resample in FILTERS:
            got = apply_op(image, "Rotate", degrees, resample, FILL)
            assert np.array_equal(got, on_pillow(image, "Rotate", degrees, resample))


@pytest.mark.parametrize("increasing", [False, True])
@pytest.mark.parametrize("magnitude", [*range(11), 0.07, 3.3, 9.999, 14.2, 30])
def test_arguments_are_timms(
    magnitude: float, increasing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = auto_augment.rand_augment_choices("", increasing)
    script = Scripted()
    monkeypatch.setattr(auto_augment, "random", script)
    for op, name in zip(rand_augment_ops(transforms=names), OPERATORS, strict=True):
        for script.negative in (False, True):
            (expected,) = op.level_fn(magnitude, {}) if op.level_fn is not None else (0.0,)
            assert level_to_argument(name, magnitude, script.negative, increasing) == expected


def test_operators_are_timms_list_in_its_order() -> None:
    assert list(OPERATORS) == auto_augment._RAND_TRANSFORMS


class Scripted:
    """In the place of timm's `random`: gives out decisions that were made already."""

    def __init__(self) -> None:
        self.negative, self.magnitude, self.resample = False, 0.0, FILTERS["bilinear"]

    def random(self) -> float:
        return 1.0 if self.negative else 0.0

    def gauss(self, *_: float) -> float:
        return self.magnitude

    uniform = gauss

    def choice(self, _: object) -> Image.Resampling:
        return self.resample


def posterize(image: Image.Image, bits: int, **_: object) -> Image.Image:
    if bits < 1:  # Pillow refuses it; timm's result used to be black
        return Image.new("RGB", image.size)
    return auto_augment.posterize(image, bits)


@pytest.mark.parametrize(
    "name",
    [
        "rand-m4-n3",
        "rand-m2-n1",
        "rand-m10-n2",
        "rand-n3-m9-inc1-mstd0.5",
        "rand-m6-n4-p0.9-mstd101",
        "rand-m15-n3",
        "rand-m17-n3-mmax20-inc1",
        "rand-m30-n4-p1-mmax60-mstd20",
        "rand-m30-n4-p1-mmax30",
        "rand-mstd3-mmax0",
    ],
)
def test_a_whole_policy_equals_timm_replayed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """timm reads the same string, and its operators run with our decisions."""
    rng = np.random.default_rng(3)
    batch = rng.integers(0, 256, (200, 24, 32, 3)).astype(np.uint8)
    policy = RandAugment.parse(name, (0.4914, 0.4822, 0.4465))
    assert policy.fill == FILL
    indices = rng.permutation(50_000)[:200]
    out = np.empty_like(batch)
    policy.apply(batch, np.arange(200), 7, 11, indices, out)
    made = policy.draw(7, 11, indices)

    timms = auto_augment.rand_augment_transform(name, {"img_mean": FILL})
    assert timms.num_layers == policy.layers
    assert all(op.prob == policy.probability for op in timms.ops)
    script = Scripted()
    monkeypatch.setattr(auto_augment, "random", script)
    timms.ops[OPERATORS.index("Posterize")].aug_fn = posterize
    for op in timms.ops:
        op.prob = 1.0  # whether an operator applies is decided below
    for b, pixels in enumerate(batch):
        image = Image.fromarray(pixels)
        for layer in range(policy.layers):
            if made.applied[b, layer]:
                script.negative = made.negative[b, layer]
                script.magnitude = float(made.magnitudes[b, layer])
                script.resample = FILTERS["bicubic" if made.bicubic[b, layer] else "bilinear"]
                image = timms.ops[made.operators[b, layer]](image)
        assert np.array_equal(out[b], np.array(image)), b


PINNED = {
    "rand-m4-n3": "2055e10c7288c91b",
    "rand-m2-n1": "701312fd9f57c0df",
    "rand-m10-n2": "5205470bdddbf745",
}


@pytest.mark.parametrize("name", PINNED)
def test_results_are_pinned(name: str) -> None:
    """What the experiments' policies do must not change between versions or machines."""
    batch = np.random.default_rng(5).integers(0, 256, (64, 16, 20, 3)).astype(np.uint8)
    config = DataConfig(source="cifar10", pad=4, flip=True, randaugment=name)
    out = np.empty_like(batch)
    Augmentation.from_config(config, (0.49, 0.48, 0.45)).apply(
        batch, np.arange(64), 1, 2, np.arange(1000, 1064), out
    )
    assert hashlib.sha256(out.tobytes()).hexdigest()[:16] == PINNED[name]


@pytest.mark.parametrize("probability", [0.5, 0.8])
def test_draws_follow_the_policy(probability: float) -> None:
    policy = RandAugment.parse(f"rand-m4-n3-p{probability}", (0.5, 0.5, 0.5))
    n = 60_000
    made = policy.draw(0, 0, np.arange(n))
    chances = [
        stats.chisquare(np.bincount(made.operators[:, layer], minlength=15)).pvalue
        for layer in range(3)
    ]
    counts = np.bincount(made.applied.sum(1), minlength=4)
    expected = n * stats.binom.pmf(np.arange(4), 3, probability)
    chances.append(stats.chisquare(counts, expected).pvalue)
    for coin in (made.negative, made.bicubic):
        for layer in range(3):
            chances.append(stats.chisquare(np.bincount(coin[:, layer], minlength=2)).pvalue)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        pairs = np.bincount(15 * made.operators[:, one] + made.operators[:, other], minlength=225)
        chances.append(stats.chisquare(pairs).pvalue)
    for coin in (made.applied, made.negative, made.bicubic):
        table = np.histogram2d(made.operators.ravel(), coin.ravel(), (15, 2))[0]
        chances.append(stats.chi2_contingency(table).pvalue)
    assert min(chances) > 0.001, chances
    assert (made.magnitudes == 4).all()
    draws = np.concatenate(made[:4], 1).astype(float)
    correlation = np.corrcoef(draws.T) - np.eye(12)
    assert np.abs(correlation).max() < 4.5 / np.sqrt(n)


def test_magnitudes_are_normal_or_uniform() -> None:
    n = 40_000
    normal = RandAugment.parse("rand-m9-n2-mstd0.5", (0.5,) * 3).draw(0, 0, np.arange(n))
    below = normal.magnitudes[normal.magnitudes < 10]
    share = stats.norm.cdf(2)
    assert stats.binomtest(len(below), 2 * n, share).pvalue > 0.001
    assert stats.kstest(below, lambda x: stats.norm.cdf(x, 9, 0.5) / share).pvalue > 0.001
    assert normal.magnitudes.max() == 10
    low = RandAugment.parse("rand-m1-n1-mstd2-mmax5", (0.5,) * 3).draw(0, 0, np.arange(n))
    assert (low.magnitudes.min(), low.magnitudes.max()) == (0, 5)
    flat = RandAugment.parse("rand-m8-n2-mstd101", (0.5,) * 3).draw(0, 0, np.arange(n))
    assert stats.kstest(flat.magnitudes.ravel(), stats.uniform(0, 8).cdf).pvalue > 0.001
    for made in (normal, flat):
        layers = [made.magnitudes, made.operators, made.applied, made.negative, made.bicubic]
        correlation = np.corrcoef(np.concatenate(layers, 1).astype(float).T) - np.eye(10)
        assert np.abs(correlation).max() < 4.5 / np.sqrt(n)


def test_a_deviation_changes_the_magnitudes_alone() -> None:
    plain, varied = (
        RandAugment.parse(name, (0.5,) * 3).draw(3, 1, np.arange(500))
        for name in ("rand-m4-n3", "rand-m4-n3-mstd1")
    )
    assert all(np.array_equal(x, y) for x, y in zip(plain[:4], varied[:4], strict=True))
    assert len(np.unique(varied.magnitudes)) > 1400


def test_posterize_to_no_bits() -> None:
    """By default a black image; with the switch the highest bit stays."""
    image = images()["noise"]
    decisions = Decisions(
        np.full((1, 1), OPERATORS.index("Posterize")),
        *(np.ones((1, 1), bool),) * 3,
        np.full((1, 1), 2.0),
    )
    for least, expected in ((0, np.zeros_like(image)), (1, image & 128)):
        policy = RandAugment.parse("rand-m2-n1", (0.5,) * 3, posterize_min_bits=least)
        bits = policy.arguments(decisions)[0, 0]
        assert np.array_equal(apply_op(image, "Posterize", bits), expected)
    with pytest.raises(UserError, match="must be 0 or 1"):
        RandAugment.parse("rand-m2-n1", (0.5,) * 3, posterize_min_bits=2)


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
        ("rand-m-n1", "unknown part 'm'"),
        ("rand-m9-tweights", "unknown part 'tweights'"),
        ("rand-m4-mstdinf", "unknown part 'mstdinf'"),
        ("rand-m2.5-n1", "'m2.5' needs a whole number"),
        ("rand-m2-mstd0.5.1", "'mstd0.5.1' needs a number"),
        ("rand-m4-n0", "layers from 1"),
        ("rand-m4-p1.5", "probability to 1"),
        ("rand-m4-inc2", "inc 0 or 1"),
        ("rand-m4-n1-m5", "m stands twice"),
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


@pytest.mark.parametrize("bits", [0, 1])
def test_the_configuration_chooses_how_posterize_ends(bits: int) -> None:
    for source, crop in (("cifar100", 0), ("imagenet", 160)):
        config = DataConfig(
            source=source, crop=crop, randaugment="rand-m2-n1", posterize_min_bits=bits
        )
        made = (
            CropAugmentation.from_config(config, (0.5,) * 3, crop)
            if crop
            else Augmentation.from_config(config, (0.5,) * 3)
        )
        assert made.randaugment is not None
        assert made.randaugment.posterize_min_bits == bits
    with pytest.raises(UserError, match="must be 0 or 1"):
        DataConfig(source="cifar10", posterize_min_bits=2)
