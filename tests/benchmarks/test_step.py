"""The benchmark of training steps runs through, and its rows say what was measured."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from benchmarks import convolutions, step
from codepath.config import RunConfig


def test_every_way_trains(tiny_config: RunConfig) -> None:
    batch = step.random_batch(tiny_config, 8)
    rows = step.measure(tiny_config, batch, ["launched", "aligned"], 3, 2, torch.device("cpu"))
    assert [row["way"] for row in rows] == ["launched", "aligned"]
    assert rows[0]["speed_up"] == 1
    for row in rows:
        assert row["images_per_second"] == pytest.approx(32 / row["value"])


def test_the_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_config: RunConfig) -> None:
    class Tiny:
        def runs(self, *_: object) -> list[RunConfig]:
            return [tiny_config]

    monkeypatch.setattr(step, "find_experiment", lambda _: Tiny())
    batch = step.random_batch(tiny_config, 8)
    monkeypatch.setattr(step, "random_batch", lambda *_: batch)
    monkeypatch.setattr(step, "choose_device", lambda: torch.device("cpu"))
    options = [
        "--networks",
        "C10",
        "--ways",
        "launched",
        "recorded",
        "--turns",
        "1",
        "--steps",
        "1",
    ]
    monkeypatch.setattr(sys, "argv", ["step", *options, "--out", str(tmp_path)])
    step.main()
    rows = pd.read_csv(tmp_path / "step-cpu.csv")
    assert list(rows["way"]) == ["launched"]  # there are no graphs on the CPU
    assert rows["batch"].item() == 32


def test_convolutions_need_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolutions, "choose_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(sys, "argv", ["convolutions"])
    with pytest.raises(SystemExit, match="run this on one"):
        convolutions.main()
