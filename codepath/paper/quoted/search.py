"""Numbers of the search among training objectives: search.TRAINING.WHAT, and a table of it.

A training that is measured later needs a name and its settings in `TRAININGS`, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import pandas as pd

from codepath.core.errors import UserError
from codepath.paper.quoted.alike import Text, alike
from codepath.paper.quoted.answer import Query, percents
from codepath.paper.quoted.benchmarks import benchmark, newest
from codepath.paper.quoted.trained import mean

_OWN = {"objective": "extraction_and_cross_entropy", "epochs": 5, "asked": 0.125,
        "question_weight": 0.5}  # fmt: skip
TRAININGS: Mapping[str, Mapping[str, object]] = {
    "plain": {"model": "baseline", "epochs": 5},
    "paper": {"objective": "energy_power", "epochs": 5},
    "questions": {"objective": "extraction", "epochs": 5},
    "scores_0.1_4": _OWN | {"score_weight": 0.1, "score_scale": 4.0},
    "scores_0.3_4": _OWN | {"score_weight": 0.3, "score_scale": 4.0},
    "chosen": _OWN | {"score_weight": 0.3, "score_scale": 8.0},
    "scores_1_4": _OWN | {"score_weight": 1.0, "score_scale": 4.0},
    "fewer_questions": _OWN | {"score_weight": 0.3, "score_scale": 8.0, "asked": 0.0625},
    "fewer_heavier_questions": _OWN | {"score_weight": 0.3, "score_scale": 8.0, "asked": 0.0625,
                                       "question_weight": 1.0},
}  # fmt: skip
"""A training's name -> the columns of objectives.csv that tell it from all others."""
_NO_SETTINGS = {"seed", "source", "precision", "metric", "place", "value", "n", "device", "commit",
                "dirty", "created"}  # fmt: skip


def _latest_of_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    """One training's rows, of each seed those that were measured last.

    Raises UserError where the rows are of several trainings.
    """
    settings = [column for column in rows.columns if column not in _NO_SETTINGS]
    mixed = [column for column in settings if rows[column].nunique(dropna=False) > 1]
    if mixed:
        values = ", ".join(str(value) for value in sorted(rows[mixed[0]].unique(), key=str))
        raise UserError(
            f"rows of several trainings, which differ in {', '.join(mixed)} ({values}): say in "
            "TRAININGS (codepath/paper/quoted/search.py) which one is meant"
        )
    rows = rows.sort_values("created", kind="stable")
    return rows.drop_duplicates(["seed", "metric", "place"], keep="last")


def _mean(form: str) -> Text:
    return lambda rows: form.format(mean(_latest_of_seeds(rows)))


def _percents(ends: bool, rows: pd.DataFrame) -> str:
    """The means over seeds in per cent, by block or by budget; with `ends` the first and last."""
    rows = _latest_of_seeds(rows)
    means = [mean(part) for _, part in rows.groupby("place")]
    return percents(means[:: max(len(means) - 1, 1)] if ends else means)


def _seed_count(rows: pd.DataFrame) -> str:
    return str(_latest_of_seeds(rows)["seed"].nunique())


def numbers() -> dict[str, Query]:
    """Name -> query."""
    source = benchmark("objectives")
    found: dict[str, Query] = {}
    for what, metric, text in (
        ("top1", "top1", partial(_percents, False)),
        ("seeds", "top1", _seed_count),
        ("images", "top1", lambda rows: f"{int(rows['n'].max()):,}"),
        ("decoders", "decoder", partial(_percents, False)),
        ("decoders.ends", "decoder", partial(_percents, True)),
        ("exits", "exits", partial(_percents, False)),
        ("f1", "mean f1", _mean("{:.3f}")),
    ):
        found |= alike(f"search.{{training}}.{what}", source, text, {"metric": metric},
                       training=TRAININGS)  # fmt: skip
    step = {"metric": "step ratio", "objective": "extraction_and_cross_entropy"}
    return found | alike("step.extraction", source, newest("{:.3f}"), step)
