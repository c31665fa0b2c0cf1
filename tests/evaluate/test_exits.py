"""Exits judged from saved predictions: costs, cross-fitting, and agreement with the real thing."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from codepath.codes import load_scheme
from codepath.evaluate import Predictions, fit_readouts, measure_exits
from codepath.evaluate.cost import macs
from codepath.evaluate.exit_thresholds import (
    ExitTable,
    choose_for_accuracy,
    choose_for_budget,
    sweep,
)
from codepath.evaluate.exits import (
    BUDGETS,
    ExitCosts,
    block_scores,
    cross_fitted,
    decoder_scores,
    exit_costs,
    exit_table,
    fit_weights,
)
from codepath.evaluate.thresholds import halves
from codepath.models import EarlyExit
from codepath.models.early_exit import CRITERIA, NETWORK_END
from tests.models.test_extract import network

COSTS = ExitCosts({5: 40, 6: 70, NETWORK_END: 100}, {5: 1, 6: 2, NETWORK_END: 3})
SCHEMES = {5: load_scheme("10-10-3"), 6: load_scheme("10-10-3")}


def predictions(n: int, seed: int = 0, noises: tuple[float, float] = (1.5, 1.0)) -> Predictions:
    """Energies that are codewords under noise, less of it in the later block; good logits."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, n)
    energies = {
        block: (scheme.table[labels] / scheme.ratio + rng.normal(0, noise, (n, 10))).astype("f4")
        for (block, scheme), noise in zip(SCHEMES.items(), noises, strict=True)
    }
    logits = rng.normal(0, 0.3, (n, 10)).astype("f4")
    logits[np.arange(n), labels] += 1.2
    return Predictions(logits, energies, labels, np.arange(n))


def table_of(given: Predictions, criterion: str = "margin") -> ExitTable:
    scores = block_scores(given.energies, SCHEMES)
    return exit_table(scores, given.logits.argmax(1), given.labels, criterion, None, COSTS)


def test_costs_are_those_of_the_parts_that_run() -> None:
    model = network("coded_resnext20_10x4d")
    costs = exit_costs(model, (3, 16, 16))
    assert costs.macs[NETWORK_END] == macs(model, (3, 16, 16))
    assert [costs.macs[b] for b in (3, 4, 5, 6, 0)] == sorted(costs.macs.values())
    # From exit 5 to exit 6: block 5's conv3 and projection, block 6 up to its energies.
    d, hidden, out, pixels = 16, 160, 256, 16
    rest = hidden * out * pixels + 128 * out * pixels
    own = pixels * (out * hidden + hidden * d * 9)
    moments = 10 * d * d * pixels
    assert costs.macs[6] - costs.macs[5] == rest + own + moments
    assert costs.stored_values[NETWORK_END] == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_table_does_what_the_model_does(criterion: str) -> None:
    model = network("coded_resnext20_10x4d")
    x = 3 * torch.randn(40, 3, 16, 16, generator=torch.manual_seed(0))
    with torch.no_grad():
        output = model.forward_coded(x)
    schemes = {number: block.scheme for number, block in model.coded_blocks.items()}
    scores = block_scores({b: e.numpy() for b, e in output.energies.items()}, schemes)
    labels = np.arange(40) % 10
    weights = fit_weights(scores, labels)
    costs = exit_costs(model, (3, 16, 16))
    final = output.logits.argmax(1).numpy()
    table = exit_table(scores, final, labels, criterion, weights, costs)
    thresholds = np.quantile(table.confidences, 0.6, axis=0) - 1e-6
    real = EarlyExit(
        model, None, criterion, dict(zip(table.blocks, thresholds.tolist(), strict=True)), weights
    )(x)
    ends = np.array([*table.blocks, NETWORK_END])
    taken = table.leave(thresholds)
    assert ends[taken].tolist() == real.exits.tolist()
    decided = np.column_stack([table.decisions, table.final])[np.arange(40), taken]
    assert decided.tolist() == real.classes.tolist()
    if criterion != "agreement":  # which random weights give at once
        assert len(set(taken)) > 2


def test_thresholds_keep_what_they_promise() -> None:
    fit, judged = table_of(predictions(4000)), table_of(predictions(4000, seed=1))
    found_on = sweep(fit)
    full = judged.right()[:, -1].mean()
    costs = []
    for loss in (0.0, 0.005, 0.02, 0.1):
        thresholds = choose_for_accuracy(found_on, loss)
        found = judged.outcome(thresholds)
        assert found.top1 >= full - loss - 0.005
        assert found.shares.sum() == pytest.approx(1)
        costs.append(found.cost)
    assert costs[0] == 1.0
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < 0.75
    for budget in (0.5, 0.7, 0.9):
        spent = judged.outcome(choose_for_budget(found_on, budget)).cost
        assert spent == pytest.approx(budget, abs=0.03)
    assert judged.outcome(choose_for_budget(found_on, 0.1)).cost == pytest.approx(0.4, abs=1e-9)


def test_no_image_is_judged_by_a_threshold_that_saw_it() -> None:
    """Making one half's labels wrong changes that half's thresholds and no other's."""
    given = predictions(400)
    scores = decoder_scores(given.energies, SCHEMES)
    first, second = halves(400)
    assert not set(first) & set(second)
    assert len(first) + len(second) == 400
    folds = cross_fitted(scores, given.logits.argmax(1), given.labels, COSTS)
    changed = given.labels.copy()
    changed[second] = (changed[second] + 1) % 10
    other = cross_fitted(scores, given.logits.argmax(1), changed, COSTS)
    for key, pair in folds.items():
        fitted_on_first, again_first = pair.pairs[0], other[key].pairs[0]
        assert np.array_equal(fitted_on_first[1].decisions, again_first[1].decisions)
        chosen = choose_for_accuracy(sweep(fitted_on_first[0]), 0.02)
        assert np.array_equal(chosen, choose_for_accuracy(sweep(again_first[0]), 0.02))
    combined = folds["combined", "margin"].pairs[1][1].decisions
    assert not np.array_equal(combined, other["combined", "margin"].pairs[1][1].decisions)


def test_combined_decoders_gain_from_earlier_blocks() -> None:
    given = predictions(3000, noises=(4.0, 3.0))
    scores = decoder_scores(given.energies, SCHEMES)
    folds = cross_fitted(scores, given.logits.argmax(1), given.labels, COSTS)
    alone, together = (folds[d, "margin"].decoders() for d in ("eq7", "combined"))
    assert together[0] == pytest.approx(alone[0])
    assert together[1] > alone[1] + 0.03
    weights = fit_weights(scores["combined"], given.labels)
    # Equal codes under noise of 4 and 3: the best weights are as 9 to 16.
    assert weights[6][1] / weights[6][0] == pytest.approx(16 / 9, rel=0.2)


def test_never_and_always() -> None:
    table = table_of(predictions(100))
    never = table.outcome(np.full(2, math.inf))
    assert never.cost == 1
    assert never.top1 == table.right()[:, -1].mean()
    always = table.outcome(np.full(2, -math.inf))
    assert always.cost == pytest.approx(0.4)
    assert always.top1 == table.right()[:, 0].mean()
    assert always.shares.tolist() == [1, 0, 0]


def test_rows_of_exits() -> None:
    rows = list(measure_exits(predictions(300), SCHEMES, COSTS, "test"))
    by_place = {
        tuple(of for name, of in m.row().items() if name not in ("value", "n")): m.value
        for m in rows
    }
    assert len(by_place) == len(rows)
    assert by_place[None, NETWORK_END, *[None] * 5, "macs_until"] == 100
    way = ("eq7", "margin", "crossfit")
    for budget in BUDGETS:
        assert 40 <= by_place["test", None, *way, "budget", budget, "macs"] <= 100
    shares = [by_place["test", b, *way, "loss", 0.05, "share"] for b in (5, 6, 0)]
    assert sum(shares) == pytest.approx(1)
    assert {m.decoder for m in rows} == {None, "eq7", "combined"}
    readouts = fit_readouts(predictions(300, seed=1))
    with_linear = list(measure_exits(predictions(300), SCHEMES, COSTS, "test", readouts))
    assert [m for m in with_linear if m.decoder != "linear"] == rows
    linear = {(m.metric, m.criterion, m.target) for m in with_linear if m.decoder == "linear"}
    assert ("top1", "margin", "budget") in linear
    few = predictions(10)
    assert {m.metric for m in measure_exits(few, SCHEMES, COSTS, "test")} == {
        "macs_until",
        "numbers_until",
    }
