"""The paper's own numbers, from paper/reference/, and how far ours lie from them.

Their names begin with `published`, so that none is taken for ours.
"""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from codepath.experiments.reference import reference
from codepath.paper.claims.published import margin_of_table2
from codepath.paper.quoted.alike import Source, alike
from codepath.paper.quoted.answer import (
    Answer,
    Query,
    harmonic_mean,
    listed,
    needed,
    percents,
    place,
    points,
    span,
)
from codepath.paper.quoted.networks import networks
from codepath.paper.quoted.trained import mean, where

_IMAGES = 50_000
"""Test images of ImageNet."""
_CODED = {"cifar10": {"dataset": "cifar10", "mu": 6}, "cifar100": {"dataset": "cifar100", "mu": 6},
          "imagenet": {"dataset": "imagenet", "mu": 1}}  # fmt: skip
"""Table 2's coded networks."""


def _paper(name: str) -> Source:
    """A table of paper/reference/."""
    path = f"paper/reference/{name}.csv"
    return Source(path, lambda _: reference(name), lambda _, __: f"{path}: the paper's")


def _top1_list(rows: pd.DataFrame) -> str:
    return percents([float(value) / 100 for value in rows["top1"]])


def _top1(rows: pd.DataFrame) -> str:
    return percents([float(rows["top1"].iloc[0]) / 100], 2)


def _margin(rows: pd.DataFrame) -> str:
    """By how much the coded network is above the plain one."""
    margin = margin_of_table2(str(rows["dataset"].iloc[0]))
    assert margin is not None
    return points(margin / 100)


def _sampling_error(rows: pd.DataFrame) -> str:
    """The binomial standard error of one network's top-1."""
    share = float(rows["top1"].iloc[0]) / 100
    return points(math.sqrt(share * (1 - share) / _IMAGES))


def _decoders(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["block"] != "softmax"]


def _removed(rows: pd.DataFrame) -> str:
    """Top-1 without all of a block's paths of one side."""
    return percents([float(rows["top1"].iloc[-1]) / 100])


def _removal_change(rows: pd.DataFrame) -> str:
    return points(abs(float(rows["top1"].iloc[-1] - rows["top1"].iloc[0])) / 100, 1)


def _f1_of_means(rows: pd.DataFrame) -> str:
    return percents([harmonic_mean(rows["precision"].mean() / 100, rows["recall"].mean() / 100)])


def _gap(results: Path) -> Answer:
    """By how much our early decoders lie below the paper's: the least and the largest of a block"""
    network = networks()["paper"]
    rows = where(metric="top1", decoder="eq7")(network.rows(results, "decoders"))
    rows = needed(rows, f"decoders of {network.named()}")
    paper = _decoders(reference("fig4_early_decoders")).query("dataset == 'cifar10'")
    of = paper.astype({"block": int}).set_index("block")["top1"]
    below = [float(of[block]) - 100 * mean(part) for block, part in rows.groupby("block")]
    return Answer(f"{span(below, '{:.1f}')} points", place(rows, network.table("decoders")))


def numbers() -> dict[str, Query]:
    """Name -> query."""
    table2, fig2a = _paper("table2_accuracy"), _paper("fig2a_removal")
    fig2b, fig6 = _paper("fig2b_binary_cifar10"), _paper("fig6_pdrop")
    kept, percent_kept = _paper("binary_parameters"), "kept_percent_claimed"
    own = {"negatives": "in"}
    sides = ("active", "inactive")
    found = {
        **alike("published.top1.{dataset}", table2, _top1, {"model": "coded"}, dataset=_CODED),
        **alike("published.top1.{dataset}.plain", table2, _top1, {"model": "baseline"},
                dataset=tuple(_CODED)),
        **alike("published.margin.{dataset}", table2, _margin, dataset=tuple(_CODED)),
        **alike("published.error.imagenet", table2, _sampling_error,
                {"model": "coded"} | _CODED["imagenet"]),
        **alike("published.removal.{dataset}.{removed_from}", fig2a, _removed,
                dataset=tuple(_CODED), removed_from=sides),
        **alike("published.removal_change.{dataset}.{removed_from}", fig2a, _removal_change,
                dataset=tuple(_CODED), removed_from=sides),
        **alike("published.f1_of_means", fig2b, _f1_of_means, own),
        **alike("published.exponents", _paper("exponent_ablation"), _top1_list,
                {"dataset": "cifar10"}),
        **alike("published.kept", kept, lambda rows: f"{listed(list(rows[percent_kept]))} %"),
        **alike("published.kept.{dataset}", kept, lambda rows: f"{rows[percent_kept].iloc[0]} %",
                dataset=tuple(_CODED)),
        "gap.decoders.paper": _gap,
    }  # fmt: skip
    decoders = _paper("fig4_early_decoders")
    decoders = decoders._replace(read=lambda _: _decoders(reference("fig4_early_decoders")))
    found |= alike("published.decoders.{dataset}", decoders, _top1_list, dataset=_CODED)
    for metric in ("precision", "recall"):

        def average(rows: pd.DataFrame, metric: str = metric) -> str:
            return percents([float(rows[metric].mean()) / 100])

        found |= alike(f"published.{metric}", fig2b, average, own)
        found |= alike(f"published.{metric}.p_drop_{{p_drop}}", fig6, average,
                       p_drop={"0": 0.0, "0.1": 0.1, "0.2": 0.2})  # fmt: skip
    return found
