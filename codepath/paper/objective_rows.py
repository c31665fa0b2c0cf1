"""Rows of networks that differ in their training objective. Nothing here draws."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from codepath.experiments.coverage import rows_of_picture, setting_of
from codepath.paper.binary_rows import own_negatives
from codepath.paper.exit_rows import CRITERION
from codepath.paper.setting_rows import several, top1_of
from codepath.run.config import RunConfig
from codepath.run.objectives import ObjectiveConfig

NAME = "objective"
ITEM = "ours"
PAPER, OWN, PLAIN = "paper's objective", "training for extraction", "plain network"
SECOND = "the same, scores of scale 4"
_SCALE = ObjectiveConfig().score_scale


def objective_of(run: RunConfig) -> str:
    """What a run's network is called beside the others."""
    if run.model_role == "baseline":
        return PLAIN
    if run.train.objective == "energy_power":
        return PAPER
    return OWN if run.train.score_scale == _SCALE else SECOND


def _rows(results: Path, kind: str) -> pd.DataFrame:
    roles = ("coded", "baseline")
    return rows_of_picture(results, kind, NAME, {"objective_of": objective_of}, roles)


def top1_by_objective(results: Path) -> pd.DataFrame:
    """Top-1 on test images, where coded networks of two objectives have it."""
    rows = top1_of(_rows(results, "accuracy"))
    coded = several(rows[rows["objective_of"] != PLAIN], "objective_of")
    return rows[setting_of(rows).isin(set(setting_of(coded)))]


def decoders_by_objective(results: Path) -> pd.DataFrame:
    """Top-1 of Eq. 7's decoders on test images."""
    rows = top1_of(_rows(results, "decoders"))
    return rows[rows["decoder"] == "eq7"]


def f1_by_objective(results: Path) -> pd.DataFrame:
    """F1 of every class's binary classifier, measured the paper's way."""
    rows = own_negatives(_rows(results, "binary"))
    return rows[rows["metric"] == "f1"]


def exits_by_objective(results: Path) -> pd.DataFrame:
    """Top-1 of early exits by Eq. 7 against the budget of multiply-adds."""
    rows = _rows(results, "exits")
    return rows[
        (rows["metric"] == "top1")
        & (rows["target"] == "budget").fillna(False)
        & (rows["criterion"] == CRITERION).fillna(False)
        & (rows["decoder"] == "eq7").fillna(False)
    ]
