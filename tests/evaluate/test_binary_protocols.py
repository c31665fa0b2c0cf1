"""Thresholds by objective, cross-fitting, drawn negatives, intervals, foreign negatives."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_score, recall_score

from codepath.core.errors import UserError
from codepath.data import ArrayDataSet, foreign_images
from codepath.data.foreign import photograph_patches
from codepath.evaluate import measure_binary, measure_out_of_distribution, measure_protocols
from codepath.evaluate.binary import BinaryScores
from codepath.evaluate.binary_protocols import (
    bootstrap_average_precision,
    bootstrap_intervals,
    judge,
)
from codepath.evaluate.thresholds import Counts, Objective, choose_threshold, count, halves
from codepath.store import ALL, DRAWN


def scored(n: int, seed: int, classes: int = 10) -> BinaryScores:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    scores = rng.normal(size=(n, classes)) + 2.0 * (labels[:, None] == np.arange(classes))
    return BinaryScores(scores.astype(np.float32), labels)


@pytest.mark.parametrize("text", ["f1", "precision>=0.9", "recall>=0.95", "precision>=1"])
def test_objectives_hold_on_the_images_that_they_saw(text: str) -> None:
    objective = Objective.parse(text)
    assert str(objective) == text
    data = scored(300, 0)
    score, positive = data.scores[:, 0], data.labels == 0
    decided = score >= choose_threshold(score, positive, objective)
    if objective.name != "f1":
        measure = precision_score if objective.name == "precision" else recall_score
        assert measure(positive, decided) >= objective.least
        free = recall_score if objective.name == "precision" else precision_score
        others = [
            free(positive, score >= t)
            for t in score
            if measure(positive, score >= t) >= objective.least
        ]
        assert free(positive, decided) == pytest.approx(max(others))


@pytest.mark.parametrize("text", ["f2", "precision", "precision>=0", "recall>=2", "recall>=x"])
def test_unreadable_objectives(text: str) -> None:
    with pytest.raises(UserError, match="write f1, precision"):
        Objective.parse(text)


def test_an_unreachable_precision_gives_the_highest() -> None:
    scores = np.array([3, 2, 1, 0], np.float32)
    positive = np.array([False, True, True, False])
    assert choose_threshold(scores, positive, Objective("precision", 0.99)) == 1


def test_cross_fitting_takes_each_threshold_from_the_other_half() -> None:
    data = scored(1000, 1)
    score, positive = data.scores[:, 3], data.labels == 3
    found = judge(score, positive, Objective("f1"), None)
    first, second = halves(1000)
    expected = [choose_threshold(score[h], positive[h], Objective("f1")) for h in (first, second)]
    assert list(found.thresholds) == expected
    decided = np.empty(1000, bool)
    decided[second], decided[first] = score[second] >= expected[0], score[first] >= expected[1]
    assert found.counts == count(decided, positive)


def test_bootstrap_intervals_cover() -> None:
    rng = np.random.default_rng(0)
    counts = Counts(80, 20, 20, 880)
    intervals = bootstrap_intervals(counts, rng)
    low, high = intervals["recall"]
    assert low < 0.8 < high
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.8 * 0.2 / 100), rel=0.25)
    data = scored(1000, 2)
    positive = data.labels == 0
    low, high = bootstrap_average_precision(data.scores[:, 0], positive, rng)
    assert low < average_precision_score(positive, data.scores[:, 0]) < high
    tied = np.zeros(100, np.float32)
    low, high = bootstrap_average_precision(tied, np.arange(100) < 30, rng)
    assert 0.2 < low < 0.3 < high < 0.41


def test_protocol_rows() -> None:
    scores, names = (scored(4000, 3), scored(2000, 4)), [f"c{k}" for k in range(10)]
    rows = [*measure_protocols(*scores, names), *measure_binary(*scores, names)]
    rows = [m for m in rows if m.kind == "binary"]
    by_way = {(m.metric, m.fitted, m.negatives, m.class_name): m.value for m in rows
              if m.objective == "f1"}  # fmt: skip
    assert len({(m.objective, m.metric, m.fitted, m.negatives, m.class_name) for m in rows}) == len(
        rows
    )
    for name in names:
        low, f1, high = (by_way[f"f1{side}", "train", ALL, name] for side in ("_low", "", "_high"))
        assert low < f1 < high
        assert by_way["f1", "train", DRAWN, name] == f1  # nine a positive are all there are
        assert by_way["f1_sd", "train", DRAWN, name] == 0
    for fitted in ("train", "crossfit"):
        mean = np.mean([by_way["f1", fitted, ALL, name] for name in names])
        assert by_way["f1", fitted, ALL, None] == pytest.approx(mean)


def test_foreign_negatives() -> None:
    test = scored(1000, 5)
    foreign = np.full((300, 10), -9.0, np.float32)
    foreign[:30] = 9.0
    rows = measure_out_of_distribution(
        scored(1000, 6), test, foreign, "noise", [str(k) for k in range(10)]
    )
    by_way = {(m.metric, m.negatives, m.class_name): m.value for m in rows}
    assert by_way["false_alarm", "noise", "4"] == pytest.approx(0.1)
    assert by_way["prevalence", "noise", None] == pytest.approx(0.25)


def test_photographs_stand_in_for_another_data_set(tiny_images: ArrayDataSet, tmp_path) -> None:
    foreign = foreign_images(tiny_images, tmp_path)
    assert foreign is not None
    assert "substitute" in foreign.name
    assert foreign.split.images.shape[1:] == (8, 8, 1)
    assert foreign.split.images.std() > 20
    colour = photograph_patches((3, 32, 32))
    assert colour.shape[1:] == (32, 32, 3)
    assert len(colour) > 500
    assert len(photograph_patches((3, 160, 160))) < 100
