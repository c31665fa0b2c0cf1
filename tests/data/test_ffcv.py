"""The FFCV backend against the torch backend. Without FFCV the choice falls on torch."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from codepath.config import DataConfig
from codepath.data import ImageSet, LoaderOptions, Split, choose_backend, training_loader
from codepath.runtime import UserError

HAS_FFCV = importlib.util.find_spec("ffcv") is not None
needs_ffcv = pytest.mark.skipif(not HAS_FFCV, reason="FFCV is not installed (codepath doctor)")
CONFIG = DataConfig(source="cifar10", pad=4, flip=True, randaugment="rand-m4-n3")


@pytest.fixture(scope="module")
def rgb_images() -> ImageSet:
    rng = np.random.default_rng(0)

    def split(size: int) -> Split:
        images = rng.integers(0, 256, (size, 32, 32, 3)).astype(np.uint8)
        return Split(images, rng.integers(0, 10, size))

    names = tuple(f"class{k}" for k in range(10))
    return ImageSet("noise", "generated", split(205), split(20), names, (0.5,) * 3, (0.25,) * 3)


@pytest.fixture
def ffcv(tmp_path: Path) -> LoaderOptions:
    return LoaderOptions("ffcv", tmp_path / "betons")


def epoch_of(loader, epoch: int) -> list:
    loader.set_epoch(epoch)
    return list(loader)


@needs_ffcv
def test_both_backends_yield_the_same_bytes(rgb_images: ImageSet, ffcv: LoaderOptions) -> None:
    threads = torch.get_num_threads()
    a = training_loader(rgb_images, CONFIG, 32, seed=5, options=ffcv)
    b = training_loader(rgb_images, CONFIG, 32, seed=5, options=LoaderOptions("torch"))
    for epoch in (0, 3, 1):
        left, right = epoch_of(a, epoch), epoch_of(b, epoch)
        assert len(left) == len(right) == len(a) == 6
        for x, y in zip(left, right, strict=True):
            assert all(torch.equal(p, q) for p, q in zip(x, y, strict=True))
    assert torch.get_num_threads() == threads
    assert a.num_samples == 192


@needs_ffcv
def test_leaving_an_epoch_early_leaves_no_thread(rgb_images: ImageSet, ffcv: LoaderOptions) -> None:
    loader = training_loader(rgb_images, CONFIG, 8, seed=0, options=ffcv)
    before = threading.active_count()
    for _ in range(3):
        iterator = iter(loader)
        next(iterator)
        iterator.close()
    assert threading.active_count() == before
    assert len(epoch_of(loader, 0)) == 25


@needs_ffcv
def test_an_error_in_augmentation_reaches_the_caller(
    rgb_images: ImageSet, ffcv: LoaderOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = training_loader(rgb_images, CONFIG, 32, seed=0, options=ffcv)

    def fail(*_: object) -> None:
        raise ZeroDivisionError("inside the operator")

    monkeypatch.setattr("codepath.data.augment.crop_flip", fail)
    with pytest.raises(ZeroDivisionError, match="inside the operator"):
        epoch_of(loader, 0)


@needs_ffcv
def test_betons_are_written_once_and_described(rgb_images: ImageSet, ffcv: LoaderOptions) -> None:
    from codepath.data.beton import ensure_beton, read_beton

    path = ensure_beton(rgb_images, "train", ffcv.betons)
    written = path.stat().st_mtime_ns
    assert ensure_beton(rgb_images, "train", ffcv.betons) == path
    assert path.stat().st_mtime_ns == written
    manifest = json.loads(path.with_suffix(".json").read_text())
    assert manifest["images"] == 205
    assert sum(manifest["classes"].values()) == 205
    assert manifest["source"] == "generated"
    back = read_beton(path, rgb_images.train.images.shape)
    assert np.array_equal(back.images, rgb_images.train.images)
    assert np.array_equal(back.labels, rgb_images.train.labels)
    changed = rgb_images.train.images.copy()
    changed[0, 0, 0, 0] ^= 1
    other = dataclasses.replace(rgb_images, train=Split(changed, rgb_images.train.labels))
    assert ensure_beton(other, "train", ffcv.betons) != path


@needs_ffcv
def test_a_truncated_beton_is_named(rgb_images: ImageSet, ffcv: LoaderOptions) -> None:
    from codepath.data.beton import ensure_beton

    path = ensure_beton(rgb_images, "train", ffcv.betons)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(UserError, match="is damaged"):
        training_loader(rgb_images, CONFIG, 32, seed=0, options=ffcv)


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from codepath.data import ImageSet, Split
from codepath.data.beton import ensure_beton
import ffcv
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
split = Split(np.full((5000, 32, 32, 3), 7, np.uint8), np.zeros(5000, np.int64))
images = ImageSet("full", "generated", split, split, ("a",), (0.5,) * 3, (0.5,) * 3)
try:
    ensure_beton(images, "train", Path(sys.argv[1]))
except (OSError, ValueError) as error:
    print("refused:", error)
"""


@needs_ffcv
@pytest.mark.parametrize("room", [1_000_000, 9_000_000, 16_000_000])
def test_a_disk_that_fills_up_leaves_nothing_behind(room: int, tmp_path: Path) -> None:
    """The limit on file sizes stands for the end of the disk, at several places of the file."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path), str(room)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.startswith("refused:"), done.stderr
    assert not [path for path in tmp_path.iterdir() if not path.name.endswith(".lock")]


def test_the_choice_of_backend(rgb_images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_backend(rgb_images, LoaderOptions("torch")) == ("torch", "")
    with pytest.raises(UserError, match="did you mean ffcv"):
        choose_backend(rgb_images, LoaderOptions("ffvc"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    assert choose_backend(rgb_images, LoaderOptions()) == ("ffcv", "")
    grey = dataclasses.replace(
        rgb_images, train=Split(rgb_images.train.images[..., :1], rgb_images.train.labels)
    )
    backend, reason = choose_backend(grey, LoaderOptions())
    assert (backend, "1 channel" in reason) == ("torch", True)
    with pytest.raises(UserError, match="use the torch loader"):
        choose_backend(grey, LoaderOptions("ffcv"))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    backend, reason = choose_backend(rgb_images, LoaderOptions())
    assert (backend, "not installed" in reason) == ("torch", True)
    with pytest.raises(UserError, match="not installed"):
        choose_backend(rgb_images, LoaderOptions("ffcv"))
