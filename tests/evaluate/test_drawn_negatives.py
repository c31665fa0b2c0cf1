"""The protocol for many classes: nine drawn negatives a positive, nothing else is scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from sklearn.metrics import f1_score, precision_score

from codepath.core.errors import UserError
from codepath.data import ArrayDataSet, ArraySplit, Normalize, evaluation_loader
from codepath.evaluate import (
    BinaryScores,
    DrawnScores,
    binary_scores,
    drawn_scores,
    foreign_negatives,
    load_binary_scores,
    measure_binary,
    measure_out_of_distribution,
    measure_protocols,
    score_split,
)
from codepath.evaluate.binary import DRAWS, draw_negatives
from codepath.evaluate.thresholds import Objective, choose_threshold
from codepath.models import CodedResNeXt
from codepath.store import ALL, DRAWN, Measurement

CPU = torch.device("cpu")
CLASSES = 20
NAMES = [f"c{k}" for k in range(CLASSES)]


@pytest.fixture(scope="module")
def images() -> ArrayDataSet:
    """400 training and 200 test images of 20 classes, in class order."""
    rng = np.random.default_rng(0)

    def split(each: int) -> ArraySplit:
        labels = np.repeat(np.arange(CLASSES), each)
        pixels = rng.integers(0, 60, (len(labels), 8, 8, 1)) + 9 * labels[:, None, None, None]
        return ArraySplit(pixels.astype(np.uint8), labels)

    return ArrayDataSet("made up", "made up", split(20), split(10), tuple(NAMES), (0.4,), (0.3,))


@pytest.fixture(scope="module")
def model() -> CodedResNeXt:
    torch.manual_seed(0)
    network = timm.create_model("coded_resnext20_10x4d", in_chans=1, num_classes=CLASSES)
    for block in network.blocks:
        torch.nn.init.uniform_(block.bn3.weight)
    return network.eval()


def scored(n: int, seed: int, classes: int) -> BinaryScores:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    scores = rng.normal(size=(n, classes)) + 2.0 * (labels[:, None] == np.arange(classes))
    return BinaryScores(scores.astype(np.float32), labels)


def as_drawn(dense: BinaryScores) -> DrawnScores:
    """The scores that `drawn_scores` would have made."""
    parts, places, draws, starts = [], [], [], [0]
    for k in range(dense.scores.shape[1]):
        bits = np.zeros(len(dense.labels), np.uint8)
        for draw in range(DRAWS):
            bits[draw_negatives(dense.labels == k, k, draw)] |= 1 << draw
        some = np.flatnonzero(bits)
        parts.append(dense.scores[some, k])
        places.append(some.astype(np.int32))
        draws.append(bits[some])
        starts.append(starts[-1] + len(some))
    return DrawnScores(
        dense.labels, np.array(starts), *map(np.concatenate, (places, draws, parts))
    )  # fmt: skip


def test_nine_negatives_for_each_positive() -> None:
    positive = np.arange(1000) % 20 == 0
    one, two, other = (draw_negatives(positive, k, d) for k, d in ((4, 0), (4, 1), (5, 0)))
    for chosen in (one, two, other):
        assert positive[chosen].sum() == 50
        assert len(set(chosen.tolist())) == 500
        assert (np.diff(chosen) > 0).all()
    assert np.array_equal(one, draw_negatives(positive, 4, 0))
    assert len({tuple(chosen.tolist()) for chosen in (one, two, other)}) == 3
    picked = np.bincount(
        np.concatenate([draw_negatives(positive, k, 0) for k in range(200)]), minlength=1000
    )
    assert (picked[positive] == 200).all()
    assert abs(picked[~positive].mean() - 200 * 450 / 950) < 1e-9
    assert (abs(picked[~positive] - 200 * 450 / 950) < 35).all()  # 5 standard deviations
    assert len(draw_negatives(np.arange(100) % 5 == 0, 0, 0)) == 100  # all there are


def test_one_pass_scores_what_is_drawn_and_nothing_else(
    model: CodedResNeXt, images: ArrayDataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    normalize = Normalize(images.mean, images.std)
    dense = binary_scores(model, evaluation_loader(images.train), normalize, CPU)
    passed: list[int] = []
    whole = CodedResNeXt.forward_coded

    def counting(self, x, *args, **kwargs):
        passed.append(len(x))
        return whole(self, x, *args, **kwargs)

    monkeypatch.setattr(CodedResNeXt, "forward_coded", counting)
    loader = evaluation_loader(images.train, 37)
    drawn = drawn_scores(model, loader, images.train.labels, normalize, CPU)
    assert sum(passed) == len(drawn.scores) < dense.scores.size
    drawn.save(tmp_path / "drawn.npz")
    dense.save(tmp_path / "dense.npz")
    again = load_binary_scores(tmp_path / "drawn.npz")
    assert isinstance(again, DrawnScores)
    assert isinstance(load_binary_scores(tmp_path / "dense.npz"), BinaryScores)
    for k in range(CLASSES):
        expected, found = dense.of_class(k), again.of_class(k)
        assert found.positive.sum() == 20
        for draw in range(DRAWS):
            np.testing.assert_allclose(
                found.draw(draw).score, expected.draw(draw).score, rtol=1e-4, atol=1e-4
            )
            assert np.array_equal(found.draw(draw).positive, expected.draw(draw).positive)
            assert len(found.draw(draw).score) == 200
    (tmp_path / "drawn.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match="damaged"):
        load_binary_scores(tmp_path / "drawn.npz")


def test_small_data_sets_are_scored_whole(model: CodedResNeXt, images: ArrayDataSet) -> None:
    normalize = Normalize(images.mean, images.std)
    for most, kind in ((10, DrawnScores), (20, BinaryScores)):
        assert isinstance(score_split(model, images.test, most, normalize, CPU), kind)


def way_of(m: Measurement) -> tuple[str | None, ...]:
    return (m.metric, m.objective, m.fitted, m.negatives, m.class_name)


def test_thresholds_come_from_drawn_training_negatives() -> None:
    train, test = scored(4000, 3, 20), scored(2000, 4, 20)
    rows = list(measure_binary(as_drawn(train), test, NAMES))
    values = {(m.metric, m.class_name): m for m in rows if m.kind == "binary"}
    for k in (0, 7, 19):
        precisions, f1s, thresholds = [], [], []
        for draw in range(DRAWS):
            fit = draw_negatives(train.labels == k, k, draw)
            judged = draw_negatives(test.labels == k, k, draw)
            threshold = choose_threshold(
                train.scores[fit, k], train.labels[fit] == k, Objective("f1")
            )
            decided = test.scores[judged, k] >= threshold
            thresholds.append(threshold)
            precisions.append(precision_score(test.labels[judged] == k, decided))
            f1s.append(f1_score(test.labels[judged] == k, decided))
        assert values["threshold", f"c{k}"].value == pytest.approx(np.mean(thresholds))
        assert values["threshold", f"c{k}"].n == 2000
        assert values["precision", f"c{k}"].value == pytest.approx(np.mean(precisions))
        assert values["f1", f"c{k}"].value == pytest.approx(np.mean(f1s))
        assert values["prevalence", f"c{k}"].value == pytest.approx(0.1)
        assert values["f1", f"c{k}"].n == 1000


def test_drawn_and_whole_scores_give_the_same_rows() -> None:
    train, test = scored(4000, 3, 20), scored(2000, 4, 20)
    for measure in (measure_protocols, measure_binary):
        found = {
            way_of(m): m.value
            for m in measure(as_drawn(train), as_drawn(test), NAMES)
            if m.kind == "binary"
        }
        expected = {
            way_of(m): m.value
            for m in measure(train, test, NAMES)
            if m.kind == "binary" and m.fitted != "crossfit"
        }
        assert found == expected


def test_protocol_rows_of_many_classes() -> None:
    scores = as_drawn(scored(4000, 3, 20)), scored(2000, 4, 20)
    rows = [*measure_protocols(*scores, NAMES), *measure_binary(*scores, NAMES)]
    rows = [m for m in rows if m.kind == "binary"]
    by_way = {way_of(m): m.value for m in rows}
    assert len(by_way) == len(rows)
    ways = {(m.fitted, m.negatives) for m in rows}
    assert ways == {("train", DRAWN), ("crossfit", ALL)}  # with 19 negatives a positive
    drawn, natural = ("f1", "train", DRAWN), ("f1", "crossfit", ALL)
    for name in NAMES:
        low, f1, high = (by_way[f"f1{side}", *drawn, name] for side in ("_low", "", "_high"))
        assert low < f1 < high
        assert by_way["precision_sd", *drawn, name] > 0
        assert by_way["recall", "recall>=0.9", "train", DRAWN, name] > 0.7
    assert by_way["precision", *drawn, None] > by_way["precision", *natural, None]
    for way in (drawn, natural):
        mean = np.mean([by_way["f1", *way, name] for name in NAMES])
        assert by_way["f1", *way, None] == pytest.approx(mean)


def test_foreign_negatives_are_drawn_too() -> None:
    foreign = np.full((3000, CLASSES), -9.0, np.float32)
    foreign[::10] = 9.0
    rows = measure_out_of_distribution(
        as_drawn(scored(4000, 6, 20)), scored(2000, 5, 20), foreign, "noise", NAMES
    )
    by_way = {way_of(m): m.value for m in rows}
    way = ("f1", "train", "noise")
    assert by_way["false_alarm", *way, "c4"] == pytest.approx(0.1)
    assert by_way["prevalence", *way, "c4"] == pytest.approx(0.1)
    assert by_way["precision", *way, None] == pytest.approx(0.42, abs=0.1)


@pytest.mark.parametrize("side", [32, 160])
def test_photographs_stand_in_at_any_size(side: int, tmp_path: Path) -> None:
    pixels = np.zeros((2, side, side, 3), np.uint8)
    split = ArraySplit(pixels, np.zeros(2, np.int64))
    images = ArrayDataSet("imagenet", "made up", split, split, ("a",), (0.5,) * 3, (0.2,) * 3)
    found = foreign_negatives(images, tmp_path)
    assert found is not None
    assert found.split.images.shape[1:] == (side, side, 3)
    assert len(found.split) >= 500
    assert "(a substitute)" in found.name
    assert ("enlarged" in found.name) == (side == 160)
