from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from sklearn.metrics import f1_score

from codepath.codes import load_scheme
from codepath.data import ArrayDataSet, Normalize, evaluation_loader
from codepath.evaluate import (
    Predictions,
    binary_scores,
    measure_accuracy,
    measure_binary,
    measure_cost,
    measure_decoders,
    measure_removal,
    nearest_codeword,
    predict,
)
from codepath.evaluate.binary import BinaryScores
from codepath.evaluate.cost import macs_by_stage
from codepath.evaluate.removal import _removal_rank
from codepath.evaluate.thresholds import Objective, choose_threshold
from codepath.models import CodedResNeXt

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> CodedResNeXt:
    torch.manual_seed(0)
    network = timm.create_model("coded_resnext20_10x4d", in_chans=1)
    for block in network.blocks:
        torch.nn.init.uniform_(block.bn3.weight)
    return network.eval()


@pytest.fixture
def normalize(tiny_images: ArrayDataSet) -> Normalize:
    return Normalize(tiny_images.mean, tiny_images.std)


def test_predictions_are_exact_and_complete(
    model: CodedResNeXt, tiny_images: ArrayDataSet, normalize: Normalize, tmp_path
) -> None:
    whole = predict(model, evaluation_loader(tiny_images.test, 25), normalize, CPU)
    parts = predict(model, evaluation_loader(tiny_images.test, 7), normalize, CPU)
    assert whole.indices.tolist() == list(range(25))
    np.testing.assert_allclose(parts.logits, whole.logits, rtol=1e-4, atol=1e-5)
    assert whole.energies[3].shape == (25, 10)
    (top1,) = measure_accuracy(whole, "test")
    assert top1.value == (whole.logits.argmax(1) == tiny_images.test.labels).mean()
    whole.save(tmp_path / "test.npz")
    with np.load(tmp_path / "test.npz") as saved:
        assert np.array_equal(saved["energies_block5"], whole.energies[5])


def test_a_loader_that_repeats_images_is_caught(
    model: CodedResNeXt, tiny_images: ArrayDataSet, normalize: Normalize
) -> None:
    class Doubled:
        num_samples = 25

        def __iter__(self):
            yield from evaluation_loader(tiny_images.test)
            yield from evaluation_loader(tiny_images.test)

    with pytest.raises(RuntimeError, match="50 images evaluated, 25 expected"):
        predict(model, Doubled(), normalize, CPU)


def test_nearest_codeword_is_the_argmin_of_distances() -> None:
    scheme = load_scheme("10-10-5")
    energies = np.random.default_rng(0).gamma(1.0, size=(200, 10)).astype(np.float32)
    distances = np.linalg.norm(scheme.ratio * energies[:, None] - scheme.table[None], axis=2)
    assert np.array_equal(nearest_codeword(energies, scheme), distances.argmin(1))
    exact = scheme.table / np.float32(scheme.ratio)
    assert nearest_codeword(exact, scheme).tolist() == list(range(10))


def test_decoders_are_measured_per_block() -> None:
    scheme = load_scheme("10-10-3")
    labels = np.arange(10)
    right = (scheme.table / scheme.ratio).astype(np.float32)
    predictions = Predictions(
        np.eye(10, dtype=np.float32), {5: right, 6: right[::-1]}, labels, labels
    )
    measured = {
        m.block: m.value for m in measure_decoders(predictions, {5: scheme, 6: scheme}, "test")
    }
    assert measured == {5: 1.0, 6: 0.0}


def test_removal_takes_the_right_paths() -> None:
    eligible = torch.tensor([[1, 0, 1, 1, 0], [0, 1, 1, 0, 1]]).bool()
    rank = _removal_rank(eligible, torch.tensor([4, 9]), draw=0)
    for row, ok in zip(rank, eligible, strict=True):
        assert sorted(row[ok].tolist()) == [0, 1, 2]
        assert (row[~ok] == 5).all()
    alone = _removal_rank(eligible[1:], torch.tensor([9]), draw=0)
    assert torch.equal(alone[0], rank[1])
    many = _removal_rank(torch.ones(500, 5).bool(), torch.arange(500), draw=1)
    first = np.bincount(many.argmin(1), minlength=5)
    assert (np.abs(first - 100) < 45).all()


def test_removal_ends_agree_with_masking(
    model: CodedResNeXt, tiny_images: ArrayDataSet, normalize: Normalize
) -> None:
    loader = evaluation_loader(tiny_images.test)
    measured = {
        (m.removed_from, m.removed): m.value
        for m in measure_removal(model, loader, normalize, CPU, 4, draws=3, split="test")
    }
    assert len(measured) == 12
    whole = predict(model, loader, normalize, CPU)
    top1 = (whole.logits.argmax(1) == whole.labels).mean()
    assert measured["active", 0] == measured["inactive", 0] == pytest.approx(top1)
    batch = next(iter(loader))
    words = model.coded_blocks[4].codewords[batch.labels]
    with torch.no_grad():
        for kept, mask in (("inactive", words), ("active", 1 - words)):
            logits = model.forward_coded(normalize(batch.images), path_masks={4: mask}).logits
            accuracy = (logits.argmax(1) == batch.labels).float().mean()
            assert measured[kept, 5] == pytest.approx(float(accuracy))


def test_binary_scores_are_the_masked_networks_logits(
    model: CodedResNeXt, tiny_images: ArrayDataSet, normalize: Normalize
) -> None:
    loader = evaluation_loader(tiny_images.test, 10)
    scores = binary_scores(model, loader, normalize, CPU)
    images = normalize(torch.from_numpy(tiny_images.test.images.transpose(0, 3, 1, 2)))
    with torch.no_grad():
        for k in (0, 4, 9):
            expected = model.forward_coded(images, keep=k).logits[:, k]
            torch.testing.assert_close(
                torch.from_numpy(scores.scores[:, k]), expected, rtol=1e-4, atol=1e-4
            )


def test_threshold_has_the_best_f1_of_all() -> None:
    rng = np.random.default_rng(1)
    positive = rng.random(300) < 0.2
    scores = (rng.normal(size=300) + 1.5 * positive).astype(np.float32)
    threshold = choose_threshold(scores, positive, Objective("f1"))
    best = max(f1_score(positive, scores >= t) for t in scores)
    assert f1_score(positive, scores >= threshold) == pytest.approx(best)
    assert threshold in scores


def test_binary_measurements() -> None:
    labels = np.array([0, 0, 1, 1, 1, 1])
    train = BinaryScores(
        np.array([[2, 0], [2, 0], [0, 2], [0, 2], [0, 2], [0, 2]], np.float32), labels
    )
    test = BinaryScores(
        np.array([[3, 0], [1, 0], [2, 2], [0, 2], [0, 2], [0, 1]], np.float32), labels
    )
    rows = list(measure_binary(train, test, ["a", "b"]))
    values = {(m.class_name, m.metric): m.value for m in rows if m.kind == "binary"}
    assert values["a", "threshold"] == 2
    assert values["a", "precision"] == values["a", "recall"] == values["a", "f1"] == 0.5
    assert values["b", "precision"] == 1
    assert values["b", "recall"] == 0.75
    assert values["a", "prevalence"] == pytest.approx(1 / 3)
    histogram = [m for m in rows if m.kind == "histograms" and m.class_name == "a"]
    assert sum(m.value for m in histogram if m.group == "positive") == 2
    assert sum(m.value for m in histogram if m.group == "negative") == 4


def test_cost_of_the_c10_network() -> None:
    model = timm.create_model("coded_resnext29_10x11d")
    values = {(m.metric, m.stage): m.value for m in measure_cost(model, (3, 32, 32))}
    assert values["parameters", None] == 4_638_926
    stages = ("stem", "layer1", "layer2", "layer3", "head")
    for metric in ("parameters", "macs"):
        assert sum(values[metric, stage] for stage in stages) == values[metric, None]
    assert values["macs", "stem"] == 32 * 32 * 64 * 3 * 9
    assert values["macs", "head"] == 10 * 1024
    # c2 by hand: 1x1 in, grouped 3x3, 1x1 out, and the first block's projection.
    convs = [(64, 256), (256, 256), (256, 256)]
    by_hand = sum(i * 110 + 110 * 11 * 9 + 110 * o for i, o in convs) + 64 * 256
    assert values["macs", "layer1"] == 32 * 32 * by_hand


def test_coding_adds_little_to_the_multiply_adds() -> None:
    shape = (3, 32, 32)
    coded = sum(macs_by_stage(timm.create_model("coded_resnext29_10x11d"), shape).values())
    plain = sum(macs_by_stage(timm.create_model("resnext29_10x11d"), shape).values())
    assert 1 < coded / plain < 1.06
    assert sum(macs_by_stage(timm.create_model("resnext50_32x4d"), (3, 64, 64)).values()) > 0
