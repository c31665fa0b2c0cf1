"""This suite's claims about its own training objective."""

from __future__ import annotations

from pathlib import Path

from codepath.paper.claims.claim_rows import Runs, f1_rows, rows_of_common_seeds, with_common_seeds
from codepath.paper.claims.judge import (
    REPRODUCED,
    Outcome,
    compare,
    compare_classes,
    gains_by_block,
)
from codepath.paper.objective_rows import OWN, PAPER, PLAIN, objective_of
from codepath.paper.tables.layout import percent
from codepath.run.config import RunConfig


def _named(runs: Runs) -> dict[str, RunConfig]:
    return {objective_of(run): run for run in runs}


def not_below_plain(results: Path, runs: Runs) -> Outcome | None:
    named = _named(runs)
    found = rows_of_common_seeds(results, "accuracy", [named[OWN], named[PLAIN]], "top1")
    if found is None:
        return None
    own, plain = found
    gain = compare(own, plain)
    better = gain.mean >= 0
    return gain.outcome(
        f"{percent(own['value'])} against {percent(plain['value'])} %",
        own,
        plain,
        verdict=REPRODUCED if better else gain.verdict,
        why="" if better else gain.why,
    )


def decoders_gain(results: Path, runs: Runs) -> Outcome | None:
    """The worst block decides."""
    named = _named(runs)
    pair = [named[OWN], named[PAPER]]
    found = rows_of_common_seeds(results, "decoders", pair, "top1", decoder="eq7")
    if found is None:
        return None
    return gains_by_block(*found)


def classifiers_gain(results: Path, runs: Runs) -> Outcome | None:
    named = _named(runs)
    found = with_common_seeds(*(f1_rows(results, named[name]) for name in (OWN, PAPER)))
    if found is None:
        return None
    own, paper = found
    gain = compare_classes(own, paper)
    ours = f"mean F1 {100 * own['value'].mean():.1f} against {100 * paper['value'].mean():.1f} %"
    return gain.outcome(ours, own, paper)
