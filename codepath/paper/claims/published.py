"""A number that the paper publishes, and how far ours may lie from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from codepath.experiments import find_experiment
from codepath.experiments.reference import reference
from codepath.paper.claims.judge import Outcome


def margin_of_table2(dataset: str) -> float | None:
    """Points by which the paper's coded network is above its plain one; None: not published."""
    rows = reference("table2_accuracy")
    rows = rows[rows["dataset"] == dataset].drop_duplicates("model")  # the first mu is Table 2's
    top1 = rows.set_index("model")["top1"]
    return float(top1["coded"] - top1["baseline"]) if len(top1) else None


def off_the_paper(difference: float, form: str = ".2f", unit: str = " points") -> str:
    """How far a number of ours is from the paper's, in words."""
    size = f"{abs(difference):{form}}"
    if not float(size.replace(",", "")):
        return "none"
    return f"{size}{unit} {'below' if difference < 0 else 'above'} the paper"


class Number(NamedTuple):
    """A published number, or a row of them, and the judgement of ours."""

    experiment: str
    text: str
    paper: str
    data: str
    judge: Callable[[Path], Outcome | None]
    tolerance: str = ""
    """With its unit; empty where the number must be met exactly."""


def tolerance_of(experiment: str) -> float:
    """Points within which an experiment's number counts as reproduced."""
    tolerance = find_experiment(experiment).tolerance
    assert tolerance is not None
    return tolerance


def in_points(points: float) -> str:
    """A tolerance in words."""
    return f"{points:g} {'point' if points == 1 else 'points'}"
