"""Ways to choose and judge a binary classifier's threshold, from saved scores.

Origins of a threshold:
    train     chosen on training images, judged on all test images (the paper's way),
    crossfit  chosen on one half of the test images, judged on the other, both ways round.
Objectives: `f1`, the largest F1; `precision>=x`, the largest recall with such a precision;
`recall>=x`, the largest precision with such a recall.
Negatives: all of the split, 9 drawn for each positive ("9to1", several draws), or images of another
data set ("ood", with the test split's positives).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from codepath.evaluate.binary import BinaryScores
from codepath.evaluate.thresholds import (
    OBJECTIVES,
    Counts,
    Objective,
    choose_threshold,
    count,
    halves,
    rates,
)
from codepath.runtime import UserError
from codepath.store import Measurement

NEGATIVES_PER_POSITIVE = 9
DRAWS = 5
RESAMPLES = 500
_LEVEL = 0.95


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """95 % of the values lie between."""
    low, high = np.quantile(values, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)


def bootstrap_intervals(counts: Counts, rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    """95 % intervals over resampled test images, the threshold held.

    Resampling n images with replacement draws the four counts from a multinomial.
    """
    drawn = rng.multinomial(counts.total, np.array(counts) / counts.total, RESAMPLES)
    return {name: interval(values) for name, values in rates(drawn).items()}


def bootstrap_average_precision(
    scores: NDArray[np.float32], positive: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[float, float]:
    """95 % interval of the average precision over resampled images.

    Equal scores count as one threshold, as in scikit-learn.
    """
    order = np.argsort(-scores, kind="stable")
    yes = positive[order].astype(np.float32)
    ends = np.r_[np.flatnonzero(np.diff(scores[order])), len(order) - 1]
    found = []
    for _ in range(RESAMPLES):
        weight = np.bincount(rng.integers(0, len(order), len(order)), minlength=len(order))
        hits, taken = np.cumsum(weight * yes)[ends], np.cumsum(weight)[ends]
        if hits[-1]:
            gained = np.diff(hits, prepend=0.0) / hits[-1]
            found.append(float(gained @ (hits / np.maximum(taken, 1))))
    return interval(np.array(found)) if found else (0.0, 0.0)


def draw_negatives(
    positive: NDArray[np.bool_], rng: np.random.Generator
) -> NDArray[np.int64] | None:
    """All positives with NEGATIVES_PER_POSITIVE negatives each; None where there are fewer."""
    yes, no = np.flatnonzero(positive), np.flatnonzero(~positive)
    wanted = NEGATIVES_PER_POSITIVE * len(yes)
    if wanted > len(no):
        return None
    return np.concatenate([yes, rng.choice(no, wanted, replace=False)])


class Judgement(NamedTuple):
    """One classifier, objective and origin of the threshold."""

    counts: Counts
    thresholds: tuple[float, ...]
    """One, or one for each half."""


def judge(
    score: NDArray[np.float32],
    positive: NDArray[np.bool_],
    objective: Objective,
    train: tuple[NDArray[np.float32], NDArray[np.bool_]] | None,
) -> Judgement:
    """Decisions on test images: threshold from training images, or cross-fitted for None."""
    if train is not None:
        threshold = choose_threshold(*train, objective)
        return Judgement(count(score >= threshold, positive), (threshold,))
    first, second = halves(len(score))
    decided = np.zeros(len(score), dtype=bool)
    thresholds = []
    for fit, judged in ((first, second), (second, first)):
        if not positive[fit].any():
            raise UserError("cross-fitting needs images of the class in both halves: use more")
        threshold = choose_threshold(score[fit], positive[fit], objective)
        thresholds.append(threshold)
        decided[judged] = score[judged] >= threshold
    return Judgement(count(decided, positive), tuple(thresholds))


def measure_protocols(
    train: BinaryScores,
    test: BinaryScores,
    class_names: Sequence[str],
    objectives: Sequence[Objective] = OBJECTIVES,
) -> Iterator[Measurement]:
    """All classifiers by objective, origin of the threshold and negatives.

    Metrics are such as `f1/precision>=0.9/crossfit`; `f1/f1/train/9to1` with drawn negatives
    (mean of the draws; `sd` beside); `.._low` and `.._high` bound 95 % of the bootstrap of the
    paper's protocol (`f1/f1/train`, and `average_precision`). A row without class is the mean
    over classes.
    """
    rng = np.random.default_rng(0)
    sums: dict[str, list[float]] = {}
    n = len(test.labels)
    first, second = halves(n)
    for k, name in enumerate(class_names):
        score, positive = test.scores[:, k], test.labels == k
        fitted = (train.scores[:, k], train.labels == k)
        if not fitted[1].any() or not (positive[first].any() and positive[second].any()):
            continue
        values: dict[str, float] = {}
        for objective in objectives:
            for origin, given in (("train", fitted), ("crossfit", None)):
                judged = judge(score, positive, objective, given)
                for metric, value in judged.counts.metrics().items():
                    values[f"{metric}/{objective}/{origin}"] = value
        paper = judge(score, positive, Objective("f1"), fitted)
        for metric, (low, high) in bootstrap_intervals(paper.counts, rng).items():
            values[f"{metric}/f1/train_low"], values[f"{metric}/f1/train_high"] = low, high
        low, high = bootstrap_average_precision(score, positive, rng)
        values["average_precision_low"], values["average_precision_high"] = low, high
        values |= _drawn(score, positive, paper.thresholds[0], rng)
        for metric, value in values.items():
            sums.setdefault(metric, []).append(value)
            yield Measurement(kind="binary", metric=metric, value=value, n=n, class_name=name)
    for metric, found in sums.items():
        if not metric.endswith(("_low", "_high")):
            yield Measurement(kind="binary", metric=metric, value=float(np.mean(found)), n=n)


def _drawn(
    score: NDArray[np.float32],
    positive: NDArray[np.bool_],
    threshold: float,
    rng: np.random.Generator,
) -> dict[str, float]:
    """Metrics with drawn negatives: means and standard deviations over the draws."""
    rows: dict[str, list[float]] = {}
    for _ in range(DRAWS):
        chosen = draw_negatives(positive, rng)
        if chosen is None:
            return {}
        some, yes = score[chosen], positive[chosen]
        found = count(some >= threshold, yes).metrics()
        found["average_precision"] = float(average_precision_score(yes, some))
        for metric, value in found.items():
            rows.setdefault(metric, []).append(value)
    means = {f"{metric}/f1/train/9to1": float(np.mean(v)) for metric, v in rows.items()}
    spread = {f"{metric}/f1/train/9to1/sd": float(np.std(v, ddof=1)) for metric, v in rows.items()}
    return means | spread


def measure_out_of_distribution(
    train: BinaryScores,
    test: BinaryScores,
    foreign: NDArray[np.float32],
    foreign_name: str,
    class_names: Sequence[str],
) -> Iterator[Measurement]:
    """Test positives against images of another data set (Fig 2c), threshold from training images.

    Args:
        train, test: scores on the network's own data.
        foreign: (m, K) scores of the other data set's images.
        foreign_name: what they are; it stands in the metric, as `f1/f1/train/ood:NAME`.
        class_names: of the network.
    """
    sums: dict[str, list[float]] = {}
    for k, name in enumerate(class_names):
        positives = test.scores[test.labels == k, k]
        if not len(positives) or not (train.labels == k).any():
            continue
        threshold = choose_threshold(train.scores[:, k], train.labels == k, Objective("f1"))
        score = np.concatenate([positives, foreign[:, k]])
        positive = np.arange(len(score)) < len(positives)
        found = count(score >= threshold, positive).metrics()
        found["average_precision"] = float(average_precision_score(positive, score))
        found["false_alarm"] = float((foreign[:, k] >= threshold).mean())
        found["prevalence"] = float(positive.mean())
        for metric, value in found.items():
            full = f"{metric}/f1/train/ood:{foreign_name}"
            sums.setdefault(full, []).append(value)
            yield Measurement(
                kind="binary", metric=full, value=value, n=len(score), class_name=name
            )
    for metric, values in sums.items():
        yield Measurement(
            kind="binary", metric=metric, value=float(np.mean(values)), n=len(foreign)
        )
