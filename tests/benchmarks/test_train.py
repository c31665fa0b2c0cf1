"""The training benchmark runs through, and its rows say what was measured."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import loader, train
from codepath.data import ArrayDataSet, ArraySplit


def test_the_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    splits = [
        ArraySplit(rng.integers(0, 256, (n, 32, 32, 3)).astype(np.uint8), np.arange(n) % 10)
        for n in (40, 20)
    ]
    names = tuple(map(str, range(10)))
    images = ArrayDataSet("cifar10", "generated", *splits, names, (0.5,) * 3, (0.2,) * 3)
    monkeypatch.setattr("codepath.data.load_data_set", lambda *_: images)
    options = ["--scale", "cpu", "--batch", "8", "--images", "32", "--steps", "2", "--turns", "2"]
    monkeypatch.setattr(sys, "argv", ["train", *options, "--out", str(tmp_path)])
    train.main()
    (path,) = tmp_path.glob("train-*.csv")
    rows = pd.read_csv(path)
    speeds = rows[rows["what"] == "images per second"].set_index("variant")
    assert list(speeds.index) == loader.loaders_here()
    assert speeds["ratio"]["DataLoader"] == 1
    assert (speeds["least"] <= speeds["value"]).all()
    assert speeds["share"].between(0, 1).all()
    spent = rows[rows["variant"] == "run"].set_index("what")
    assert list(spent.index) == ["checkpoint", "line of metrics", "test images", "all but training"]
    assert spent["share"]["all but training"] == pytest.approx(spent["share"][:3].sum(), abs=1e-5)
    assert (rows["policy"] == "rand-m4-n3").all()
