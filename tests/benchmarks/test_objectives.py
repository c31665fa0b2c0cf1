"""The search among objectives, on digits and for one epoch."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import objectives
from codepath.codes.decoding import nearest_codeword
from codepath.data import load_data_set
from codepath.evaluate import Predictions
from codepath.experiments.digits import table2_digits
from codepath.experiments.registry import override
from codepath.models import create_model
from codepath.run.config import RunConfig

HELD_OUT = 200


def digits_candidate(settings: str, epochs: int, seed: int) -> RunConfig:
    coded, plain = table2_digits("demo", seed)
    if settings == "plain":
        return override(plain, [f"train.epochs={epochs}"])
    return override(coded, [f"train.epochs={epochs}", *settings.split()])


def test_candidates_are_judged_on_held_out_training_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objectives, "HELD_OUT", HELD_OUT)
    monkeypatch.setattr(objectives, "candidate", digits_candidate)
    candidates = ["plain", "train.objective=extraction train.asked=0.2 model.p_drop=0"]
    out, runs = tmp_path / "out", tmp_path / "runs"
    arguments = ["--candidates", *candidates, "--epochs", "1", "--runs", runs, "--out", out]
    monkeypatch.setattr(sys, "argv", ["objectives", *map(str, arguments)])
    for _ in range(2):  # the second time nothing is trained, and no row is added
        objectives.main()
    rows = pd.read_csv(out / "objectives.csv")
    assert (rows["n"] == HELD_OUT).all()
    plain, coded = rows[rows["model"] == "baseline"], rows[rows["model"] == "coded"]
    assert plain["metric"].tolist() == ["top1"]
    assert coded["metric"].tolist() == ["top1", *["decoder"] * 4, "mean f1", *["exits"] * 4]
    assert coded["place"].tolist() == [0, 3, 4, 5, 6, 0, 0.5, 0.6, 0.7, 0.8]
    assert set(coded["objective"]) == {"extraction"}
    assert set(coded["asked"]) == {0.2}
    assert set(coded["score_weight"]) == {0.0}

    training, _ = objectives.held_out(load_data_set("digits"))
    run = digits_candidate(candidates[1], 1, 0)
    found = Predictions.load(runs / run.experiment / run.name / "predictions" / "test.npz")
    assert np.array_equal(found.labels, training.test.labels)
    block = create_model(run.model).coded_blocks[5]
    right = nearest_codeword(found.energies[5], block.scheme) == found.labels
    written = coded[(coded["metric"] == "decoder") & (coded["place"] == 5)]["value"].item()
    assert written == pytest.approx(right.mean(), abs=1e-6)


def test_no_test_image_is_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objectives, "HELD_OUT", HELD_OUT)
    images = load_data_set("digits")
    training, judging = objectives.held_out(images)
    every = {image.tobytes() for image in images.train.images}
    shown = {image.tobytes() for image in training.train.images}
    held = {image.tobytes() for image in training.test.images}
    assert len(training.train) + len(training.test) == len(images.train)
    assert shown | held == every
    assert np.array_equal(judging.test.images, training.test.images)
    assert {image.tobytes() for image in judging.train.images} <= shown
