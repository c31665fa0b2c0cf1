"""The paper's claims about a shape: what is larger, what rises, what works at all.

They can be judged at every scale.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from codepath.paper.claims.binary_shapes import (
    INTACT,
    RUINED,
    SEPARATED,
    binary_reject_others,
    binary_work,
    by_p_drop,
    concatenation_ruins,
    dropping_makes_binary,
    heaps_separate,
)
from codepath.paper.claims.claim_rows import (
    Runs,
    rows_of_common_seeds,
    rows_on_test_images,
    run_of_role,
)
from codepath.paper.claims.judge import (
    CONTRADICTED,
    FROM_BEST_TO_WORST,
    REPRODUCED,
    Outcome,
    common_seeds,
    compare,
    gains_by_block,
    judge_rising,
)
from codepath.paper.claims.objective_shapes import (
    classifiers_gain,
    decoders_gain,
    not_below_plain,
)
from codepath.paper.claims.published import margin_of_table2
from codepath.paper.tables.layout import percent
from codepath.run.config import RunConfig


class Shape(NamedTuple):
    """A claim; it is judged on every experiment that lists `picture`."""

    item: str
    text: str
    paper: str | Callable[[str], str]
    """What the paper says; a function where it says another number of each data set."""
    picture: str
    judge: Callable[[Path, Runs], Outcome | None]
    """From the rows and an experiment's runs; None where rows of any run that it is about are
    absent, or runs that are compared have no seed in common."""


def _papers_margin(dataset: str) -> str:
    margin = margin_of_table2(dataset)
    return "more" if margin is None else f"{margin:.2f} points more"


def _more_accurate(results: Path, runs: Runs) -> Outcome | None:
    pair = [run_of_role(runs, role) for role in ("coded", "baseline")]
    found_rows = rows_of_common_seeds(results, "accuracy", pair, "top1")
    if found_rows is None:
        return None
    coded, plain = found_rows
    found = compare(coded, plain)
    ours = f"{percent(coded['value'])} against {percent(plain['value'])} %"
    return found.outcome(ours, coded, plain)


def _decoders_rise(results: Path, runs: Runs) -> Outcome | None:
    """Of every coded run; the worst one decides."""
    coded = sorted((run for run in runs if run.model_role == "coded"), key=lambda r: r.train.mu)
    found = [_decoders_of(results, run, len(coded) > 1) for run in coded]
    outcomes = [outcome for outcome in found if outcome]
    if len(outcomes) < len(coded):
        return None
    worst = max(outcomes, key=lambda one: FROM_BEST_TO_WORST.index(one.verdict))
    return worst._replace(
        ours="; ".join(one.ours for one in outcomes),
        seeds=min(one.seeds for one in outcomes),
        runs={key: run_id for one in outcomes for key, run_id in one.runs.items()},
    )


def _decoders_of(results: Path, run: RunConfig, several: bool) -> Outcome | None:
    rows = rows_on_test_images(results, "decoders", run, "top1", decoder="eq7")
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
    return whole.outcome(ours, *by_block, verdict=verdict, why=why)


def _linear_decoders_gain(results: Path, runs: Runs) -> Outcome | None:
    """The worst block decides."""
    run = run_of_role(runs, "coded")
    eq7, linear = common_seeds(
        *(
            rows_on_test_images(results, "decoders", run, "top1", decoder=name)
            for name in ("eq7", "linear")
        )
    )
    if linear.empty:
        return None
    return gains_by_block(linear, eq7)


def _active_matter(results: Path, runs: Runs) -> Outcome | None:
    run = run_of_role(runs, "coded")
    active, inactive = (
        rows_on_test_images(results, "removal", run, "top1", removed_from=group)
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
    return found.outcome(ours, active)


def _inactive_do_not(results: Path, runs: Runs) -> Outcome | None:
    rows = rows_on_test_images(
        results, "removal", run_of_role(runs, "coded"), "top1", removed_from="inactive"
    )
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
    return found.outcome(ours, rows, verdict=verdict, why="")


def _by_mu(
    results: Path, runs: Runs, kind: str, **where: float | str
) -> dict[float, pd.DataFrame] | None:
    """mu -> top-1 rows, in rising order; None where a run has none."""
    runs = sorted(runs, key=lambda run: run.train.mu)
    frames = rows_of_common_seeds(results, kind, runs, "top1", **where)
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
    return whole.outcome(ours, *frames, verdict=verdict, why=why)


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
    return closest.outcome(ours, *frames, why=why if closest.why else "")


def _dropping_costs(results: Path, runs: Runs) -> Outcome | None:
    top1 = by_p_drop(runs, rows_of_common_seeds(results, "accuracy", runs, "top1"))
    if top1 is None:
        return None
    found = compare(top1[0.1], top1[0.2])
    parts = [f"{percent(rows['value'])} % with {p:g}" for p, rows in top1.items()]
    return found.outcome(", ".join(parts), top1[0.1], *top1.values())


def _fourth_power_best(results: Path, runs: Runs) -> Outcome | None:
    frames = rows_of_common_seeds(results, "accuracy", runs, "top1")
    if frames is None:
        return None
    top1 = {run.train.exponent: rows for run, rows in zip(runs, frames, strict=True)}
    others = [compare(top1[4.0], rows) for e, rows in top1.items() if e != 4]
    least = min(others, key=lambda one: one.mean)
    parts = ", ".join(f"{percent(rows['value'])} % with {e:g}" for e, rows in top1.items())
    return least.outcome(parts, top1[4.0], *top1.values())


SHAPES = (
    Shape(
        "Table 2",
        "Coded is more accurate than plain ResNeXt",
        _papers_margin,
        "table2",
        _more_accurate,
    ),
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
            binary_work,
        )
        for item, picture in (("Fig 2b", "fig2b"), ("Fig 2c", "fig2c"), ("Fig 8", "fig8"))
    ),
    *(
        Shape(
            item,
            "So they do against negatives of another data set",
            "yes",
            picture,
            binary_reject_others,
        )
        for item, picture in (("Fig 2b", "fig2b"), ("Fig 2c", "fig2c"))
    ),
    Shape(
        "Fig 3 and 7",
        "A binary logit separates its class from all others (first ten classes; at least "
        f"{100 * SEPARATED:.0f} % of either are on their side of the threshold in every class; "
        "partly: more than half)",
        "yes",
        "fig7",
        heaps_separate,
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
        dropping_makes_binary,
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
        f"{100 * RUINED:.0f} % of their mean F1 are left; partly: at most {100 * INTACT:.0f} %)",
        "ruined",
        "concat",
        concatenation_ruins,
    ),
    *(
        Shape("ours", f"Training for extraction: {text}", "none", "objective", judged)
        for text, judged in (
            ("the whole network is as accurate as plain ResNeXt", not_below_plain),
            ("every early decoder is better than by the paper's objective", decoders_gain),
            ("the binary classifiers are better than by the paper's objective", classifiers_gain),
        )
    ),
)
