from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import _rivals, loader

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (50, 32, 32, 3)).astype(np.uint8)
LABELS = RNG.integers(0, 10, 50)


PIXELS = dict.fromkeys(loader.RECIPES, 32) | {_rivals.PHOTOGRAPHS: _rivals.CROP}


@pytest.mark.parametrize("recipe", PIXELS)
def test_the_rivals_yield_the_same_kind_of_batches(recipe: str, tmp_path: Path) -> None:
    if recipe == _rivals.PHOTOGRAPHS:
        _rivals.make_photographs(tmp_path, 50)
    else:
        loader.save_arrays(IMAGES, LABELS, tmp_path)
    for name in _rivals.loaders_of(recipe):
        batches = list(_rivals.make_loader(name, recipe, 16, tmp_path))
        assert len(batches) == 3
        for batch in batches:
            assert batch[0].shape == (16, 3, PIXELS[recipe], PIXELS[recipe])
            assert batch[0].dtype == torch.uint8
            assert batch[1].shape == (16,)


def test_photographs_are_as_large_as_imagenets() -> None:
    sizes = [len(_rivals.photograph(seed)) for seed in range(5)]
    assert 60_000 < min(sizes) <= max(sizes) < 180_000
    assert _rivals.photograph(3) == _rivals.photograph(3)


def test_every_rival_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_rivals, "loaders_here", lambda: [_rivals.REFERENCE, "torch"])
    loader.save_arrays(IMAGES, LABELS, tmp_path)
    rows = loader.measure("rand-m2-n1", tmp_path, batch=16, turns=1, probes=1)
    assert [(row["loader"], row["policy"]) for row in rows] == [
        ("DataLoader", "rand-m3-n1"),
        ("torch", "rand-m2-n1"),
    ]
    assert rows[0]["ratio"] == 1
    for row in rows:
        assert row["slowest"] <= row["images_per_second"] <= row["fastest"]
        assert row["first_batch_seconds"] > 0
        assert row["memory_mib"] > 50


def test_the_other_parts_have_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(loader, "ours", lambda: ["torch"])
    loader.save_arrays(IMAGES, LABELS, tmp_path)
    (row,) = loader.measure_cores("rand-m4-n3", tmp_path, batch=16, turns=1, cores=[1])
    assert (row["loader"], row["cores"]) == ("torch", 1)
    assert row["images_per_second"] > 0
    empty, filled = loader.measure_start("rand-m4-n3", tmp_path, batch=16, probes=1)
    assert (empty["kernels"], filled["kernels"]) == ("empty", "filled")
    assert empty["first_batch_seconds"] > filled["first_batch_seconds"] > 0


@pytest.mark.slow
def test_memory_stays_flat_over_twenty_epochs(tmp_path: Path) -> None:
    """Batches of 128 photographs as large as ImageNet's, each loader in a process of its own."""
    _rivals.make_photographs(tmp_path, 128)
    rows = loader.measure_memory(tmp_path, batch=128, epochs=20)
    for name in loader.ours():
        held = [row["memory_mib"] for row in rows if row["loader"] == name]
        assert len(held) == 20
        assert max(held) < 2048
        assert max(held[5:]) - held[4] < 64
