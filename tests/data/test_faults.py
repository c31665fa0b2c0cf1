"""What can go wrong while images are loaded: one clear line, soon, and nothing left behind."""

from __future__ import annotations

import dataclasses
import gc
import importlib.util
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba.core.compiler_lock
import numpy as np
import pytest
import torch

from codepath.core.errors import UserError
from codepath.core.provenance import REPO_ROOT
from codepath.data import (
    ArrayDataSet,
    ArraySplit,
    DataSet,
    FileDataSet,
    Loader,
    LoaderOptions,
    evaluation_loader,
    files,
    load_data_set,
    training_loader,
)
from codepath.data.beton import Beton
from codepath.data.beton_writer import ensure_beton
from codepath.data.prefetch import PATIENCE_VARIABLE, StuckError, prefetched
from codepath.data.randaugment import RandAugment
from codepath.run.config import DataConfig
from tests.data.photographs import make_folders

BACKENDS = [
    "torch",
    pytest.param(
        "ffcv",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("ffcv") is None,
            reason="FFCV is not installed (codepath doctor)",
        ),
    ),
]
SMALL = DataConfig(source="cifar10", pad=4, flip=True, randaugment="rand-m4-n3")
LARGE = DataConfig(source="imagenet", crop=24, flip=True, randaugment="rand-m10-n2")


def in_memory() -> ArrayDataSet:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (256, 32, 32, 3)).astype(np.uint8)
    split = ArraySplit(images, rng.integers(0, 10, 256))
    names = tuple(map(str, range(10)))
    return ArrayDataSet("noise", "generated", split, split, names, (0.5,) * 3, (0.25,) * 3)


def in_files(root: Path, backend: str) -> FileDataSet:
    images = load_data_set("imagenet", make_folders(root / "imagenet"), crop=24, subset=True)
    assert isinstance(images, FileDataSet)
    if backend == "torch":
        return images
    beton = Beton(ensure_beton(images, "train", root / "betons"))
    return dataclasses.replace(images, train=dataclasses.replace(images.train, files=beton))


@pytest.fixture(params=["in memory", "in files"])
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def loader_of(case: str, backend: str, root: Path, workers: int = 0) -> Loader:
    options = LoaderOptions(backend, root / "betons", workers)
    images: DataSet = in_memory() if case == "in memory" else in_files(root, backend)
    config = SMALL if case == "in memory" else LARGE
    return training_loader(images, config, 4, seed=1, options=options)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_error_in_an_operator_reaches_the_caller(
    case: str, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = loader_of(case, backend, tmp_path)
    threads = threading.active_count()
    calls = iter(range(10**6))

    def fail(*_: object) -> None:
        if next(calls) == 2:
            raise ZeroDivisionError("inside the operator")

    monkeypatch.setattr("codepath.data.randaugment.RandAugment.apply", fail)
    started = time.monotonic()
    with pytest.raises(ZeroDivisionError, match="inside the operator"):
        list(loader)
    assert time.monotonic() - started < 10
    assert threading.active_count() == threads


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_operator_that_hangs_ends_in_one_line(
    case: str, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the patience that is set; its thread is left behind, and a next epoch works."""
    monkeypatch.setenv(PATIENCE_VARIABLE, "3")
    loader = loader_of(case, backend, tmp_path)
    list(loader)
    go_on = threading.Event()
    real, calls = RandAugment.apply, iter(range(10**6))

    def hang(*arguments: object) -> None:
        if next(calls) == 1:
            go_on.wait(60)
        real(*arguments)

    monkeypatch.setattr(RandAugment, "apply", hang)
    started = time.monotonic()
    with pytest.raises(StuckError, match="no image was finished for 3 s") as caught:
        list(loader)
    assert time.monotonic() - started < 10
    assert "\n" not in str(caught.value)
    assert len(list(loader)) == len(loader)
    go_on.set()


@pytest.mark.parametrize("backend", BACKENDS)
def test_slow_work_is_not_taken_for_stuck(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch takes longer than patience lasts, but no image does."""
    loader = loader_of("in files", backend, tmp_path, workers=1)
    monkeypatch.setenv(PATIENCE_VARIABLE, "0.5")
    module = {"torch": "files", "ffcv": "ffcv_loader"}[backend]
    monkeypatch.setattr(f"codepath.data.{module}.decode", slowly(files.decode))
    started = time.monotonic()
    assert len(list(loader)) == len(loader)
    assert time.monotonic() - started > 0.25 * 4


def slowly(function: Callable[..., Any]) -> Callable[..., Any]:
    def slow(*arguments: Any) -> Any:
        time.sleep(0.25)
        return function(*arguments)

    return slow


HANGS = """
import sys, threading
from codepath.data.prefetch import prefetched
try:
    list(prefetched(lambda _: threading.Event().wait(), range(4), 2, 2))
except ValueError as error:
    print(error)
"""


def test_a_thread_that_hangs_does_not_keep_the_process() -> None:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", HANGS],
        env=os.environ | {PATIENCE_VARIABLE: "0.5"},
        capture_output=True, text=True, timeout=60, check=True, cwd=REPO_ROOT,
    )  # fmt: skip
    assert done.stdout.startswith("no image was finished for 0.5 s")
    assert done.stdout.count("\n") == 1
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("wrong", ["soon", "0", "-3", "nan"])
def test_patience_is_a_number(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATIENCE_VARIABLE, wrong)
    with pytest.raises(UserError, match="must be a number of seconds above 0"):
        list(prefetched(str, range(3), 1, 1))


def test_compiling_a_kernel_is_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATIENCE_VARIABLE, "0.3")

    def compiles(_: int) -> None:
        with numba.core.compiler_lock.global_compiler_lock:
            time.sleep(1)

    assert list(prefetched(compiles, range(2), 1, 1)) == [None, None]


@pytest.mark.parametrize("backend", BACKENDS)
def test_leaving_an_epoch_early_does_not_load_the_rest(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = loader_of("in memory", backend, tmp_path)
    real, calls = RandAugment.apply, []

    def counted(*arguments: object) -> None:
        calls.append(1)
        time.sleep(0.01)
        real(*arguments)

    monkeypatch.setattr(RandAugment, "apply", counted)
    iterator = iter(loader)
    next(iterator)
    iterator.close()  # type: ignore[attr-defined]
    assert len(calls) <= 16  # of 64 batches, each shared by at most two threads
    assert len(list(loader)) == len(loader) == 64


@pytest.mark.parametrize("backend", BACKENDS)
def test_more_workers_than_cores_change_nothing(case: str, backend: str, tmp_path: Path) -> None:
    one, many = (loader_of(case, backend, tmp_path / str(n), n) for n in (1, 1000))
    for a, b in zip(one, many, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
def test_twenty_epochs_leave_nothing_behind(case: str, backend: str, tmp_path: Path) -> None:
    loader = loader_of(case, backend, tmp_path)

    def held() -> tuple[int, int, int]:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir())), pages

    for epoch in range(5):
        loader.set_epoch(epoch)
        list(loader)
    threads, files, pages = held()
    for epoch in range(20):
        loader.set_epoch(epoch)
        assert len(list(loader)) == len(loader)
    now_threads, now_files, now_pages = held()
    assert (now_threads, now_files) == (threads, files)
    assert (now_pages - pages) * os.sysconf("SC_PAGE_SIZE") < 8 * 2**20


@pytest.mark.skipif(
    importlib.util.find_spec("ffcv") is None, reason="FFCV is not installed (codepath doctor)"
)
def test_ffcvs_thread_dies(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ffcv.loader.epoch_iterator import EpochIterator

    loader = loader_of(case, "ffcv", tmp_path)
    next(iter(loader))

    monkeypatch.setattr(EpochIterator, "run", lambda _: None)
    started = time.monotonic()
    with pytest.raises(UserError, match="FFCV stopped reading"):
        list(loader)
    assert time.monotonic() - started < 10


def test_a_deleted_image_is_named(tmp_path: Path) -> None:
    images = in_files(tmp_path, "torch")
    path = Path(images.train.files.name(7))
    path.unlink()
    for loader in (
        training_loader(images, LARGE, 5, seed=0, options=LoaderOptions("torch")),
        evaluation_loader(images.train),
    ):
        with pytest.raises(UserError, match=f"{path.name}.*No such file"):
            list(loader)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_beton_deleted_in_use_goes_on(backend: str, tmp_path: Path) -> None:
    """An open file outlives its name: training goes on, and the next one makes it again."""
    images = in_memory()
    options = LoaderOptions(backend, tmp_path)
    loader = training_loader(images, SMALL, 4, seed=1, options=options)
    before = [batch.images for batch in loader]
    for path in tmp_path.glob("*"):
        path.unlink()
    assert all(torch.equal(a, b.images) for a, b in zip(before, loader, strict=True))
    again = training_loader(images, SMALL, 4, seed=1, options=options)
    assert all(torch.equal(a, b.images) for a, b in zip(before, again, strict=True))
