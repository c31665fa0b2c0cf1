"""The paper's numbers: trained ones against paper-scale rows alone, counted ones always."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from codepath.experiments import find_experiment
from codepath.experiments.coverage import benchmark_rows, rows_of_run
from codepath.experiments.reference import reference
from codepath.paper.binary_rows import foreign_negatives, own_negatives
from codepath.paper.claims.judge import (
    CONTRADICTED,
    PARTLY,
    REPRODUCED,
    Outcome,
    common_seeds,
    judge_number,
    run_ids,
)
from codepath.paper.tables.table_files import percent, table3
from codepath.run.config import RunConfig


class Number(NamedTuple):
    """A published number or row of numbers."""

    experiment: str
    text: str
    paper: str
    data: str
    judge: Callable[[Path], Outcome | None]
    tolerance: str = ""
    """With its unit; empty where the number must be met exactly."""


def _tolerance(experiment: str) -> float:
    tolerance = find_experiment(experiment).tolerance
    assert tolerance is not None
    return tolerance


def _within(points: float) -> str:
    return f"{points:g} {'point' if points == 1 else 'points'}"


_OTHER_DATA = "CIFAR-100"
"""How the paper's negatives of another data set are called, before details."""


def _rows(results: Path, kind: str, run: RunConfig, metric: str, **where: str) -> pd.DataFrame:
    """Rows of a run on test images whose columns `where` have such values."""
    rows = rows_of_run(results, kind, run)
    rows = rows[(rows["metric"] == metric) & (rows["split"] == "test")]
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return rows


def _binary_rows(results: Path, run: RunConfig, metric: str, foreign: bool) -> pd.DataFrame:
    """Rows of all classes, the paper's way."""
    rows = rows_of_run(results, "binary", run)
    rows = foreign_negatives(rows) if foreign else own_negatives(rows)
    if foreign:
        rows = rows[rows["negatives"].str.startswith(_OTHER_DATA)]
    return rows[rows["metric"] == metric]


_RECOMPRESSED = "as images, JPEG"
"""In the source of images that are not the data set's own pixels."""


def _trained(difference: float, tolerance: float, rows: pd.DataFrame) -> tuple[str, str]:
    """The verdict on a trained number, and its reservation.

    Numbers on images that were compressed again do not contradict the paper's.
    """
    verdict = judge_number(difference, tolerance)
    others = [source for source in rows["source"].unique() if _RECOMPRESSED in source]
    if not others:
        return verdict, ""
    return PARTLY if verdict == CONTRADICTED else verdict, f"{', '.join(others)}, not the paper's"


def _paper_runs(experiment: str) -> list[RunConfig]:
    return find_experiment(experiment).runs("paper", 0)


def _top1(results: Path, run: RunConfig, published: float, tolerance: float) -> Outcome | None:
    return _points(_rows(results, "accuracy", run, "top1"), published, tolerance)


def _mean_of_classes(
    results: Path,
    run: RunConfig,
    metric: str,
    published: float,
    tolerance: float,
    foreign: bool = False,
) -> Outcome | None:
    return _points(_binary_rows(results, run, metric, foreign), published, tolerance)


def _points(rows: pd.DataFrame, published: float, tolerance: float) -> Outcome | None:
    """A mean over seeds (and classes) in per cent against a published one."""
    if rows.empty:
        return None
    value = rows.groupby("seed")["value"].mean()
    difference = 100 * float(value.mean()) - published
    verdict, why = _trained(difference, tolerance, rows)
    return Outcome(
        verdict,
        f"{percent(value)} %",
        f"{difference:+.2f}",
        int(rows["n"].iloc[0]),
        len(value),
        run_ids(rows),
        why,
    )


def _series(rows: pd.DataFrame, by: str, published: pd.Series, tolerance: float) -> Outcome | None:
    """Means in per cent by a column against published ones: the largest difference counts."""
    if rows.empty:
        return None
    means = 100 * rows.groupby(by)["value"].mean().astype(float)
    differences = (means - published).dropna()
    if len(differences) < len(published):
        return None
    place: Any = differences.abs().idxmax()
    worst = float(differences[place])
    verdict, why = _trained(worst, tolerance, rows)
    return Outcome(
        verdict,
        ", ".join(f"{means[key]:.1f}" for key in published.index) + " %",
        f"at most {worst:+.2f} (at {place:g})",
        int(rows["n"].iloc[0]),
        rows["seed"].nunique(),
        run_ids(rows),
        why,
    )


def _series_of_run(
    results: Path,
    run: RunConfig,
    kind: str,
    by: str,
    published: pd.Series,
    tolerance: float,
    where: dict[str, str],
) -> Outcome | None:
    return _series(_rows(results, kind, run, "top1", **where), by, published, tolerance)


def _listed(published: pd.Series) -> str:
    return ", ".join(f"{value:.1f}" for value in published) + " %"


def _table2() -> Iterator[Number]:
    for line in reference("table2_accuracy").itertuples():
        published = float(str(line.top1))
        experiment = f"table2-{line.dataset}"
        if line.model == "coded":
            every = "variants-imagenet" if line.dataset == "imagenet" else experiment
            run = next(
                run
                for run in _paper_runs(every)
                if run.model_role == "coded"
                and (run.train.mu, run.model.p_drop) == (line.mu, line.p_drop)
                and not run.model.active
            )
            setting = f"coded network, mu = {run.train.mu:g}, p_drop = {run.model.p_drop:g}"
            experiment = experiment if run.experiment == experiment else every
        else:
            run = next(run for run in _paper_runs(experiment) if run.model_role == "baseline")
            setting = "plain network"
        tolerance = _tolerance(experiment)
        yield Number(
            experiment,
            f"Top-1 of the {setting}",
            f"{published:.2f} %",
            str(line.dataset),
            partial(_top1, run=run, published=published, tolerance=tolerance),
            _within(tolerance),
        )


def _fig2a() -> Iterator[Number]:
    for (dataset, group), line in reference("fig2a_removal").groupby(
        ["dataset", "removed_from"], sort=False
    ):
        experiment = f"fig2a-{dataset}"
        (run,) = _paper_runs(experiment)
        published = line.set_index("removed")["top1"]
        yield Number(
            experiment,
            f"Top-1 without 0 to {published.index.max()} {group} paths",
            _listed(published),
            str(dataset),
            partial(
                _series_of_run,
                run=run,
                kind="removal",
                by="removed",
                published=published,
                tolerance=_tolerance(experiment),
                where={"removed_from": str(group)},
            ),
            _within(_tolerance(experiment)),
        )


def _fig2b() -> Iterator[Number]:
    (run,) = _paper_runs("fig2b-cifar10")
    tolerance = _tolerance("fig2b-cifar10")
    for negatives, against in (("in", ""), ("out", f", against negatives of {_OTHER_DATA}")):
        paper = reference("fig2b_binary_cifar10")
        paper = paper[paper["negatives"] == negatives]
        points = "" if len(paper) == 10 else f" ({len(paper)} points)"
        for metric in ("precision", "recall"):
            published = float(paper[metric].mean())
            yield Number(
                "fig2b-cifar10",
                f"Mean {metric} of the ten binary classifiers{against}",
                f"{published:.1f} %{points}",
                "cifar10",
                partial(
                    _mean_of_classes,
                    run=run,
                    metric=metric,
                    published=published,
                    tolerance=tolerance,
                    foreign=negatives == "out",
                ),
                _within(tolerance),
            )


def _fig4() -> Iterator[Number]:
    for (dataset, mu), line in reference("fig4_early_decoders").groupby(
        ["dataset", "mu"], sort=False
    ):
        experiment = f"fig4-{dataset}"
        run = next(run for run in _paper_runs(experiment) if run.train.mu == mu)
        decoders = line[line["block"] != "softmax"]
        published = decoders.astype({"block": int}).set_index("block")["top1"]
        yield Number(
            experiment,
            f"Top-1 of the early decoders of blocks {published.index[0]} to "
            f"{published.index[-1]}, mu = {mu:g}",
            _listed(published),
            str(dataset),
            partial(
                _series_of_run,
                run=run,
                kind="decoders",
                by="block",
                published=published,
                tolerance=_tolerance(experiment),
                where={"decoder": "eq7"},
            ),
            _within(_tolerance(experiment)),
        )


def _by_mu(results: Path, decoder: str, published: pd.Series, tolerance: float) -> Outcome | None:
    softmax = decoder == "softmax"
    kind, where = ("accuracy", {}) if softmax else ("decoders", {"decoder": "eq7"})
    frames = common_seeds(
        *(
            _rows(results, kind, run, "top1", **where).assign(mu=run.train.mu)
            for run in _paper_runs("fig5-cifar100")
        )
    )
    rows = pd.concat([frame for frame in frames if len(frame)] or frames[:1])
    if not softmax:
        rows = rows[rows["block"] == int(decoder.removeprefix("block"))]
    return _series(rows, "mu", published, tolerance)


def _fig5() -> Iterator[Number]:
    tolerance = _tolerance("fig5-cifar100")
    for decoder, line in reference("fig5_mu").groupby("decoder", sort=False):
        published = line.set_index("mu")["top1"]
        name = str(decoder).replace("block", "the decoder of block ")
        yield Number(
            "fig5-cifar100",
            f"Top-1 of {name} with mu of {', '.join(f'{mu:g}' for mu in published.index)}",
            _listed(published),
            "cifar100",
            partial(_by_mu, decoder=str(decoder), published=published, tolerance=tolerance),
            _within(tolerance),
        )


def _fig6() -> Iterator[Number]:
    paper = reference("fig6_pdrop")
    for run in _paper_runs("fig6-cifar10"):
        line = paper[(paper["p_drop"] - run.model.p_drop).abs() < 1e-9]
        published, tolerance = float(line["top1"].iloc[0]), _tolerance("fig6-cifar10")
        judges = {"Top-1": (published, tolerance, partial(_top1, run=run))}
        for metric in ("precision", "recall"):
            judges[f"Mean {metric} of the binary classifiers"] = (
                float(line[metric].mean()),
                _tolerance("fig2b-cifar10"),
                partial(_mean_of_classes, run=run, metric=metric),
            )
        for what, (published, tolerance, judge) in judges.items():
            yield Number(
                "fig6-cifar10",
                f"{what} with p_drop = {run.model.p_drop:g}",
                f"{published:.2f} %",
                "cifar10",
                partial(judge, published=published, tolerance=tolerance),
                _within(tolerance),
            )


def _exponents() -> Iterator[Number]:
    paper = reference("exponent_ablation").set_index("exponent")["top1"]
    tolerance = _tolerance("exponent-cifar10")
    for run in _paper_runs("exponent-cifar10"):
        published = float(paper[int(run.train.exponent)])
        yield Number(
            "exponent-cifar10",
            f"Top-1 with exponent {run.train.exponent:g}",
            f"{published:.1f} %",
            "cifar10",
            partial(_top1, run=run, published=published, tolerance=tolerance),
            _within(tolerance),
        )


def _architectures(results: Path, network: str) -> pd.DataFrame | None:
    rows = benchmark_rows(results, "architectures")
    return rows[rows["network"] == network] if len(rows) else None


def _counted(verdict: str, ours: str, difference: str, why: str = "") -> Outcome:
    return Outcome(verdict, ours, difference, 1, 0, (), why)


def _parameters_of(results: Path, network: str, published: int) -> Outcome | None:
    rows = _architectures(results, network)
    if rows is None:
        return None
    total = int(rows["parameters"].sum())
    verdict = REPRODUCED if total == published else CONTRADICTED
    return _counted(verdict, f"{total:,}", f"{total - published:+,}")


def _table1() -> Iterator[Number]:
    for line in reference("table1_parameters").itertuples():
        network, published = str(line.network), int(str(line.parameters))
        yield Number(
            "table1",
            f"Parameters of the {network} network",
            f"{published:,}",
            str(line.dataset),
            partial(_parameters_of, network=network, published=published),
        )


def _codewords(results: Path) -> Outcome:
    same = [row[-1] == "yes" for row in table3(results).body]
    verdict = REPRODUCED if all(same) else CONTRADICTED
    return _counted(verdict, f"{sum(same)} of {len(same)} equal", f"{sum(same) - len(same)}")


def _table3() -> Iterator[Number]:
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
        f"{difference:+.3f} ({difference / published:+.1%})",
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
        verdict, ours, f"{worst - published:+.3f}", "another machine than the paper's TPU"
    )


def _table4() -> Iterator[Number]:
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
    verdict = judge_number(difference, _tolerance("parameters"))
    ours = f"{kept:,.0f} of {total:,} ({100 * kept / total:.1f} %)"
    why = "beyond the tolerance, within twice of it" if verdict == PARTLY else ""
    return _counted(verdict, ours, f"{difference:+.1f}", why)


def _parameters() -> Iterator[Number]:
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
                _within(_tolerance("parameters")),
            )


def numbers() -> Iterator[Number]:
    """Every published number, in the paper's order."""
    yield from _table1()
    yield from _table2()
    yield from _table3()
    yield from _table4()
    yield from _fig2a()
    yield from _fig2b()
    yield from _parameters()
    yield from _fig4()
    yield from _fig5()
    yield from _fig6()
    yield from _exponents()
