"""Published numbers without training: parameters, operations, speed and memory."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from codepath.experiments.coverage import benchmark_rows
from codepath.experiments.reference import reference
from codepath.paper.claims.judge import (
    CONTRADICTED,
    PARTLY,
    REPRODUCED,
    Outcome,
    judge_number,
)
from codepath.paper.claims.published import Number, in_points, off_the_paper, tolerance_of
from codepath.paper.tables.table_files import table3


def _architectures(results: Path, network: str) -> pd.DataFrame | None:
    rows = benchmark_rows(results, "architectures")
    return rows[rows["network"] == network] if len(rows) else None


def _counted(verdict: str, ours: str, difference: str, why: str = "") -> Outcome:
    return Outcome(verdict, ours, difference, 1, 0, {}, why)


def _parameters_of(results: Path, network: str, published: int) -> Outcome | None:
    rows = _architectures(results, network)
    if rows is None:
        return None
    total = int(rows["parameters"].sum())
    verdict = REPRODUCED if total == published else CONTRADICTED
    return _counted(verdict, f"{total:,}", off_the_paper(total - published, ",", ""))


def table1_numbers() -> Iterator[Number]:
    for line in reference("table1_parameters").itertuples():
        network, published = str(line.network), int(str(line.parameters))
        yield Number(
            "table1",
            f"Parameters of the {network} network",
            f"{published:,}",
            str(line.dataset),
            partial(_parameters_of, network=network, published=published),
        )


def _unlike(codewords: int) -> str:
    return f"{codewords} other than the paper's" if codewords else "none"


def _codewords(results: Path) -> Outcome:
    same = [row[-1] == "yes" for row in table3(results).body]
    verdict = REPRODUCED if all(same) else CONTRADICTED
    return _counted(verdict, f"{sum(same)} of {len(same)} equal", _unlike(len(same) - sum(same)))


def table3_numbers() -> Iterator[Number]:
    yield Number("table3", "Codewords of the ten classes", "Table 3", "cifar10", _codewords)


_GFLOPS_TOLERANCE = 0.02
_COST_TOLERANCE = 0.05
"""Shares within which counts of operations, and ratios of speed and memory, count as equal."""


def _operations(results: Path, published: float, coded: bool) -> Outcome | None:
    rows = _architectures(results, "ImageNet")
    if rows is None:
        return None
    total = int(rows["baseline_macs"].sum() + coded * rows["literal_operations"].sum())
    difference = total / 1e9 - published
    return _counted(
        judge_number(difference / published, _GFLOPS_TOLERANCE),
        f"{total / 1e9:.3f}",
        f"{off_the_paper(difference, '.3f', '')} ({100 * abs(difference / published):.1f} %)",
    )


def _ratio(results: Path, what: str, published: float, more_is_better: bool) -> Outcome | None:
    """The coded network's speed or memory over the plain one's; the worst device counts."""
    rows = benchmark_rows(results, "network")
    if rows.empty:
        return None
    found = [
        (float(str(row.coded_ratio)), f"{row.precision} on {row.device}")
        for row in rows.itertuples()
        if (row.network, row.variant, row.what) == ("ImageNet", "plain", what)
    ]
    if not found:
        return None
    worst = (min if more_is_better else max)(found)[0]
    behind = worst - published if more_is_better else published - worst
    verdict = REPRODUCED if behind > 0 else judge_number(behind, _COST_TOLERANCE)
    ours = ", ".join(f"{value:.2f} ({where})" for value, where in found)
    return _counted(
        verdict,
        ours,
        off_the_paper(worst - published, ".3f", ""),
        "another machine than the paper's TPU",
    )


def table4_numbers() -> Iterator[Number]:
    paper = reference("table4_costs").set_index("model")
    plain: Any = paper.loc["resnext50_32x4d"]
    coded: Any = paper.loc["coded_resnext50_32x4d"]
    for name, row in (("plain", plain), ("coded", coded)):
        yield Number(
            "table4",
            f"10^9 multiply-adds of ImageNet's {name} network, Eq. 2-3 literally",
            f"{row.gflops:.3f}",
            "imagenet",
            partial(_operations, published=float(row.gflops), coded=name == "coded"),
            f"{100 * _GFLOPS_TOLERANCE:g} %",
        )
    for name, what, column, more in (
        ("Training speed", "train", "throughput_img_s_tpu", True),
        ("Memory", "peak memory", "ram_gb_tpu", False),
    ):
        published = float(coded[column] / plain[column])
        yield Number(
            "table4",
            f"{name} of ImageNet's coded network, as a multiple of the plain one's",
            f"{published:.3f} (TPU)",
            "imagenet",
            partial(_ratio, what=what, published=published, more_is_better=more),
            f"{100 * _COST_TOLERANCE:g} % on the worse side",
        )


def _share_kept(results: Path, network: str, column: str, published: float) -> Outcome | None:
    rows = _architectures(results, network)
    if rows is None:
        return None
    kept, total = float(rows[column].sum()), int(rows["parameters"].sum())
    difference = 100 * kept / total - published
    verdict = judge_number(difference, tolerance_of("parameters"))
    ours = f"{kept:,.0f} of {total:,} ({100 * kept / total:.1f} %)"
    why = "beyond the tolerance, within twice of it" if verdict == PARTLY else ""
    return _counted(verdict, ours, off_the_paper(difference, ".1f"), why)


def parameter_numbers() -> Iterator[Number]:
    networks = reference("table1_parameters").set_index("dataset")["network"]
    for line in reference("binary_parameters").itertuples():
        published = float(str(line.kept_percent_claimed))
        for column, how in (("scaled", "coded stages times r"), ("kept", "cut out")):
            yield Number(
                "parameters",
                f"Share of the parameters that a binary classifier keeps, {how}",
                f"{published:g} %",
                str(line.dataset),
                partial(
                    _share_kept,
                    network=str(networks[str(line.dataset)]),
                    column=column,
                    published=published,
                ),
                in_points(tolerance_of("parameters")),
            )
