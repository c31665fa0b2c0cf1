"""The FFCV backend against the torch backend. Without FFCV the choice falls on torch."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from codepath.core.errors import UserError
from codepath.core.provenance import REPO_ROOT
from codepath.data import ArrayDataSet, ArraySplit, LoaderOptions, choose_backend, training_loader
from codepath.run.config import DataConfig

HAS_FFCV = importlib.util.find_spec("ffcv") is not None
needs_ffcv = pytest.mark.skipif(not HAS_FFCV, reason="FFCV is not installed (codepath doctor)")
CONFIG = DataConfig(source="cifar10", pad=4, flip=True, randaugment="rand-m4-n3")


@pytest.fixture(scope="module")
def rgb_images() -> ArrayDataSet:
    rng = np.random.default_rng(0)

    def split(size: int) -> ArraySplit:
        images = rng.integers(0, 256, (size, 32, 32, 3)).astype(np.uint8)
        return ArraySplit(images, rng.integers(0, 10, size))

    names = tuple(f"class{k}" for k in range(10))
    return ArrayDataSet("noise", "generated", split(205), split(20), names, (0.5,) * 3, (0.25,) * 3)


@pytest.fixture
def ffcv(tmp_path: Path) -> LoaderOptions:
    return LoaderOptions("ffcv", tmp_path / "betons")


def epoch_of(loader, epoch: int) -> list:
    loader.set_epoch(epoch)
    return list(loader)


@needs_ffcv
def test_both_backends_yield_the_same_bytes(rgb_images: ArrayDataSet, ffcv: LoaderOptions) -> None:
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
def test_an_epoch_of_arrays_is_entered_at_any_batch(
    rgb_images: ArrayDataSet, ffcv: LoaderOptions
) -> None:
    through = epoch_of(training_loader(rgb_images, CONFIG, 32, seed=5, options=ffcv), 2)
    for first in (1, 3, 5, 6):
        loader = training_loader(rgb_images, CONFIG, 32, seed=5, options=ffcv)
        loader.set_epoch(2, first)
        rest = list(loader)
        assert len(rest) == len(through) - first
        for x, y in zip(rest, through[first:], strict=True):
            assert all(torch.equal(p, q) for p, q in zip(x, y, strict=True))


OTHER_PROCESS = """
import sys
from pathlib import Path
from tests.data.test_ffcv import digest
print(digest(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
"""


def digest(backend: str, workers: int, folder: Path) -> str:
    """Of the batches of an epoch: CIFAR's recipe on noise."""
    rng = np.random.default_rng(0)
    split = ArraySplit(
        rng.integers(0, 256, (205, 32, 32, 3)).astype(np.uint8), rng.integers(0, 10, 205)
    )
    names = tuple(map(str, range(10)))
    images = ArrayDataSet("noise", "generated", split, split, names, (0.5,) * 3, (0.25,) * 3)
    options = LoaderOptions(backend, folder, workers)
    sha = hashlib.sha256()
    for batch in epoch_of(training_loader(images, CONFIG, 32, seed=5, options=options), 3):
        for part in batch:
            sha.update(part.contiguous().numpy().tobytes())
    return sha.hexdigest()


@needs_ffcv
def test_another_process_makes_the_same_bytes(tmp_path: Path) -> None:
    """With one worker there, two here, and the torch backend here."""
    done = subprocess.run(
        [sys.executable, "-c", OTHER_PROCESS, "ffcv", "1", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        cwd=REPO_ROOT,
    )
    assert done.stdout.strip() == digest("ffcv", 2, tmp_path) == digest("torch", 2, tmp_path)


IMPORTED = """
import numba.typed, torch
threads, kind = torch.get_num_threads(), numba.typed.Dict
import codepath.data.ffcv_loader
from ffcv.fields import rgb_image
assert (torch.get_num_threads(), numba.typed.Dict) == (threads, kind)
assert kind is not dict
print(type(rgb_image.IMAGE_MODES).__name__)
"""


@needs_ffcv
def test_importing_ffcv_compiles_nothing_and_changes_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True, cwd=REPO_ROOT
    )
    assert done.stdout.strip() == "dict"


@needs_ffcv
def test_leaving_an_epoch_early_leaves_no_thread(
    rgb_images: ArrayDataSet, ffcv: LoaderOptions
) -> None:
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
    rgb_images: ArrayDataSet, ffcv: LoaderOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = training_loader(rgb_images, CONFIG, 32, seed=0, options=ffcv)

    def fail(*_: object) -> None:
        raise ZeroDivisionError("inside the operator")

    monkeypatch.setattr("codepath.data.augment.crop_flip", fail)
    with pytest.raises(ZeroDivisionError, match="inside the operator"):
        epoch_of(loader, 0)


def test_the_choice_of_backend(rgb_images: ArrayDataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_backend(rgb_images, LoaderOptions("torch")) == ("torch", "")
    with pytest.raises(UserError, match="did you mean ffcv"):
        choose_backend(rgb_images, LoaderOptions("ffvc"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    assert choose_backend(rgb_images, LoaderOptions()) == ("ffcv", "")
    grey = dataclasses.replace(
        rgb_images, train=ArraySplit(rgb_images.train.images[..., :1], rgb_images.train.labels)
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
