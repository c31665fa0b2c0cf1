"""A number that the paper publishes, and how far ours may lie from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from codepath.experiments import find_experiment
from codepath.paper.claims.judge import (
    Outcome,
)


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
