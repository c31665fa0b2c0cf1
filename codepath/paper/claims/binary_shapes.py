"""Claims about binary classifiers: that they work, that their logits separate, what ruins them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from codepath.experiments.coverage import rows_of_run
from codepath.paper.binary_rows import foreign_negatives, own_negatives, thresholds
from codepath.paper.claims.claim_rows import (
    Runs,
    f1_rows,
    images_of,
    rows_on_test_images,
    run_of_role,
    with_common_seeds,
)
from codepath.paper.claims.judge import (
    CONTRADICTED,
    PARTLY,
    REPRODUCED,
    Outcome,
    always_yes,
    compare_classes,
    runs_of,
)


def _apart(difference: float, form: str, unit: str = "") -> str:
    return f"{abs(difference):{form}}{unit} {'below' if difference < 0 else 'above'}"


def _binary_outcome(rows: pd.DataFrame) -> Outcome | None:
    f1, prevalence = (rows[rows["metric"] == metric] for metric in ("f1", "prevalence"))
    by_class = f1.groupby("class")["value"].mean().astype(float)
    if by_class.empty or prevalence.empty:
        return None
    chance = always_yes(float(prevalence["value"].astype(float).mean()))
    if by_class.min() > chance:
        verdict, why = REPRODUCED, ""
    elif by_class.mean() > chance:
        below = int((by_class <= chance).sum())
        verdict, why = PARTLY, f"{below} class{'es are' if below > 1 else ' is'} not above it"
    else:
        verdict, why = CONTRADICTED, ""
    return Outcome(
        verdict,
        f"F1 {by_class.min():.3f} to {by_class.max():.3f}, mean {by_class.mean():.3f}; always yes "
        f"{chance:.3f}",
        f"mean F1 {_apart(by_class.mean() - chance, '.3f')} that of always yes",
        images_of(f1),
        f1["seed"].nunique(),
        runs_of(f1),
        why,
    )


def binary_work(results: Path, runs: Runs) -> Outcome | None:
    return _binary_outcome(
        own_negatives(rows_of_run(results, "binary", run_of_role(runs, "coded")))
    )


def binary_reject_others(results: Path, runs: Runs) -> Outcome | None:
    rows = foreign_negatives(rows_of_run(results, "binary", run_of_role(runs, "coded")))
    found = _binary_outcome(rows)
    names = ", ".join(sorted(rows["negatives"].unique()))
    return found and found._replace(ours=f"{found.ours}; negatives: {names}")


SEPARATED = 0.75
"""Least share of every class's images, and of the others, on its side of the threshold."""


def heaps_separate(results: Path, runs: Runs) -> Outcome | None:
    run = run_of_role(runs, "coded")
    rows = rows_on_test_images(results, "histograms", run, "images")
    chosen = thresholds(rows_of_run(results, "binary", run))
    by_class = chosen.set_index(["class", "seed"])["value"].to_dict()
    rows = rows[[key in by_class for key in zip(rows["class"], rows["seed"], strict=True)]]
    if rows.empty:
        return None
    shares = []
    for (name, seed, group), part in rows.groupby(["class", "seed", "group"]):
        above = part[part["left"] >= by_class[name, seed]]["value"].sum() / part["value"].sum()
        shares.append(above if group == "positive" else 1 - above)
    least = min(shares)
    verdict = REPRODUCED if least >= SEPARATED else PARTLY if least > 0.5 else CONTRADICTED
    return Outcome(
        verdict,
        f"at least {100 * least:.0f} % of every class's images, and of the others, lie on their "
        f"side of the threshold ({rows['class'].nunique()} classes; by histogram bins)",
        f"{_apart(100 * (least - SEPARATED), '.0f', ' points')} {100 * SEPARATED:.0f} %",
        images_of(rows),
        rows["seed"].nunique(),
        runs_of(rows),
        "" if verdict == REPRODUCED else "in some class fewer are on their side",
    )


def by_p_drop(runs: Runs, frames: list[pd.DataFrame] | None) -> dict[float, pd.DataFrame] | None:
    """p_drop -> rows of its run; None where a run has none."""
    return (
        None
        if frames is None
        else {run.model.p_drop: rows for run, rows in zip(runs, frames, strict=True)}
    )


def dropping_makes_binary(results: Path, runs: Runs) -> Outcome | None:
    f1 = by_p_drop(runs, with_common_seeds(*(f1_rows(results, run) for run in runs)))
    if f1 is None:
        return None
    found = compare_classes(f1[0.1], f1[0.0])
    parts = [f"{100 * rows['value'].mean():.1f} % with {p:g}" for p, rows in f1.items()]
    return found.outcome(f"mean F1 {', '.join(parts)}", f1[0.1], *f1.values())


RUINED, INTACT = 0.5, 0.9
"""Shares of the summed network's mean F1: at most so much is ruin, more than so much is none."""


def concatenation_ruins(results: Path, runs: Runs) -> Outcome | None:
    frames = with_common_seeds(*(f1_rows(results, run) for run in runs))
    if frames is None:
        return None
    f1 = {run.model.aggregate: rows for run, rows in zip(runs, frames, strict=True)}
    found = compare_classes(f1["sum"], f1["concat"])
    summed, joined = (float(f1[name]["value"].mean()) for name in ("sum", "concat"))
    left = joined / summed
    if left > INTACT:
        verdict, why = CONTRADICTED, f"{100 * left:.0f} % of it are left"
    elif left > RUINED and found.verdict == REPRODUCED:
        verdict, why = PARTLY, f"lower, but {100 * left:.0f} % of it are left"
    else:
        verdict, why = found.verdict, found.why
    return found.outcome(
        f"mean F1 {100 * summed:.1f} % summed, {100 * joined:.1f} % concatenated",
        f1["sum"],
        *f1.values(),
        verdict=verdict,
        why=why,
    )
