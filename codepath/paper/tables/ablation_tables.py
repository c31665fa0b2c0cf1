"""The tables of the ablations: exponent, concatenation, variants and training objectives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from codepath.experiments.coverage import beside
from codepath.experiments.reference import reference
from codepath.paper.exit_rows import probe_rows
from codepath.paper.objective_rows import (
    ITEM,
    OWN,
    PAPER,
    PLAIN,
    SECOND,
    decoders_by_objective,
    exits_by_objective,
    f1_by_objective,
    top1_by_objective,
)
from codepath.paper.setting_rows import (
    CONCAT_ITEM,
    EXPONENT_ITEM,
    VARIANTS_ITEM,
    concat_rows,
    exponent_rows,
    variants_rows,
)
from codepath.paper.tables.layout import Table, percent, top1_rows


def _by_setting(
    rows: pd.DataFrame, setting: str, paper: Callable[[str, object], str]
) -> list[list[str]]:
    return [
        [
            str(dataset),
            str(scale),
            f"{value:g}" if isinstance(value, float) else str(value).replace("\n", " "),
            percent(group["value"]) + beside(group),
            str(group["seed"].nunique()),
            f"{group['n'].iloc[0]:,}",
            paper(str(dataset), value) if scale == "paper" else "-",
        ]
        for (dataset, scale, value), group in rows.groupby(
            ["dataset", "scale", setting], sort=False
        )
    ]


def exponent_table(results: Path) -> Table | None:
    """Top-1 by the exponent of Eq. 5."""
    rows = exponent_rows(results)
    if rows.empty:
        return None
    published = reference("exponent_ablation")

    def paper(dataset: str, value: object) -> str:
        one = published[(published["dataset"] == dataset) & (published["exponent"] == value)][
            "top1"
        ]
        return f"{one.iloc[0]:.1f}" if len(one) else "-"

    rows = rows.astype({"exponent": float}).sort_values(
        ["dataset", "scale", "exponent"], ascending=[True, True, False], kind="stable"
    )
    body = _by_setting(rows, "exponent", paper)
    header = ["data set", "scale", "exponent", "top-1 (%)", "seeds", "n", "paper's top-1 (%)"]
    return Table("exponent", EXPONENT_ITEM, "Exponent of the coding loss", header, body)


def concat_table(results: Path) -> Table | None:
    """F1 of the binary classifiers and top-1, paths summed and concatenated."""
    rows = concat_rows(results)
    if rows.empty:
        return None
    top1 = top1_rows(results, "concat", aggregate=lambda run: run.model.aggregate)
    body = []
    for (dataset, scale, aggregate), group in rows.groupby(["dataset", "scale", "aggregate"]):
        f1 = group[group["metric"] == "f1"].groupby("seed")["value"].mean()
        accuracy = top1.query("dataset == @dataset and scale == @scale and aggregate == @aggregate")
        body.append(
            [
                str(dataset),
                str(scale),
                str(aggregate),
                percent(f1) + beside(group),
                percent(accuracy["value"]) + beside(accuracy) if len(accuracy) else "-",
                str(group["seed"].nunique()),
                f"{group['n'].iloc[0]:,}",
            ]
        )
    header = ["data set", "scale", "paths", "mean F1 (%)", "top-1 (%)", "seeds", "n"]
    return Table("concat", CONCAT_ITEM, "Paths summed and concatenated", header, body)


def variants_table(results: Path) -> Table | None:
    """Top-1 of the variants of a network."""
    rows = variants_rows(results)
    if rows.empty:
        return None
    published = reference("table2_accuracy").query("model == 'coded'")

    def paper(dataset: str, value: object) -> str:
        row = rows[(rows["variant"] == value) & (rows["dataset"] == dataset)].iloc[0]
        one = published[
            (published["dataset"] == dataset)
            & (published["mu"] == row["mu"])
            & (published["p_drop"] == row["p_drop"])
        ]["top1"]
        return f"{one.iloc[0]:.2f}" if row["published"] and len(one) else "-"

    body = _by_setting(rows, "variant", paper)
    header = ["data set", "scale", "variant", "top-1 (%)", "seeds", "n", "paper's top-1 (%)"]
    return Table("variants", VARIANTS_ITEM, "Variants of the coded network", header, body)


_BUDGETS = (0.5, 0.6, 0.7, 0.8)


def objective_table(results: Path) -> Table | None:
    """Top-1, early decoders, binary classifiers and early exits by the training objective."""
    top1 = top1_by_objective(results)
    if top1.empty:
        return None
    exits = exits_by_objective(results)
    probes = probe_rows(results, set(exits["run_id"]))
    decoders, f1 = decoders_by_objective(results), f1_by_objective(results)
    body = []
    for (dataset, scale), here in top1.groupby(["dataset", "scale"], sort=False):
        seeds = set.intersection(*(set(mine["seed"]) for _, mine in here.groupby("objective_of")))
        for name in (PAPER, OWN, SECOND, PLAIN):
            mine = here[(here["objective_of"] == name) & here["seed"].isin(seeds)]
            if mine.empty:
                continue
            runs = set(mine["run_id"])
            blocks = decoders[decoders["run_id"].isin(runs)]
            curve = exits[exits["run_id"].isin(runs)]
            if name == PLAIN and len(probes):
                of_paper = set(here[here["objective_of"] == PAPER]["run_id"])
                curve = probes[(probes["metric"] == "top1") & probes["run_id"].isin(of_paper)]
            by_budget = [curve[(curve["limit"] - limit).abs() < 1e-9] for limit in _BUDGETS]
            by_block = [rows for _, rows in blocks.groupby("block")]
            scores = f1[f1["run_id"].isin(runs)].groupby("seed")["value"].mean()
            body.append(
                [
                    str(dataset),
                    str(scale),
                    name,
                    percent(mine["value"]) + beside(mine),
                    ", ".join(f"{100 * rows['value'].mean():.1f}" for rows in by_block) or "-",
                    percent(scores) if len(scores) else "-",
                    ", ".join(f"{100 * rows['value'].mean():.1f}" for rows in by_budget)
                    if all(len(rows) for rows in by_budget)
                    else "-",
                    str(mine["seed"].nunique()),
                    f"{mine['n'].iloc[0]:,}",
                ]
            )
    header = ["data set", "scale", "network", "top-1 (%)", "decoders by block (%)",
              "mean F1 (%)", "exits at 50, 60, 70, 80 % (%)", "seeds", "n"]  # fmt: skip
    note = (
        "Exits: top-1 at a share of the multiply-adds, Eq. 7 by margin, cross-fitted; of the plain "
        "network linear probes, on the seeds that have them."
    )
    return Table("objective", ITEM, "Training objectives", header, body, note)
