"""Linear decoders: what they learn, and what they are where little was seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from codepath.codes import load_scheme
from codepath.evaluate import (
    Predictions,
    fit_readouts,
    measure_decoders,
    nearest_codeword,
    readout_images,
    readout_scores,
)

SCHEME = load_scheme("10-10-5")


def predictions(n: int, seed: int, gains: np.ndarray, classes: int = 10) -> Predictions:
    """Energies that are codewords whose paths answer with unequal strength, under noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    energies = (SCHEME.table[labels] * gains + rng.normal(0, 0.8, (n, 10))).astype("f4")
    return Predictions(np.zeros((n, 10), "f4"), {4: energies}, labels, np.arange(n))


GAINS = np.array([3, 3, 3, 0.2, 0.2, 0.2, 2, 2, 0.5, 0.5])


def test_paths_of_unequal_strength_are_weighed() -> None:
    training, test = predictions(4000, 0, GAINS), predictions(4000, 1, GAINS)
    readouts = fit_readouts(training)
    assert readouts[4].weight.shape == (10, 10)
    assert readouts[4].weight.dtype == torch.float32
    linear = readout_scores(test.energies, readouts)[4].argmax(1)
    nearest = nearest_codeword(test.energies[4], SCHEME)
    assert (linear == test.labels).mean() > (nearest == test.labels).mean() + 0.05
    rows = {m.decoder: m for m in measure_decoders(test, {4: SCHEME}, "test", readouts)}
    assert rows["linear"].value == (linear == test.labels).mean()
    assert rows["eq7"].value == (nearest == test.labels).mean()
    assert rows["linear"].n == 4000


def test_fitting_is_repeatable() -> None:
    training = predictions(500, 0, GAINS)
    once, again = fit_readouts(training)[4], fit_readouts(training)[4]
    assert torch.equal(once.weight, again.weight)
    assert torch.equal(once.bias, again.bias)


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_classes_that_were_not_seen_are_never_decided(classes: int) -> None:
    training = predictions(400, 0, GAINS, classes)
    readouts = fit_readouts(training)
    test = predictions(400, 1, GAINS, classes)
    decided = readout_scores(test.energies, readouts)[4].argmax(1)
    assert decided.max() < classes
    assert (decided == test.labels).mean() > 0.75


def test_images_for_fitting_grow_with_the_classes() -> None:
    assert readout_images(10) == 10_000
    assert readout_images(1000) == 50_000
