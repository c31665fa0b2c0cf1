"""How a claim is judged: differences against their standard errors, numbers against a tolerance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

REPRODUCED, PARTLY, CONTRADICTED, NOT_RUN = "reproduced", "partly", "contradicted", "not run"


class Outcome(NamedTuple):
    """What the rows say of one claim at one scale."""

    verdict: str
    ours: str
    """Means, with SD over seeds where there are several."""
    difference: str
    n: int
    """Images (or counted networks) behind a number."""
    seeds: int
    run_ids: tuple[str, ...]
    why: str = ""
    """What makes the verdict less than plain."""


def standard_error(differences: pd.Series, accuracy: float, images: int) -> float:
    """Of a mean difference of two accuracies.

    From the spread over seeds where there are at least three, else the binomial error of two
    independent accuracies on n images (which overstates it for paired ones); of two seeds the
    spread where that is larger.
    """
    seeds = max(len(differences), 1)
    spread = float(differences.std() / math.sqrt(seeds)) if seeds > 1 else 0.0
    if seeds >= 3:
        return spread
    return max(spread, math.sqrt(2 * accuracy * (1 - accuracy) / images / seeds))


def judge(difference: float, error: float) -> str:
    """Whether a difference claimed to be positive is: beyond twice its standard error."""
    if difference > 2 * error:
        return REPRODUCED
    return CONTRADICTED if difference < -2 * error else PARTLY


def judge_number(difference: float, tolerance: float) -> str:
    """Whether a number is the paper's: within the tolerance, or partly within twice of it."""
    if abs(difference) <= tolerance:
        return REPRODUCED
    return PARTLY if abs(difference) <= 2 * tolerance else CONTRADICTED


class Comparison(NamedTuple):
    """A mean difference of shares, paired by seed."""

    mean: float
    error: float
    seeds: int

    @property
    def verdict(self) -> str:
        """Whether it is positive."""
        return judge(self.mean, self.error)

    @property
    def why(self) -> str:
        """What stands beside a verdict that is not plain."""
        return "within twice its standard error" if self.verdict == PARTLY else ""

    def points(self) -> str:
        """In points, with its standard error."""
        return f"{100 * self.mean:+.2f} (SE {100 * self.error:.2f})"


def common_seeds(*frames: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of those seeds that all frames have; all are empty where there is none."""
    common = set.intersection(*(set(rows["seed"]) for rows in frames)) if frames else set()
    return [rows[rows["seed"].isin(common)] for rows in frames]


def compare(larger: pd.DataFrame, smaller: pd.DataFrame) -> Comparison:
    """Of accuracies on the same images; without common seeds the mean is NaN and nothing holds."""
    a, b = (rows.groupby("seed")["value"].mean().astype(float) for rows in (larger, smaller))
    differences = (a - b).dropna()
    error = standard_error(differences, float(b.mean()), int(larger["n"].iloc[0]))
    return Comparison(float(differences.mean()), error, len(differences))


def compare_classes(larger: pd.DataFrame, smaller: pd.DataFrame) -> Comparison:
    """Of a measure that every class has, such as F1: paired by seed and class, error over classes.

    Without common seeds the mean is NaN and nothing holds.
    """
    larger, smaller = common_seeds(larger, smaller)
    a, b = (rows.groupby("class")["value"].mean().astype(float) for rows in (larger, smaller))
    differences = (a - b).dropna()
    error = float(differences.std() / math.sqrt(max(len(differences), 1)))
    return Comparison(float(differences.mean()), error, larger["seed"].nunique())


def judge_rising(steps: Sequence[Comparison], whole: Comparison) -> tuple[str, str]:
    """Verdict and reason for a row of numbers claimed to rise, from its steps and its ends."""
    if whole.verdict == REPRODUCED and any(step.verdict == CONTRADICTED for step in steps):
        return PARTLY, "it rises over all, and falls at some step"
    return whole.verdict, whole.why


def always_yes(prevalence: float) -> float:
    """F1 of the classifier that always answers yes."""
    return 2 * prevalence / (1 + prevalence)


def run_ids(*frames: pd.DataFrame) -> tuple[str, ...]:
    """The runs behind some rows."""
    return tuple(sorted(set(np.concatenate([f["run_id"].to_numpy(dtype=object) for f in frames]))))
