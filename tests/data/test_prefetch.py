"""The torch backend's threads: same bytes, no hang, nothing left behind."""

from __future__ import annotations

import gc
import hashlib
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

from codepath.core.provenance import REPO_ROOT
from codepath.data import ArraySplit, prefetch, training_loader
from codepath.data.augment import Augmentation
from codepath.data.loaders import MOST_THREADS, SPARE_BATCHES, ArrayLoader, Batch
from codepath.data.prefetch import Progress, prefetched
from codepath.run.config import DataConfig

CONFIG = DataConfig(source="cifar10", pad=4, flip=True, randaugment="rand-m9-n3-mstd0.5-inc1")


def noise(size: int = 205) -> ArraySplit:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (size, 24, 32, 3)).astype(np.uint8)
    return ArraySplit(images, rng.integers(0, 10, size))


def loader_of(threads: int | None, batch_size: int = 16) -> ArrayLoader:
    augmentation = Augmentation.from_config(CONFIG, (0.5, 0.4, 0.3))
    return ArrayLoader(noise(), batch_size, augmentation, shuffle=True, seed=5, threads=threads)


def epoch_of(loader: ArrayLoader, epoch: int) -> list[Batch]:
    loader.set_epoch(epoch)
    return list(loader)


def equal(left: list[Batch], right: list[Batch]) -> bool:
    return len(left) == len(right) and all(
        torch.equal(p, q)
        for x, y in zip(left, right, strict=True)
        for p, q in zip(x, y, strict=True)
    )


def our_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("codepath-prefetch")]


@pytest.mark.parametrize("threads", [1, 2, 5, None])
def test_threads_do_not_change_a_byte(threads: int | None) -> None:
    alone, threaded = loader_of(0), loader_of(threads)
    for epoch in (0, 2, 1):
        expected = epoch_of(alone, epoch)
        assert len(expected) == len(alone) == 12
        assert equal(expected, epoch_of(threaded, epoch))
    assert our_threads() == []


def test_resuming_at_an_epoch_gives_its_batches() -> None:
    through = loader_of(2)
    epochs = [epoch_of(through, epoch) for epoch in range(3)]
    assert equal(epochs[2], epoch_of(loader_of(2), 2))
    assert not torch.equal(epochs[1][0].images, epochs[2][0].images)


def test_the_epoch_of_an_iteration_is_fixed_at_its_start() -> None:
    loader = loader_of(2)
    expected = epoch_of(loader, 1)
    running = iter(loader)
    loader.set_epoch(7)
    assert equal(list(running), expected)


def test_batches_kept_do_not_change() -> None:
    loader = loader_of(2)
    kept, copies = [], []
    for batch in loader:
        kept.append(batch)
        copies.append(Batch(*(part.clone() for part in batch)))
    assert equal(kept, copies)


def test_leaving_an_epoch_early_joins_the_threads() -> None:
    loader = loader_of(3)
    for _ in range(3):
        iterator = iter(loader)
        next(iterator)
        assert our_threads()
        iterator.close()
        assert our_threads() == []
    for _ in loader:
        break
    gc.collect()
    assert our_threads() == []
    assert equal(list(loader), epoch_of(loader_of(0), 0))


def test_an_error_inside_an_operator_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes where the batch would have come, at once, and the threads end."""
    from codepath.data import randaugment

    real, calls = randaugment.apply_layers, []

    def fails_on_the_fourth(*arguments: object) -> None:
        calls.append(1)
        if len(calls) == 4:
            raise ZeroDivisionError("inside the operator")
        real(*arguments)

    monkeypatch.setattr(randaugment, "apply_layers", fails_on_the_fourth)
    loader, seen = loader_of(1), []
    started = time.monotonic()
    with pytest.raises(ZeroDivisionError, match="inside the operator") as caught:
        seen.extend(batch.indices for batch in loader)
    assert len(seen) == 3
    assert time.monotonic() - started < 5
    assert caught.value.__traceback__ is not None
    assert our_threads() == []
    assert len(epoch_of(loader, 0)) == 12


def test_few_batches_are_ahead() -> None:
    """Each result is counted while it exists: memory does not grow with the epoch."""
    alive, most, lock = 0, 0, threading.Lock()

    class Counted:
        def __init__(self, item: int) -> None:
            nonlocal alive, most
            self.item = item
            with lock:
                alive += 1
                most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            with lock:
                alive -= 1

    order = []
    for made in prefetched(Counted, range(200), threads=3, ahead=4):
        order.append(made.item)
        time.sleep(0.0005)
    del made
    assert order == list(range(200))
    assert most <= 4 + 2  # those ahead, the one in use, and the one that takes its place
    assert alive == 0


def test_threads_and_batches_ahead_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def spy(make, items, threads: int, ahead: int, progress: Progress):
        asked.append((threads, ahead))
        return prefetch.prefetched(make, items, threads, ahead, progress)

    monkeypatch.setattr("codepath.data.loaders.prefetched", spy)
    for cores in (1, 2, 64):
        monkeypatch.setattr("codepath.data.loaders.available_cores", lambda cores=cores: cores)
        list(loader_of(None))
    assert asked == [(n, n + SPARE_BATCHES) for n in (1, 2, MOST_THREADS)]
    list(ArrayLoader(noise(), 16))
    assert len(asked) == 3


OTHER_PROCESS = """
import sys
from tests.data.test_prefetch import digest
print(digest(int(sys.argv[1])))
"""


def digest(threads: int) -> str:
    sha = hashlib.sha256()
    for batch in epoch_of(loader_of(threads), 3):
        for part in batch:
            sha.update(part.contiguous().numpy().tobytes())
    return sha.hexdigest()


def test_another_process_makes_the_same_bytes() -> None:
    done = subprocess.run(
        [sys.executable, "-c", OTHER_PROCESS, "3"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        cwd=REPO_ROOT,
    )
    assert done.stdout.strip() == digest(1)


def test_kernels_release_the_gil() -> None:
    """Without it threads would gain nothing; fast-math would change bytes."""
    from codepath.data import augment_operators, kernels

    for kernel in (kernels.crop_flip, augment_operators.apply_layers, augment_operators._apply):
        assert kernel.targetoptions["nogil"]
        assert not kernel.targetoptions.get("fastmath")


def test_the_torch_backend_of_a_configuration_is_this_one(tiny_images) -> None:
    loader = training_loader(tiny_images, DataConfig(source="digits", pad=1), 32, seed=0)
    assert isinstance(loader, ArrayLoader)
    iterator = iter(loader)
    next(iterator)
    assert our_threads()
    iterator.close()
