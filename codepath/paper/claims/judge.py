"""How a claim is judged: differences against their standard errors, numbers against a tolerance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

REPRODUCED, PARTLY, CONTRADICTED, NOT_RUN = "reproduced", "partly", "contradicted", "not run"
FROM_BEST_TO_WORST = (REPRODUCED, PARTLY, CONTRADICTED)


class Outcome(NamedTuple):
    """What the rows say of one claim at one scale."""

    verdict: str
    ours: str
    """Means, with SD over seeds where there are several."""
    difference: str
    """How far it is off, or by how much the claim holds, in words."""
    n: int
    """Images (or counted networks) behind a number."""
    seeds: int
    runs: Mapping[str, str]
    """The lines of runs.csv behind the numbers: key -> the run's id."""
    why: str = ""
    """What qualifies the verdict; empty where nothing does."""


def standard_error(differences: pd.Series, accuracy: float, images: int) -> float:
    """Standard error of a mean difference of two accuracies.

    With at least three seeds it comes from the spread over seeds. With fewer it is the binomial
    error of two independent accuracies on `images` images, which overstates the error of paired
    ones. With two seeds the spread is taken where that is larger.
    """
    seeds = max(len(differences), 1)
    spread = float(differences.std() / math.sqrt(seeds)) if seeds > 1 else 0.0
    if seeds >= 3:
        return spread
    return max(spread, math.sqrt(2 * accuracy * (1 - accuracy) / images / seeds))


def judge(difference: float, error: float) -> str:
    """Verdict on a difference that is claimed to be positive, by twice its standard error."""
    if difference > 2 * error:
        return REPRODUCED
    return CONTRADICTED if difference < -2 * error else PARTLY


def judge_number(difference: float, tolerance: float) -> str:
    """Verdict on a published number: reproduced within the tolerance, partly within twice of it."""
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
        """Verdict on the claim that the difference is positive."""
        return judge(self.mean, self.error)

    @property
    def why(self) -> str:
        """The reason that stands beside the verdict "partly"; empty for the others."""
        return "within twice its standard error" if self.verdict == PARTLY else ""

    def in_words(self) -> str:
        """The same, said in the direction of a claim that the difference is positive."""
        other = " the other way" if self.mean < 0 else ""
        return f"{100 * abs(self.mean):.2f} points{other} (SE {100 * self.error:.2f})"

    def points(self) -> str:
        """The mean difference in points, with its standard error."""
        return f"{100 * self.mean:+.2f} (SE {100 * self.error:.2f})"

    def outcome(
        self, ours: str, *frames: pd.DataFrame, verdict: str = "", why: str | None = None
    ) -> Outcome:
        """The outcome of a claim that this difference decides.

        Args:
            ours: what was measured, in words.
            frames: the rows behind it; the number of images is that of the first.
            verdict, why: in place of the difference's own.
        """
        return Outcome(
            verdict or self.verdict,
            ours,
            self.in_words(),
            int(frames[0]["n"].iloc[0]),
            self.seeds,
            runs_of(*frames),
            self.why if why is None else why,
        )


def common_seeds(*frames: pd.DataFrame) -> list[pd.DataFrame]:
    """Each frame's rows at the seeds that all frames have; empty where they share no seed."""
    common = set.intersection(*(set(rows["seed"]) for rows in frames)) if frames else set()
    return [rows[rows["seed"].isin(common)] for rows in frames]


def compare(larger: pd.DataFrame, smaller: pd.DataFrame) -> Comparison:
    """Compare accuracies on the same images, paired by seed.

    Without common seeds the mean is NaN, and the difference is never found positive.
    """
    a, b = (rows.groupby("seed")["value"].mean().astype(float) for rows in (larger, smaller))
    differences = (a - b).dropna()
    error = standard_error(differences, float(b.mean()), int(larger["n"].iloc[0]))
    return Comparison(float(differences.mean()), error, len(differences))


def gains_by_block(larger: pd.DataFrame, smaller: pd.DataFrame) -> Outcome:
    """Compare accuracies block by block; the worst block decides."""
    blocks = sorted(larger["block"].unique())
    gains = [compare(*(rows[rows["block"] == b] for rows in (larger, smaller))) for b in blocks]
    worst = max(gains, key=lambda gain: (FROM_BEST_TO_WORST.index(gain.verdict), -gain.mean))
    points = ", ".join(f"{100 * gain.mean:+.2f}" for gain in gains)
    return worst.outcome(
        f"blocks {blocks[0]} to {blocks[-1]}: {points} points",
        larger,
        smaller,
        why=worst.why and f"at block {blocks[gains.index(worst)]}, {worst.why}",
    )


def compare_classes(larger: pd.DataFrame, smaller: pd.DataFrame) -> Comparison:
    """Compare a measure that every class has, such as F1, paired by seed and class.

    The error is that over classes. Without common seeds the mean is NaN, and the difference is
    never found positive.
    """
    larger, smaller = common_seeds(larger, smaller)
    a, b = (rows.groupby("class")["value"].mean().astype(float) for rows in (larger, smaller))
    differences = (a - b).dropna()
    error = float(differences.std() / math.sqrt(max(len(differences), 1)))
    return Comparison(float(differences.mean()), error, larger["seed"].nunique())


def judge_rising(steps: Sequence[Comparison], whole: Comparison) -> tuple[str, str]:
    """Verdict and reason on numbers claimed to rise, from their steps and from their two ends."""
    if whole.verdict == REPRODUCED and any(step.verdict == CONTRADICTED for step in steps):
        return PARTLY, "it rises over all, and falls at some step"
    return whole.verdict, whole.why


def always_yes(prevalence: float) -> float:
    """F1 of the classifier that always answers yes."""
    return 2 * prevalence / (1 + prevalence)


def runs_of(*frames: pd.DataFrame) -> dict[str, str]:
    """The lines of runs.csv behind some rows, key -> the run's id, in the order of the ids."""
    pairs = {pair for rows in frames for pair in zip(rows["run_id"], rows["run"], strict=True)}
    return {str(key): str(run_id) for run_id, key in sorted(pairs)}
