"""Published numbers of trained networks; they are compared with paper-scale rows alone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from codepath.experiments import find_experiment
from codepath.experiments.coverage import rows_of_run
from codepath.experiments.reference import reference
from codepath.paper.beside_ours import other_images
from codepath.paper.binary_rows import foreign_negatives, own_negatives
from codepath.paper.claims.claim_rows import rows_on_test_images
from codepath.paper.claims.judge import (
    CONTRADICTED,
    PARTLY,
    Outcome,
    common_seeds,
    judge_number,
    runs_of,
)
from codepath.paper.claims.published import Number, in_points, off_the_paper, tolerance_of
from codepath.paper.tables.layout import percent
from codepath.run.config import RunConfig

_OTHER_DATA = "CIFAR-100"
"""How the paper's negatives of another data set are called, before details."""


def _binary_rows(results: Path, run: RunConfig, metric: str, foreign: bool) -> pd.DataFrame:
    """Rows of all classes, the paper's way."""
    rows = rows_of_run(results, "binary", run)
    rows = foreign_negatives(rows) if foreign else own_negatives(rows)
    if foreign:
        rows = rows[rows["negatives"].str.startswith(_OTHER_DATA)]
    return rows[rows["metric"] == metric]


def _trained(difference: float, tolerance: float, rows: pd.DataFrame) -> tuple[str, str]:
    """The verdict on a trained number, and its reservation.

    Numbers on images that were compressed again do not contradict the paper's. The reservation
    says by how many tolerances they are off.
    """
    verdict = judge_number(difference, tolerance)
    others = other_images(rows)
    if not others:
        return verdict, ""
    tolerances = abs(difference) / tolerance
    beyond = f"{tolerances:.1f} times the tolerance; " if tolerances > 1 else ""
    why = f"{beyond}{', '.join(others)}, not the paper's"
    return PARTLY if verdict == CONTRADICTED else verdict, why


def _paper_runs(experiment: str) -> list[RunConfig]:
    return find_experiment(experiment).runs("paper", 0)


def _top1(results: Path, run: RunConfig, published: float, tolerance: float) -> Outcome | None:
    return _points(rows_on_test_images(results, "accuracy", run, "top1"), published, tolerance)


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
        off_the_paper(difference),
        int(rows["n"].iloc[0]),
        len(value),
        runs_of(rows),
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
        f"{off_the_paper(worst)} (the largest, at {place:g})",
        int(rows["n"].iloc[0]),
        rows["seed"].nunique(),
        runs_of(rows),
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
    return _series(
        rows_on_test_images(results, kind, run, "top1", **where), by, published, tolerance
    )


def _listed(published: pd.Series) -> str:
    return ", ".join(f"{value:.1f}" for value in published) + " %"


def table2_numbers() -> Iterator[Number]:
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
        tolerance = tolerance_of(experiment)
        yield Number(
            experiment,
            f"Top-1 of the {setting}",
            f"{published:.2f} %",
            str(line.dataset),
            partial(_top1, run=run, published=published, tolerance=tolerance),
            in_points(tolerance),
        )


def fig2a_numbers() -> Iterator[Number]:
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
                tolerance=tolerance_of(experiment),
                where={"removed_from": str(group)},
            ),
            in_points(tolerance_of(experiment)),
        )


def fig2b_numbers() -> Iterator[Number]:
    (run,) = _paper_runs("fig2b-cifar10")
    tolerance = tolerance_of("fig2b-cifar10")
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
                in_points(tolerance),
            )


def fig4_numbers() -> Iterator[Number]:
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
                tolerance=tolerance_of(experiment),
                where={"decoder": "eq7"},
            ),
            in_points(tolerance_of(experiment)),
        )


def _by_mu(results: Path, decoder: str, published: pd.Series, tolerance: float) -> Outcome | None:
    softmax = decoder == "softmax"
    kind, where = ("accuracy", {}) if softmax else ("decoders", {"decoder": "eq7"})
    frames = common_seeds(
        *(
            rows_on_test_images(results, kind, run, "top1", **where).assign(mu=run.train.mu)
            for run in _paper_runs("fig5-cifar100")
        )
    )
    rows = pd.concat([frame for frame in frames if len(frame)] or frames[:1])
    if not softmax:
        rows = rows[rows["block"] == int(decoder.removeprefix("block"))]
    return _series(rows, "mu", published, tolerance)


def fig5_numbers() -> Iterator[Number]:
    tolerance = tolerance_of("fig5-cifar100")
    for decoder, line in reference("fig5_mu").groupby("decoder", sort=False):
        published = line.set_index("mu")["top1"]
        name = str(decoder).replace("block", "the decoder of block ")
        yield Number(
            "fig5-cifar100",
            f"Top-1 of {name} with mu of {', '.join(f'{mu:g}' for mu in published.index)}",
            _listed(published),
            "cifar100",
            partial(_by_mu, decoder=str(decoder), published=published, tolerance=tolerance),
            in_points(tolerance),
        )


def fig6_numbers() -> Iterator[Number]:
    paper = reference("fig6_pdrop")
    for run in _paper_runs("fig6-cifar10"):
        line = paper[(paper["p_drop"] - run.model.p_drop).abs() < 1e-9]
        published, tolerance = float(line["top1"].iloc[0]), tolerance_of("fig6-cifar10")
        judges = {"Top-1": (published, tolerance, partial(_top1, run=run))}
        for metric in ("precision", "recall"):
            judges[f"Mean {metric} of the binary classifiers"] = (
                float(line[metric].mean()),
                tolerance_of("fig2b-cifar10"),
                partial(_mean_of_classes, run=run, metric=metric),
            )
        for what, (published, tolerance, judge) in judges.items():
            yield Number(
                "fig6-cifar10",
                f"{what} with p_drop = {run.model.p_drop:g}",
                f"{published:.2f} %",
                "cifar10",
                partial(judge, published=published, tolerance=tolerance),
                in_points(tolerance),
            )


def exponent_numbers() -> Iterator[Number]:
    paper = reference("exponent_ablation").set_index("exponent")["top1"]
    tolerance = tolerance_of("exponent-cifar10")
    for run in _paper_runs("exponent-cifar10"):
        published = float(paper[int(run.train.exponent)])
        yield Number(
            "exponent-cifar10",
            f"Top-1 with exponent {run.train.exponent:g}",
            f"{published:.1f} %",
            "cifar10",
            partial(_top1, run=run, published=published, tolerance=tolerance),
            in_points(tolerance),
        )
