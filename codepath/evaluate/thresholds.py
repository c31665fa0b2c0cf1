"""Thresholds of binary classifiers: the choice by an objective, and counts of the decisions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve

from codepath.core.errors import UserError


@dataclass(frozen=True)
class Objective:
    """What a threshold is chosen for."""

    name: str
    """f1, precision or recall."""
    least: float = 0.0
    """The precision or recall to reach, in (0, 1]."""

    @classmethod
    def parse(cls, text: str) -> Objective:
        """From "f1", "precision>=0.9" or "recall>=0.9"; UserError for anything else."""
        match = re.fullmatch(r"(precision|recall)\s*>=\s*(0?\.\d+|1|1\.0+)", text.strip())
        if text.strip() == "f1":
            return cls("f1")
        if match and float(match[2]) > 0:
            return cls(match[1], float(match[2]))
        raise UserError(
            f"cannot read the objective '{text}': write f1, precision>=0.9 or recall>=0.9"
        )

    def __str__(self) -> str:
        return self.name if self.name == "f1" else f"{self.name}>={self.least:g}"


OBJECTIVES = (Objective("f1"), Objective("precision", 0.9), Objective("recall", 0.9))


def choose_threshold(
    scores: NDArray[np.float32], positive: NDArray[np.bool_], objective: Objective
) -> float:
    """The best threshold for an objective; "yes" is score >= threshold.

    Where no threshold reaches the demanded precision, the one of highest precision is returned.

    Args:
        scores: (n,)
        positive: (n,), at least one of them true.
        objective: see `Objective`.
    """
    precision, recall, thresholds = precision_recall_curve(positive, scores)
    precision, recall = precision[:-1], recall[:-1]
    if objective.name == "f1":
        best = int(np.argmax(_f1(precision, recall)))
    else:
        held, free = (precision, recall) if objective.name == "precision" else (recall, precision)
        good = np.flatnonzero(held >= objective.least)
        best = int(good[np.argmax(free[good])]) if len(good) else int(np.argmax(held))
    return float(thresholds[best])


def _f1(precision: NDArray, recall: NDArray) -> NDArray:
    return np.asarray(2 * precision * recall / np.maximum(precision + recall, 1e-12))


class Counts(NamedTuple):
    """Numbers of decisions of each kind, by the truth."""

    hits: int
    false_alarms: int
    misses: int
    rejections: int

    @property
    def total(self) -> int:
        """All images."""
        return sum(self)

    def metrics(self) -> dict[str, float]:
        """precision (0 where nothing is accepted), recall and f1."""
        row = rates(np.array([self]))
        return {name: float(values[0]) for name, values in row.items()}


def count(decided: NDArray[np.bool_], positive: NDArray[np.bool_]) -> Counts:
    """Count the decisions, one for each image, by the truth."""
    hits = int((decided & positive).sum())
    return Counts(
        hits,
        int(decided.sum()) - hits,
        int(positive.sum()) - hits,
        int((~decided & ~positive).sum()),
    )


def rates(counts: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """(m, 4) counts as in `Counts` -> precision, recall and f1, each (m,)."""
    hits, false_alarms, misses, _ = counts.T.astype(float)
    precision = hits / np.maximum(hits + false_alarms, 1)
    recall = hits / np.maximum(hits + misses, 1)
    return {"precision": precision, "recall": recall, "f1": _f1(precision, recall)}


def halves(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two halves of n images, by one fixed random split."""
    order = np.random.default_rng(0).permutation(n)
    return order[: n // 2], order[n // 2 :]
