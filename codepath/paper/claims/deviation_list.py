"""paper/DEVIATIONS.md: every deviation, its switch, and its effect where runs differ in it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pandas as pd

from codepath.core.files import make_directory, write_text
from codepath.experiments import find_experiment
from codepath.experiments.coverage import OTHER_CONFIGURATION, rows_of_kind
from codepath.experiments.deviations import DEVIATIONS, Deviation
from codepath.experiments.registry import override
from codepath.paper.claims.claim_numbers import paper_numbers
from codepath.paper.claims.judge import compare
from codepath.paper.tables.layout import markdown

HEADER = ["topic", "the paper", "the authors' code", "ours", "switch", "measured effect"]


def effect(results: Path, deviation: Deviation) -> str:
    """What is known of a choice's effect, as text.

    How turning the switch changes the coded network's top-1, from paired seeds; how far the
    published numbers are that depend on the choice; and the deviation's own words.
    """
    found = _published(results, deviation.numbers) if deviation.numbers else []
    rows = rows_of_kind(results, "accuracy")
    rows = rows[(rows["metric"] == "top1") & (rows["split"] == "test") & (rows["model"] == "coded")]
    base_name = re.escape(deviation.experiment) or r"table2-\w+"
    pattern = re.compile(rf"({base_name})\+{re.escape(deviation.switch)}=([^+]+)")
    turned = rows[rows["experiment"].isin({n for n in rows["experiment"] if pattern.fullmatch(n)})]
    for (experiment, scale), changed in turned.groupby(["experiment", "scale"]):
        match = pattern.fullmatch(str(experiment))
        assert match is not None
        base = rows[(rows["experiment"] == match[1]) & (rows["scale"] == scale)]
        if set(base["seed"]) & set(changed["seed"]):
            one = compare(changed, base)
            note = _note(base, changed, deviation.switch, match[2])
            found.append(
                f"{match[1]} at {scale} scale with {match[2]}: {one.points()} points of top-1, "
                f"{one.seeds} {'seed' if one.seeds == 1 else 'seeds'}{note}"
            )
    return "; ".join([*found, deviation.effect] if deviation.effect else found) or "not measured"


def _published(results: Path, beginning: str) -> list[str]:
    """How far our numbers are from the published ones whose text begins so."""
    judged = [
        (number.text, number.judge(results))
        for number in paper_numbers()
        if number.text.startswith(beginning)
    ]
    return [f"{text}: {outcome.difference}" for text, outcome in judged if outcome]


def _note(base: pd.DataFrame, changed: pd.DataFrame, switch: str, value: str) -> str:
    """A note where the runs are not those that are planned now; empty where they are."""
    name, scale = str(base["experiment"].iloc[0]), str(base["scale"].iloc[0])
    coded = next(r for r in find_experiment(name).runs(scale, 0) if r.model_role == "coded")
    turned = override(coded, [f"{switch}={value}"])
    planned = {
        dataclasses.replace(run, seed=int(seed)).run_id
        for run, rows in ((coded, base), (turned, changed))
        for seed in rows["seed"].unique()
    }
    made = {*base["run_id"], *changed["run_id"]}
    return "" if made <= planned else f" ({OTHER_CONFIGURATION})"


def cells(results: Path, deviation: Deviation) -> list[str]:
    """A deviation as the cells of `HEADER`."""
    switch = deviation.switch
    if re.fullmatch(r"\w+\.\w+", switch):
        switch = f"`--set {switch}=...`"
    return [
        deviation.topic,
        deviation.paper,
        deviation.code,
        deviation.ours,
        switch or "none",
        effect(results, deviation),
    ]


def write_deviations(results: Path, out: Path) -> Path:
    """Write `out`/DEVIATIONS.md."""
    path = make_directory(out) / "DEVIATIONS.md"
    body = [cells(results, deviation) for deviation in DEVIATIONS]
    write_text(
        path,
        "# Deviations\n\nWhere the paper is silent, or differs from its authors' released code, "
        "and what this suite does. Effects are differences of the coded network's top-1 in "
        "points, with standard errors (SE), from runs that differ in the switch alone. A "
        'difference whose switch is "none" cannot be turned without a change of the code.\n\n'
        + markdown(HEADER, body),
    )
    return path
