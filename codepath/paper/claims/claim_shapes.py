"""The paper's claims about a shape: what is larger, what rises, what works at all.

They can be judged at every scale.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from codepath.experiments.coverage import rows_of_run
from codepath.paper.binary_rows import foreign_negatives, own_negatives, thresholds
from codepath.paper.claims.judge import (
    CONTRADICTED,
    PARTLY,
    REPRODUCED,
    Outcome,
    always_yes,
    common_seeds,
    compare,
    compare_classes,
    judge_rising,
    run_ids,
)
from codepath.paper.tables.table_files import percent
from codepath.run.config import RunConfig

Runs = Sequence[RunConfig]
_FROM_BEST_TO_WORST = (REPRODUCED, PARTLY, CONTRADICTED)


class Shape(NamedTuple):
    """A claim; it is judged on every experiment that lists `picture`."""

    item: str
    text: str
    paper: str
    picture: str
    judge: Callable[[Path, Runs], Outcome | None]
    """From the rows and an experiment's runs; None where rows of any run that it is about are
    absent, or runs that are compared have no seed in common."""


def _rows(
    results: Path, kind: str, run: RunConfig, metric: str, **where: float | str
) -> pd.DataFrame:
    rows = rows_of_run(results, kind, run)
    rows = rows[(rows["metric"] == metric) & (rows["split"] == "test")]
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return rows


def _f1(results: Path, run: RunConfig) -> pd.DataFrame:
    """Of every class, the paper's way."""
    return own_negatives(_rows(results, "binary", run, "f1"))


def _role(runs: Runs, role: str) -> RunConfig:
    return next(run for run in runs if run.model_role == role)


def _n(rows: pd.DataFrame) -> int:
    return int(rows["n"].iloc[0])


def _all_rows(
    results: Path, kind: str, runs: Runs, metric: str, **where: float | str
) -> list[pd.DataFrame] | None:
    """Rows of every run, of the seeds that all of them have; None where there are none."""
    return _comparable(*(_rows(results, kind, run, metric, **where) for run in runs))


def _comparable(*frames: pd.DataFrame) -> list[pd.DataFrame] | None:
    """The rows of the seeds that all frames have; None where there are none."""
    common = common_seeds(*frames)
    return None if any(rows.empty for rows in common) else common


def _more_accurate(results: Path, runs: Runs) -> Outcome | None:
    pair = [_role(runs, role) for role in ("coded", "baseline")]
    found_rows = _all_rows(results, "accuracy", pair, "top1")
    if found_rows is None:
        return None
    coded, plain = found_rows
    found = compare(coded, plain)
    ours = f"{percent(coded['value'])} against {percent(plain['value'])} %"
    return Outcome(
        found.verdict,
        ours,
        found.points(),
        _n(coded),
        found.seeds,
        run_ids(coded, plain),
        found.why,
    )


def _decoders_rise(results: Path, runs: Runs) -> Outcome | None:
    """Of every coded run; the worst one decides."""
    coded = sorted((run for run in runs if run.model_role == "coded"), key=lambda r: r.train.mu)
    found = [_decoders_of(results, run, len(coded) > 1) for run in coded]
    outcomes = [outcome for outcome in found if outcome]
    if len(outcomes) < len(coded):
        return None
    worst = max(outcomes, key=lambda one: _FROM_BEST_TO_WORST.index(one.verdict))
    return worst._replace(
        ours="; ".join(one.ours for one in outcomes),
        seeds=min(one.seeds for one in outcomes),
        run_ids=tuple(run_id for one in outcomes for run_id in one.run_ids),
    )


def _decoders_of(results: Path, run: RunConfig, several: bool) -> Outcome | None:
    rows = _rows(results, "decoders", run, "top1", decoder="eq7")
    by_block = common_seeds(*(rows[rows["block"] == b] for b in sorted(rows["block"].unique())))
    if len(by_block) < 2 or by_block[0].empty:
        return None
    steps = [compare(later, earlier) for earlier, later in itertools.pairwise(by_block)]
    whole = compare(by_block[-1], by_block[0])
    verdict, why = judge_rising(steps, whole)
    means = ", ".join(f"{100 * block['value'].mean():.1f}" for block in by_block)
    ours = f"blocks {rows['block'].min()} to {rows['block'].max()}: {means} %"
    if several:
        ours = f"mu {run.train.mu:g}, {ours}"
    ids = run_ids(*by_block)
    return Outcome(verdict, ours, whole.points(), _n(rows), whole.seeds, ids, why)


def _linear_decoders_gain(results: Path, runs: Runs) -> Outcome | None:
    """The worst block decides."""
    run = _role(runs, "coded")
    eq7, linear = common_seeds(
        *(_rows(results, "decoders", run, "top1", decoder=name) for name in ("eq7", "linear"))
    )
    if linear.empty:
        return None
    blocks = sorted(linear["block"].unique())
    gains = [compare(*(rows[rows["block"] == b] for rows in (linear, eq7))) for b in blocks]
    worst = max(gains, key=lambda gain: (_FROM_BEST_TO_WORST.index(gain.verdict), -gain.mean))
    points = ", ".join(f"{100 * gain.mean:+.2f}" for gain in gains)
    return Outcome(
        worst.verdict,
        f"blocks {blocks[0]} to {blocks[-1]}: {points} points",
        worst.points(),
        _n(linear),
        worst.seeds,
        run_ids(linear),
        worst.why and f"at block {blocks[gains.index(worst)]}, {worst.why}",
    )


def _active_matter(results: Path, runs: Runs) -> Outcome | None:
    run = _role(runs, "coded")
    active, inactive = (
        _rows(results, "removal", run, "top1", removed_from=group)
        for group in ("active", "inactive")
    )
    if active.empty or inactive.empty:
        return None
    most = min(active["removed"].max(), inactive["removed"].max())
    active, inactive = common_seeds(*(rows[rows["removed"] == most] for rows in (active, inactive)))
    if active.empty or inactive.empty:
        return None
    found = compare(inactive, active)
    ours = (
        f"{most:.0f} removed: {percent(active['value'])} % without active, "
        f"{percent(inactive['value'])} % without inactive ones"
    )
    return Outcome(
        found.verdict, ours, found.points(), _n(active), found.seeds, run_ids(active), found.why
    )


def _inactive_do_not(results: Path, runs: Runs) -> Outcome | None:
    rows = _rows(results, "removal", _role(runs, "coded"), "top1", removed_from="inactive")
    if rows.empty:
        return None
    most = rows["removed"].max()
    without, whole = common_seeds(rows[rows["removed"] == most], rows[rows["removed"] == 0])
    if without.empty:
        return None
    found = compare(without, whole)
    ours = (
        f"all {most:.0f} removed: {percent(without['value'])} %, none: {percent(whole['value'])} %"
    )
    verdict = CONTRADICTED if found.verdict == CONTRADICTED else REPRODUCED
    return Outcome(verdict, ours, found.points(), _n(rows), found.seeds, run_ids(rows))


def _binary_outcome(rows: pd.DataFrame) -> Outcome | None:
    f1, prevalence = (rows[rows["metric"] == metric] for metric in ("f1", "prevalence"))
    by_class = f1.groupby("class")["value"].mean().astype(float)
    if by_class.empty or prevalence.empty:
        return None
    chance = always_yes(float(prevalence["value"].astype(float).mean()))
    if by_class.min() > chance:
        verdict, why = REPRODUCED, ""
    elif by_class.mean() > chance:
        verdict, why = PARTLY, f"{(by_class <= chance).sum()} classes are not above it"
    else:
        verdict, why = CONTRADICTED, ""
    return Outcome(
        verdict,
        f"F1 {by_class.min():.3f} to {by_class.max():.3f}, mean {by_class.mean():.3f}; always yes "
        f"{chance:.3f}",
        f"{by_class.mean() - chance:+.3f}",
        _n(f1),
        f1["seed"].nunique(),
        run_ids(f1),
        why,
    )


def _binary_work(results: Path, runs: Runs) -> Outcome | None:
    return _binary_outcome(own_negatives(rows_of_run(results, "binary", _role(runs, "coded"))))


def _binary_reject_others(results: Path, runs: Runs) -> Outcome | None:
    rows = foreign_negatives(rows_of_run(results, "binary", _role(runs, "coded")))
    found = _binary_outcome(rows)
    names = ", ".join(sorted(rows["negatives"].unique()))
    return found and found._replace(ours=f"{found.ours}; negatives: {names}")


_SEPARATED = 0.75
"""Least share of every class's images, and of the others, on its side of the threshold."""


def _heaps_separate(results: Path, runs: Runs) -> Outcome | None:
    run = _role(runs, "coded")
    rows = _rows(results, "histograms", run, "images")
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
    verdict = REPRODUCED if least >= _SEPARATED else PARTLY if least > 0.5 else CONTRADICTED
    return Outcome(
        verdict,
        f"at least {100 * least:.0f} % of every class's images, and of the others, lie on their "
        f"side of the threshold ({rows['class'].nunique()} classes; by histogram bins)",
        f"{100 * (least - _SEPARATED):+.0f} against {100 * _SEPARATED:.0f} %",
        _n(rows),
        rows["seed"].nunique(),
        run_ids(rows),
        "" if verdict == REPRODUCED else "some heap reaches across the threshold",
    )


def _by_mu(
    results: Path, runs: Runs, kind: str, **where: float | str
) -> dict[float, pd.DataFrame] | None:
    """mu -> top-1 rows, in rising order; None where a run has none."""
    runs = sorted(runs, key=lambda run: run.train.mu)
    frames = _all_rows(results, kind, runs, "top1", **where)
    return (
        None
        if frames is None
        else {run.train.mu: rows for run, rows in zip(runs, frames, strict=True)}
    )


def _means(by_mu: dict[float, pd.DataFrame], digits: int) -> str:
    weights = ", ".join(f"{mu:g}" for mu in by_mu)
    means = ", ".join(f"{100 * rows['value'].mean():.{digits}f}" for rows in by_mu.values())
    return f"mu {weights}: {means} %"


def _decoders_rise_with_mu(results: Path, runs: Runs) -> Outcome | None:
    block = runs[0].evaluation.removal_block
    by_mu = _by_mu(results, runs, "decoders", block=block, decoder="eq7")
    if by_mu is None:
        return None
    frames = list(by_mu.values())
    steps = [compare(later, earlier) for earlier, later in itertools.pairwise(frames)]
    whole = compare(frames[-1], frames[0])
    verdict, why = judge_rising(steps, whole)
    ours = f"block {block}, {_means(by_mu, 1)}"
    ids = run_ids(*frames)
    return Outcome(verdict, ours, whole.points(), _n(frames[0]), whole.seeds, ids, why)


def _softmax_has_optimum(results: Path, runs: Runs) -> Outcome | None:
    by_mu = _by_mu(results, runs, "accuracy")
    if by_mu is None:
        return None
    weights, frames = list(by_mu), list(by_mu.values())
    means = [float(rows["value"].mean()) for rows in frames]
    best = means.index(max(means[1:-1]), 1)
    ours = _means(by_mu, 2)
    ends = [compare(frames[best], frames[end]) for end in (0, -1)]
    closest = min(ends, key=lambda end: end.mean)
    why = f"against mu {weights[0 if closest is ends[0] else -1]:g}, {closest.why}"
    ids = run_ids(*frames)
    return Outcome(
        closest.verdict,
        ours,
        closest.points(),
        _n(frames[0]),
        closest.seeds,
        ids,
        why if closest.why else "",
    )


def _by_p_drop(runs: Runs, frames: list[pd.DataFrame] | None) -> dict[float, pd.DataFrame] | None:
    """p_drop -> rows of its run; None where a run has none."""
    return (
        None
        if frames is None
        else {run.model.p_drop: rows for run, rows in zip(runs, frames, strict=True)}
    )


def _dropping_makes_binary(results: Path, runs: Runs) -> Outcome | None:
    f1 = _by_p_drop(runs, _comparable(*(_f1(results, run) for run in runs)))
    if f1 is None:
        return None
    found = compare_classes(f1[0.1], f1[0.0])
    parts = [f"{100 * rows['value'].mean():.1f} % with {p:g}" for p, rows in f1.items()]
    return Outcome(
        found.verdict,
        f"mean F1 {', '.join(parts)}",
        found.points(),
        _n(f1[0.1]),
        found.seeds,
        run_ids(*f1.values()),
        found.why,
    )


def _dropping_costs(results: Path, runs: Runs) -> Outcome | None:
    top1 = _by_p_drop(runs, _all_rows(results, "accuracy", runs, "top1"))
    if top1 is None:
        return None
    found = compare(top1[0.1], top1[0.2])
    parts = [f"{percent(rows['value'])} % with {p:g}" for p, rows in top1.items()]
    return Outcome(
        found.verdict,
        ", ".join(parts),
        found.points(),
        _n(top1[0.1]),
        found.seeds,
        run_ids(*top1.values()),
        found.why,
    )


def _fourth_power_best(results: Path, runs: Runs) -> Outcome | None:
    frames = _all_rows(results, "accuracy", runs, "top1")
    if frames is None:
        return None
    top1 = {run.train.exponent: rows for run, rows in zip(runs, frames, strict=True)}
    others = [compare(top1[4.0], rows) for e, rows in top1.items() if e != 4]
    least = min(others, key=lambda one: one.mean)
    parts = ", ".join(f"{percent(rows['value'])} % with {e:g}" for e, rows in top1.items())
    return Outcome(
        least.verdict,
        parts,
        least.points(),
        _n(top1[4.0]),
        least.seeds,
        run_ids(*top1.values()),
        least.why,
    )


_RUINED, _INTACT = 0.5, 0.9
"""Shares of the summed network's mean F1: at most so much is ruin, more than so much is none."""


def _concatenation_ruins(results: Path, runs: Runs) -> Outcome | None:
    frames = _comparable(*(_f1(results, run) for run in runs))
    if frames is None:
        return None
    f1 = {run.model.aggregate: rows for run, rows in zip(runs, frames, strict=True)}
    found = compare_classes(f1["sum"], f1["concat"])
    summed, joined = (float(f1[name]["value"].mean()) for name in ("sum", "concat"))
    left = joined / summed
    if left > _INTACT:
        verdict, why = CONTRADICTED, f"{100 * left:.0f} % of it are left"
    elif left > _RUINED and found.verdict == REPRODUCED:
        verdict, why = PARTLY, f"lower, but {100 * left:.0f} % of it are left"
    else:
        verdict, why = found.verdict, found.why
    return Outcome(
        verdict,
        f"mean F1 {100 * summed:.1f} % summed, {100 * joined:.1f} % concatenated",
        found.points(),
        _n(f1["sum"]),
        found.seeds,
        run_ids(*f1.values()),
        why,
    )


SHAPES = (
    Shape("Table 2", "Coded is more accurate than plain ResNeXt", "more", "table2", _more_accurate),
    Shape(
        "Fig 2a",
        "Removing active paths hurts more than as many inactive ones",
        "more",
        "fig2a",
        _active_matter,
    ),
    Shape("Fig 2a", "Removing inactive paths does not hurt", "no loss", "fig2a", _inactive_do_not),
    *(
        Shape(
            item,
            "Binary classifiers work by masking alone: every class's F1 is above that of always "
            "answering yes",
            "yes",
            picture,
            _binary_work,
        )
        for item, picture in (("Fig 2b", "fig2b"), ("Fig 2c", "fig2c"), ("Fig 8", "fig8"))
    ),
    *(
        Shape(
            item,
            "So they do against negatives of another data set",
            "yes",
            picture,
            _binary_reject_others,
        )
        for item, picture in (("Fig 2b", "fig2b"), ("Fig 2c", "fig2c"))
    ),
    Shape(
        "Fig 3 and 7",
        "A binary logit separates its class from all others (first ten classes; at least "
        f"{100 * _SEPARATED:.0f} % of either are on their side of the threshold in every class; "
        "partly: more than half)",
        "yes",
        "fig7",
        _heaps_separate,
    ),
    Shape("Fig 4", "Early decoders improve with depth", "rising", "fig4", _decoders_rise),
    Shape(
        "ours",
        "Linear decoders, fitted to training images, are more accurate than Eq. 7 at every block",
        "none",
        "linear",
        _linear_decoders_gain,
    ),
    Shape("Fig 5", "Early decoders improve with mu", "rising", "fig5", _decoders_rise_with_mu),
    Shape(
        "Fig 5",
        "Accuracy has its optimum at a mu between the ends",
        "inside",
        "fig5",
        _softmax_has_optimum,
    ),
    Shape(
        "Fig 6",
        "p_drop > 0 is what makes the binary classifiers work (0.1 against 0)",
        "higher F1",
        "fig6",
        _dropping_makes_binary,
    ),
    Shape("Fig 6", "p_drop of 0.2 costs accuracy against 0.1", "less", "fig6", _dropping_costs),
    Shape(
        "Text: exponent",
        "4 is the best exponent of the coding loss",
        "4",
        "exponent",
        _fourth_power_best,
    ),
    Shape(
        "Text: concatenation",
        "Concatenating instead of summing paths ruins the binary classifiers (at most "
        f"{100 * _RUINED:.0f} % of their mean F1 are left; partly: at most {100 * _INTACT:.0f} %)",
        "ruined",
        "concat",
        _concatenation_ruins,
    ),
)
