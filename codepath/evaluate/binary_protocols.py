"""Ways to choose and judge a binary classifier's threshold, from saved scores.

Origins of a threshold:
    train     chosen on training images, judged on all test images (the paper's way),
    crossfit  chosen on one half of the test images, judged on the other, both ways round.
Objectives: `f1`, the largest F1; `precision>=x`, the largest recall at such a precision;
`recall>=x`, the largest precision at such a recall.
Negatives: all of the split, 9 drawn for each positive (several draws), or images of another data
set (with the test split's positives).

Where the protocol draws negatives (see `codepath.evaluate.binary`), a threshold from training
images is chosen with 9 negatives for each positive, and is judged only with as many. Foreign
negatives are drawn too. Cross-fitting takes all negatives, so it needs scores of all test images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codepath.core.errors import UserError
from codepath.evaluate.binary import (
    DRAWS,
    NEGATIVES_PER_POSITIVE,
    AnyScores,
    BinaryScores,
    ClassScores,
    Scored,
    draw_places,
    judge_pairs,
    negatives_are_drawn,
    protocol_pairs,
)
from codepath.evaluate.thresholds import (
    OBJECTIVES,
    Counts,
    Objective,
    choose_threshold,
    count,
    halves,
    rates,
)
from codepath.store import ALL, DRAWN, Measurement

RESAMPLES = 500
_LEVEL = 0.95


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The bounds between which 95 % of the values lie."""
    low, high = np.quantile(values, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return float(low), float(high)


def bootstrap_intervals(counts: Counts, rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    """95 % intervals over resampled test images, with the threshold fixed.

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


class Judgement(NamedTuple):
    """How one classifier decides, for one objective and one origin of the threshold."""

    counts: Counts
    thresholds: tuple[float, ...]
    """One threshold, or one for each half of the test images."""


def judge(
    score: NDArray[np.float32],
    positive: NDArray[np.bool_],
    objective: Objective,
    train: tuple[NDArray[np.float32], NDArray[np.bool_]] | None,
) -> Judgement:
    """Decide on test images with a threshold from training images or, for None, cross-fitted."""
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


class Way(NamedTuple):
    """How a classifier was judged."""

    objective: str
    fitted: str
    """train or crossfit, see the module."""
    negatives: str
    """ALL, DRAWN, or the name of another data set."""


Values = dict[tuple[str, Way], float]
"""(metric, way) -> value."""


def measure_protocols(
    train: AnyScores,
    test: AnyScores,
    class_names: Sequence[str],
    objectives: Sequence[Objective] = OBJECTIVES,
) -> Iterator[Measurement]:
    """Measure all classifiers for each objective, origin of the threshold, and kind of negatives.

    With drawn negatives, metrics are means over the draws, and `.._sd` are the standard deviations
    beside them. `.._low` and `.._high` bound 95 % of the bootstrap of the paper's way (f1, train,
    all negatives or, where they are drawn, the first draw). A row without a class is the mean over
    classes. `measure_binary` makes the classes' own rows of the paper's way.
    """
    drawn = negatives_are_drawn(len(class_names))
    papers = Way("f1", "train", DRAWN if drawn else ALL)
    sums: dict[tuple[str, Way], list[float]] = {}
    n = len(test.labels)
    for k, name in enumerate(class_names):
        fitted, judged = train.of_class(k), test.of_class(k)
        if not (fitted.positive.any() and judged.positive.any()):
            continue
        values: Values = {}
        if isinstance(test, BinaryScores):
            if not all(judged.positive[half].any() for half in halves(n)):
                continue
            for objective in objectives:
                values |= _judged(judged, objective, None)
        if not drawn:
            for objective in objectives:
                values |= _judged(judged, objective, fitted)
        if len(judged.draws[0]) == (1 + NEGATIVES_PER_POSITIVE) * judged.positive.sum():
            for objective in objectives if drawn else (Objective("f1"),):
                values |= _nine_to_one(fitted, judged, objective, drawn)
        for (metric, way), value in values.items():
            sums.setdefault((metric, way), []).append(value)
            if way != papers or metric.endswith("_sd"):
                yield _row(metric, way, value, len(judged.score), name)
        bounds = _intervals(*protocol_pairs(fitted, judged, drawn)[0], k)
        for metric, value in bounds.items():
            yield _row(metric, papers, value, len(judged.score), name)
    for (metric, way), found in sums.items():
        yield _row(metric, way, float(np.mean(found)), n)


def _row(metric: str, way: Way, value: float, n: int, name: str | None = None) -> Measurement:
    return Measurement(
        kind="binary", metric=metric, value=value, n=n, class_name=name, **way._asdict()
    )


def _judged(judged: ClassScores, objective: Objective, fitted: ClassScores | None) -> Values:
    """Metrics against all negatives; thresholds from training images or, for None, cross-fitted."""
    found = judge(*judged.all, objective, None if fitted is None else fitted.all)
    way = Way(str(objective), "crossfit" if fitted is None else "train", ALL)
    return {(metric, way): value for metric, value in found.counts.metrics().items()}


def _nine_to_one(
    fitted: ClassScores, judged: ClassScores, objective: Objective, drawn: bool
) -> Values:
    """Metrics with drawn negatives: means and standard deviations over the draws."""
    pairs = [(fitted.draw(i) if drawn else fitted.all, judged.draw(i)) for i in range(DRAWS)]
    found = judge_pairs(pairs, objective).metrics
    del found["prevalence"]
    if objective.name != "f1":
        del found["average_precision"]
    way = Way(str(objective), "train", DRAWN)
    values: Values = {}
    for metric, each in found.items():
        values[metric, way] = float(np.mean(each))
        values[f"{metric}_sd", way] = float(np.std(each, ddof=1))
    return values


def _intervals(fitted: Scored, judged: Scored, k: int) -> dict[str, float]:
    """Bootstrap intervals of class k."""
    rng = np.random.default_rng(k)
    counts = judge(*judged, Objective("f1"), fitted).counts
    found = bootstrap_intervals(counts, rng)
    found["average_precision"] = bootstrap_average_precision(*judged, rng)
    return {
        f"{name}_{side}": end
        for name, ends in found.items()
        for side, end in zip(("low", "high"), ends, strict=True)
    }


def measure_out_of_distribution(
    train: AnyScores,
    test: AnyScores,
    foreign: NDArray[np.float32],
    foreign_name: str,
    class_names: Sequence[str],
) -> Iterator[Measurement]:
    """Test positives against another data set's images (Fig 2b); thresholds from training images.

    Args:
        train, test: scores on the network's own data.
        foreign: (m, K) scores of the other data set's images.
        foreign_name: what these images are, for the column `negatives`.
        class_names: of the network.
    """
    drawn = negatives_are_drawn(len(class_names))
    way = Way("f1", "train", foreign_name)
    sums: dict[str, list[float]] = {}
    for k, name in enumerate(class_names):
        fitted, judged = train.of_class(k), test.of_class(k)
        if not (fitted.positive.any() and judged.positive.any()):
            continue
        own = judged.score[judged.positive]
        pairs = []
        for draw, (fitting, _) in enumerate(protocol_pairs(fitted, judged, drawn)):
            wanted = NEGATIVES_PER_POSITIVE * len(own) if drawn else len(foreign)
            others = foreign[draw_places(np.arange(len(foreign)), wanted, k, draw), k]
            score = np.concatenate([own, others])
            pairs.append((fitting, Scored(score, np.arange(len(score)) < len(own))))
        found = judge_pairs(pairs, Objective("f1"))
        values = {metric: float(np.mean(each)) for metric, each in found.metrics.items()}
        alarms = [(foreign[:, k] >= threshold).mean() for threshold in found.thresholds]
        values["false_alarm"] = float(np.mean(alarms))
        for metric, value in values.items():
            sums.setdefault(metric, []).append(value)
            yield _row(metric, way, value, len(pairs[0][1].score), name)
    for metric, each in sums.items():
        yield _row(metric, way, float(np.mean(each)), len(foreign))
