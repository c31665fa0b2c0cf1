"""What a run's binary classifiers decide by and what they are worth, without the images.

An evaluation leaves all scores in RUN/predictions. A packed run has no scores; RUN/classifiers.json
holds what came of them for the objectives of `codepath.evaluate.thresholds`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score

from codepath.core.errors import UserError
from codepath.core.files import read_json, write_text
from codepath.core.plain import as_type, is_type
from codepath.evaluate import load_binary_scores
from codepath.evaluate.binary import Scored, negatives_are_drawn, protocol_pairs
from codepath.evaluate.binary_protocols import (
    bootstrap_average_precision,
    bootstrap_intervals,
)
from codepath.evaluate.thresholds import OBJECTIVES, Objective, choose_threshold, count

FILE = "classifiers.json"
_METRICS = ("f1", "precision", "recall", "average_precision", "prevalence")
"""What is known of a classifier; all but the last with an interval."""


@dataclass(frozen=True)
class Judgement:
    """A classifier's threshold and its worth."""

    threshold: float
    """The decision is "yes" for score >= threshold."""
    origin: str
    """Objective and images that chose the threshold, in words."""
    metrics: dict[str, Any]
    """Of test images: f1, precision, recall and average_precision, each with its 95 % interval of
    the bootstrap; prevalence and n."""


def judge(fitted: Scored, judged: Scored, objective: Objective) -> Judgement:
    """Choose the threshold on `fitted` images and judge it on the others."""
    threshold = choose_threshold(*fitted, objective)
    score, positive = judged
    counts = count(score >= threshold, positive)
    rng = np.random.default_rng(0)
    metrics: dict[str, Any] = counts.metrics()
    metrics["average_precision"] = float(average_precision_score(positive, score))
    for metric, bounds in bootstrap_intervals(counts, rng).items():
        metrics[f"{metric}_95"] = list(bounds)
    metrics["average_precision_95"] = list(bootstrap_average_precision(score, positive, rng))
    metrics |= {"prevalence": float(positive.mean()), "n": len(score), "split": "test"}
    return Judgement(threshold, f"{objective} on {len(fitted.score):,} training images", metrics)


def saved_scores(run_dir: Path, k: int, classes: int) -> tuple[Scored, Scored] | None:
    """Classifier k's scores on training and on test images; None where they were not saved."""
    paths = [run_dir / "predictions" / f"binary-{split}.npz" for split in ("train", "test")]
    if not all(path.exists() for path in paths):
        return None
    train, test = (load_binary_scores(path).of_class(k) for path in paths)
    return protocol_pairs(train, test, negatives_are_drawn(classes))[0]


def kept_judgement(run_dir: Path, k: int, classes: int, objective: Objective) -> Judgement | None:
    """Of classifier k, by saved scores or by classifiers.json; None where neither has it."""
    scores = saved_scores(run_dir, k, classes)
    return judge(*scores, objective) if scores else _kept(run_dir).get((str(objective), k))


def kept_threshold(run_dir: Path, k: int, classes: int, objective: Objective) -> float | None:
    """The threshold of classifier k, as `kept_judgement`."""
    scores = saved_scores(run_dir, k, classes)
    if scores is not None:
        return choose_threshold(*scores[0], objective)
    kept = _kept(run_dir).get((str(objective), k))
    return kept.threshold if kept else None


def write_judgements(run_dir: Path, classes: int, folder: Path) -> None:
    """Write FOLDER/classifiers.json from a run's saved scores; UserError where it has none."""
    kept = []
    for k in range(classes):
        scores = saved_scores(run_dir, k, classes)
        if scores is None:
            raise UserError(f"{run_dir} has no scores of binary classifiers: evaluate it first")
        for objective in OBJECTIVES:
            found = asdict(judge(*scores, objective))
            kept.append({"objective": str(objective), "class": k} | found)
    write_text(folder / FILE, json.dumps(kept, indent=1) + "\n")


def _kept(run_dir: Path) -> dict[tuple[str, int], Judgement]:
    path = run_dir / FILE
    if not path.exists():
        return {}
    try:
        entries = list(map(_entry, as_type(read_json(path), list[dict[str, Any]], FILE)))
        found = dict(entries)
        if len(found) != len(entries):
            raise ValueError("a classifier is there twice")
        return found
    except KeyError as error:
        raise UserError(f"{path} is damaged (no {error}): pack the run again") from None
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): pack the run again") from None


def _entry(values: dict[str, Any]) -> tuple[tuple[str, int], Judgement]:
    """Objective, class and judgement; KeyError or ValueError where they are none."""
    metrics = as_type(values["metrics"], dict[str, Any], "metrics")
    for name in _METRICS:
        if not _are_numbers([metrics[name]]):
            raise ValueError(f"{name} is no number")
    for name in _METRICS[:-1]:
        bounds = as_type(metrics[f"{name}_95"], list[Any], f"{name}_95")
        if len(bounds) != 2 or not _are_numbers(bounds):
            raise ValueError(f"{name}_95 is no interval")
    as_type(metrics["n"], int, "n")
    key = as_type(values["objective"], str, "objective"), as_type(values["class"], int, "class")
    threshold = as_type(values["threshold"], float, "threshold")
    return key, Judgement(float(threshold), as_type(values["origin"], str, "origin"), metrics)


def _are_numbers(values: list[Any]) -> bool:
    """Whether they are numbers; intervals of few images may be not a number."""
    return all(type(value) is float or is_type(value, float) for value in values)
