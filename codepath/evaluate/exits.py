"""Early exits judged from saved predictions: accuracy against multiply-adds, cross-fitted.

Thresholds and weights are fitted on one half of the evaluation images and judged on the other,
and the other way round (two folds, one fixed random split): no image is judged by a threshold that
saw it. The rows say so in their column `fitted`: crossfit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp

from codepath.codes import CodingScheme
from codepath.codes.decoding import codeword_scores
from codepath.evaluate.cost import macs
from codepath.evaluate.decoders import readout_scores
from codepath.evaluate.exit_thresholds import (
    ExitTable,
    Outcome,
    choose_for_accuracy,
    choose_for_budget,
    sweep,
)
from codepath.evaluate.predict import Predictions
from codepath.evaluate.thresholds import halves
from codepath.models import CodedResNeXt, EarlyExit, Readout
from codepath.models.early_exit import CRITERIA, NETWORK_END, confidence, count_agreeing
from codepath.store import Measurement

BlockScores = Mapping[int, NDArray[np.float32]]
"""Block number -> (n, K) scores of n images, the larger the likelier."""
DECODERS = ("eq7", "combined", "linear")
"""Eq. 7; all energies so far; the linear decoder of each block."""
BUDGETS = tuple(round(0.05 * step, 2) for step in range(6, 21))
"""Mean multiply-adds an image may take, as a share of the network's."""
ALLOWED_LOSSES = (0.0, 0.0025, 0.005, 0.01, 0.02, 0.05)
"""Top-1 that may be lost on the fitting half, in [0, 1]."""
_MOST_FITTED = 20_000_000  # scores behind one set of weights
_FEWEST_IMAGES = 20
_PRIOR_SD = 0.3


class ExitCosts(NamedTuple):
    """What an image costs that leaves at each exit, and at the network's end."""

    macs: dict[int, int]
    """Block number -> multiply-adds; NETWORK_END: the whole network."""
    stored_values: dict[int, int]
    """Block number -> parameters with Gram matrices, without a linear decoder's K (N + 1);
    NETWORK_END: parameters of the network."""


def exit_costs(model: CodedResNeXt, image_shape: tuple[int, int, int]) -> ExitCosts:
    """Counted on the static graph of every exit."""
    exits = EarlyExit(model)
    static = {block: exits.at(block) for block in exits.blocks}
    return ExitCosts(
        {b: macs(graph, image_shape) for b, graph in static.items()}
        | {NETWORK_END: macs(model, image_shape)},
        {b: graph.stored_values for b, graph in static.items()}
        | {NETWORK_END: sum(p.numel() for p in model.parameters())},
    )


def block_scores(
    energies: Mapping[int, NDArray[np.float32]], schemes: Mapping[int, CodingScheme]
) -> BlockScores:
    """Block number -> (n, K) scores of Eq. 7."""
    return {
        block: codeword_scores(
            torch.from_numpy(energies[block]), torch.tensor(scheme.table), scheme.ratio
        ).numpy()
        for block, scheme in schemes.items()
    }


def decoder_scores(
    energies: Mapping[int, NDArray[np.float32]],
    schemes: Mapping[int, CodingScheme],
    readouts: Mapping[int, Readout] | None = None,
) -> dict[str, BlockScores]:
    """A decoder's name -> scores; "combined" has Eq. 7's before they are weighed.

    "linear" is there where `readouts` are, which saw none of the images that are judged.
    """
    nearest = block_scores(energies, schemes)
    found = {"eq7": nearest, "combined": nearest}
    if readouts is not None:
        found["linear"] = readout_scores(energies, readouts)
    return found


def fit_weights(
    scores: Mapping[int, NDArray[np.float32]], labels: NDArray[np.int64]
) -> dict[int, tuple[float, ...]]:
    """Weights of the combined decoders: for exit l those of softmax(sum_j a_{l,j} s_j).

    Fitted by maximum a posteriori likelihood: the prior is Eq. 7, normal around weight 1 for the
    exit's own scores and 0 for earlier ones. At most as many images as make _MOST_FITTED scores
    are used.

    Args:
        scores: block number -> (n, K), in order.
        labels: (n,)
    """
    blocks = list(scores)
    K = scores[blocks[0]].shape[1]
    n = min(len(labels), max(_MOST_FITTED // (K * len(blocks)), 1))
    stacked = np.stack([scores[block][:n] for block in blocks]).astype(np.float64)
    target = labels[:n]
    weights = {}
    start = np.empty(0)
    for place, block in enumerate(blocks, start=1):
        used = stacked[:place]
        own = used[:, np.arange(n), target]
        prior = np.eye(place)[-1]

        def loss(
            a: NDArray[np.float64],
            used: NDArray = used,
            own: NDArray = own,
            prior: NDArray = prior,
        ) -> tuple[float, NDArray[np.float64]]:
            mixed = np.tensordot(a, used, 1)
            norm = logsumexp(mixed, axis=1)
            share = np.exp(mixed - norm[:, None])
            gradient = (np.einsum("jnk,nk->jn", used, share) - own).mean(1)
            off = a - prior
            penalty = off / (n * _PRIOR_SD**2)
            return float((norm - a @ own).mean() + penalty @ off / 2), gradient + penalty

        start = np.append(start, 1.0)
        start = minimize(loss, start, jac=True, method="L-BFGS-B").x
        weights[block] = tuple(float(a) for a in start)
    return weights


def exit_table(
    scores: Mapping[int, NDArray[np.float32]],
    final: NDArray[np.int64],
    labels: NDArray[np.int64],
    criterion: str,
    weights: Mapping[int, Sequence[float]] | None,
    costs: ExitCosts,
) -> ExitTable:
    """Decisions and confidences of every exit, by the same functions as `EarlyExit`'s."""
    blocks = tuple(scores)
    decisions, confidences = [], []
    previous = agreeing = None
    for place, block in enumerate(blocks, start=1):
        mixed = torch.from_numpy(scores[block])
        if weights is not None:
            mixed = torch.zeros_like(mixed)
            for weight, earlier in zip(weights[block], blocks[:place], strict=True):
                mixed.add_(torch.from_numpy(scores[earlier]), alpha=weight)
        decided = mixed.argmax(1)
        agreeing = count_agreeing(decided, previous, agreeing)
        previous = decided
        decisions.append(decided.numpy())
        confidences.append(confidence(criterion, mixed, agreeing).numpy())
    share = np.array([costs.macs[b] for b in (*blocks, NETWORK_END)]) / costs.macs[NETWORK_END]
    return ExitTable(blocks, np.stack(decisions, 1), np.stack(confidences, 1), final, labels, share)


class Folds(NamedTuple):
    """Both folds of a decoder and criterion: (fitting, judged) tables."""

    pairs: tuple[tuple[ExitTable, ExitTable], ...]

    def accuracy(self, allowed_losses: Sequence[float]) -> list[Outcome]:
        """Cross-fitted outcome for each allowed loss."""
        sweeps = [sweep(fit) for fit, _ in self.pairs]
        return [
            self._judge([choose_for_accuracy(found, loss) for found in sweeps])
            for loss in allowed_losses
        ]

    def budgets(self, budgets: Sequence[float]) -> list[Outcome]:
        """Cross-fitted outcome for each budget."""
        sweeps = [sweep(fit) for fit, _ in self.pairs]
        return [
            self._judge([choose_for_budget(found, budget) for found in sweeps])
            for budget in budgets
        ]

    def decoders(self) -> NDArray[np.float64]:
        """(L,) top-1 of every exit's decision on the judged halves."""
        right = np.concatenate([judged.right()[:, :-1] for _, judged in self.pairs])
        return np.asarray(right.mean(0))

    def _judge(self, thresholds: Sequence[NDArray[np.float64]]) -> Outcome:
        outcomes = [
            judged.outcome(chosen)
            for (_, judged), chosen in zip(self.pairs, thresholds, strict=True)
        ]
        sizes = np.array([len(judged.labels) for _, judged in self.pairs], float)
        sizes /= sizes.sum()
        return Outcome(
            float(sum(s * o.top1 for s, o in zip(sizes, outcomes, strict=True))),
            float(sum(s * o.cost for s, o in zip(sizes, outcomes, strict=True))),
            np.sum([s * o.shares for s, o in zip(sizes, outcomes, strict=True)], axis=0),
        )


def cross_fitted(
    scores: Mapping[str, BlockScores],
    final: NDArray[np.int64],
    labels: NDArray[np.int64],
    costs: ExitCosts,
) -> dict[tuple[str, str], Folds]:
    """(decoder, criterion) -> folds.

    Args:
        scores: a decoder's name -> its scores; those of "combined" are weighed.
        final: (n,) decisions of the network's end.
        labels: (n,)
        costs: of the exits.
    """
    first, second = halves(len(labels))
    found: dict[tuple[str, str], list[tuple[ExitTable, ExitTable]]] = {}
    for fit, judged in ((first, second), (second, first)):
        for decoder, by_block in scores.items():
            fitting = {block: s[fit] for block, s in by_block.items()}
            judging = {block: s[judged] for block, s in by_block.items()}
            weights = fit_weights(fitting, labels[fit]) if decoder == "combined" else None
            for criterion in CRITERIA:
                pair = tuple(
                    exit_table(part, final[rows], labels[rows], criterion, weights, costs)
                    for part, rows in ((fitting, fit), (judging, judged))
                )
                found.setdefault((decoder, criterion), []).append(pair)  # type: ignore[arg-type]
    return {key: Folds(tuple(pairs)) for key, pairs in found.items()}


def measure_exits(
    predictions: Predictions,
    schemes: Mapping[int, CodingScheme],
    costs: ExitCosts,
    split: str,
    readouts: Mapping[int, Readout] | None = None,
) -> Iterator[Measurement]:
    """Exits of a run from its predictions; `readouts` are its linear decoders.

    Per block: `macs_until`, `numbers_until`, and `top1` of the combined decoder. Per decoder and
    criterion: `top1` and `macs` (multiply-adds an image) against a limit: of target `budget`, as a
    share of the network's multiply-adds, or of target `loss`, allowed on the fitting half, then
    also each block's `share` of the images. Block 0 is the network's end.
    """
    for metric, values in (("macs_until", costs.macs), ("numbers_until", costs.stored_values)):
        for block, value in values.items():
            yield Measurement(
                kind="exits", metric=metric, value=value, n=1, split=None, block=block
            )
    n = len(predictions.labels)
    if n < _FEWEST_IMAGES:
        return
    scores = decoder_scores(predictions.energies, schemes, readouts)
    final = predictions.logits.argmax(1)
    whole = costs.macs[NETWORK_END]
    for (decoder, criterion), folds in cross_fitted(
        scores, final, predictions.labels, costs
    ).items():
        if decoder == "combined" and criterion == CRITERIA[0]:
            for block, top1 in zip(schemes, folds.decoders(), strict=True):
                yield Measurement(
                    kind="exits", metric="top1", value=float(top1), n=n, split=split,
                    block=block, decoder=decoder, fitted="crossfit",
                )  # fmt: skip
        curves = (
            ("budget", BUDGETS, folds.budgets(BUDGETS)),
            ("loss", ALLOWED_LOSSES, folds.accuracy(ALLOWED_LOSSES)),
        )
        for target, points, outcomes in curves:
            for limit, outcome in zip(points, outcomes, strict=True):
                for metric, number in (("top1", outcome.top1), ("macs", outcome.cost * whole)):
                    yield Measurement(
                        kind="exits", metric=metric, value=number, n=n, split=split,
                        decoder=decoder, criterion=criterion, fitted="crossfit", target=target,
                        limit=limit,
                    )  # fmt: skip
                if target == "budget":
                    continue
                for block, share in zip((*schemes, NETWORK_END), outcome.shares, strict=True):
                    yield Measurement(
                        kind="exits", metric="share", value=float(share), n=n, split=split,
                        block=block, decoder=decoder, criterion=criterion, fitted="crossfit",
                        target=target, limit=limit,
                    )  # fmt: skip
