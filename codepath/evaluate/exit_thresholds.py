"""Thresholds of early exits: which images leave where, and what that costs.

Shapes: n images, L exits.

An image leaves at exit l where its risk, P(exit wrong and network right | confidence), is at most
q times the multiply-adds saved there. The risk is a logistic regression on the fitting images: one
value of q gives one threshold per exit, and all values give the curve.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

_GRID = 200


@dataclass(frozen=True)
class ExitTable:
    """What n images would do at each of L exits."""

    blocks: tuple[int, ...]
    decisions: NDArray[np.int64]
    """(n, L)"""
    confidences: NDArray[np.float32]
    """(n, L)"""
    final: NDArray[np.int64]
    """(n,) decisions of the network's end"""
    labels: NDArray[np.int64]
    """(n,)"""
    costs: NDArray[np.float64]
    """(L + 1,) share of the network's multiply-adds for each exit, then 1"""

    def rows(self, chosen: NDArray[np.int64]) -> ExitTable:
        """Some of the images."""
        return ExitTable(
            self.blocks,
            self.decisions[chosen],
            self.confidences[chosen],
            self.final[chosen],
            self.labels[chosen],
            self.costs,
        )

    def leave(self, thresholds: NDArray[np.float64]) -> NDArray[np.int64]:
        """(n,) place of the exit that each image takes; L is the network's end."""
        open_ = np.column_stack(
            [self.confidences >= thresholds, np.ones(len(self.labels), dtype=bool)]
        )
        return np.asarray(open_.argmax(1))

    def right(self) -> NDArray[np.bool_]:
        """(n, L + 1) whether the decision of each exit is right."""
        return np.column_stack([self.decisions, self.final]) == self.labels[:, None]

    def outcome(self, thresholds: NDArray[np.float64]) -> Outcome:
        """What the exits come to with these thresholds."""
        taken = self.leave(thresholds)
        right = self.right()[np.arange(len(taken)), taken]
        shares = np.bincount(taken, minlength=len(self.costs)) / len(taken)
        return Outcome(float(right.mean()), float(shares @ self.costs), shares)


class Outcome(NamedTuple):
    """Accuracy and cost of a set of images."""

    top1: float
    cost: float
    """Mean multiply-adds as a share of the network's."""
    shares: NDArray[np.float64]
    """(L + 1,) share of the images that leave at each exit; the last at the network's end."""


class Sweep(NamedTuple):
    """Sets of thresholds for rising q, from no image leaving to every one, on a fitting table."""

    thresholds: NDArray[np.float64]
    """(sets, L)"""
    costs: NDArray[np.float64]
    """(sets,) mean multiply-adds as a share of the network's"""
    losses: NDArray[np.float64]
    """(sets,) loss of top-1: the larger of the one that the model expects and the one that is
    seen, and one standard error more, since the best of many sets flatters itself; exact zero
    where no image leaves"""


def _risks(table: ExitTable) -> NDArray[np.float64]:
    """(n, L) modelled probability that leaving turns a right answer into a wrong one."""
    right = table.right()
    risks = []
    for place in range(len(table.blocks)):
        seen = table.confidences[:, place].astype(np.float64)
        lost = right[:, -1] & ~right[:, place]
        if lost.any() and not lost.all():
            scaled = (seen - seen.mean()) / (seen.std() or 1.0)
            model = LogisticRegression(C=100.0).fit(scaled[:, None], lost)
            slope = min(float(model.coef_[0, 0]), 0.0)  # more confidence is never more risk
            risks.append(expit(slope * scaled + float(model.intercept_[0])))
        else:
            risks.append(np.full(len(seen), (lost.sum() + 0.5) / (len(seen) + 1)))
    return np.stack(risks, 1)


def sweep(table: ExitTable) -> Sweep:
    """All sets of thresholds that the model of the risk gives, with what they come to."""
    n, L = table.confidences.shape
    risks = _risks(table)
    savings = np.maximum(1 - table.costs[:-1], 1e-9)
    rates = np.unique(np.quantile(risks / savings, np.linspace(0, 1, _GRID)))
    right = table.right().astype(float)
    modelled = np.column_stack([risks, np.zeros(n)])
    each = np.arange(n)
    thresholds, costs, losses = [np.full(L, math.inf)], [1.0], [0.0]
    for rate in rates:
        leaves = risks <= rate * savings + 1e-12
        chosen = np.where(leaves, table.confidences, np.float32(math.inf)).min(0)
        taken = table.leave(chosen.astype(np.float64))
        chance = modelled[each, taken]
        seen = float((right[:, -1] - right[each, taken]).mean())
        error = math.sqrt(float((chance * (1 - chance)).sum())) / n
        thresholds.append(chosen.astype(np.float64))
        costs.append(float(table.costs[taken].mean()))
        losses.append(max(seen, float(chance.mean())) + error)
    return Sweep(np.stack(thresholds), np.array(costs), np.array(losses))


def choose_for_accuracy(found: Sweep, allowed_loss: float) -> NDArray[np.float64]:
    """(L,) thresholds of least cost whose loss of top-1 is at most `allowed_loss`."""
    costs = np.where(found.losses <= allowed_loss + 1e-12, found.costs, math.inf)
    return np.asarray(found.thresholds[int(np.argmin(costs))])


def choose_for_budget(found: Sweep, budget: float) -> NDArray[np.float64]:
    """(L,) thresholds that spend most of a mean cost of `budget` an image.

    Where even leaving at the first exit costs more, the cheapest.
    """
    within = found.costs <= budget + 1e-12
    best = np.argmax(np.where(within, found.costs, -found.costs))
    return np.asarray(found.thresholds[int(best)])
