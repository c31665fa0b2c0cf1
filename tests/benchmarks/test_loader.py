from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import loader

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (50, 32, 32, 3)).astype(np.uint8)
LABELS = RNG.integers(0, 10, 50)


@pytest.mark.parametrize("recipe", loader.RECIPES)
def test_the_rivals_yield_the_same_kind_of_batches(recipe: str, tmp_path: Path) -> None:
    for name in loader.loaders_here():
        batches = list(loader.make_loader(name, recipe, IMAGES, LABELS, 16, tmp_path))
        assert len(batches) == 3
        for batch in batches:
            assert batch[0].shape == (16, 3, 32, 32)
            assert batch[0].dtype == torch.uint8
            assert batch[1].shape == (16,)


def test_every_rival_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "loaders_here", lambda: [loader.REFERENCE, "torch"])
    rows = loader.measure("rand-m2-n1", IMAGES, LABELS, batch=16, turns=1, probes=1)
    assert [(row["loader"], row["policy"]) for row in rows] == [
        ("DataLoader", "rand-m3-n1"),
        ("torch", "rand-m2-n1"),
    ]
    assert rows[0]["ratio"] == 1
    for row in rows:
        assert row["slowest"] <= row["images_per_second"] <= row["fastest"]
        assert row["first_batch_seconds"] > 0
        assert row["memory_mib"] > 50
