"""Figures, tables and verdicts from made-up rows with known answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from codepath import store
from codepath.figures import (
    build_figures,
    decoding,
    fig2a,
    fig2b,
    fig3,
    fig4,
    write_claims,
    write_tables,
)
from codepath.figures.verdict import claims, judge
from codepath.runtime import UserError
from codepath.store import Measurement, Provenance

BASE = Provenance(
    experiment="table2-cifar10",
    run_id="x",
    scale="paper",
    dataset="cifar10",
    source="made up",
    model="coded",
    seed=0,
    device="none",
    commit="abc",
    dirty=False,
    created="2026-01-01T00:00:00.000000+00:00",
)


def coded_measurements(shift: float) -> Iterator[Measurement]:
    yield Measurement(kind="accuracy", metric="top1", value=0.94 + shift, n=10_000)
    for block, top1 in zip(range(4, 10), (0.7, 0.8, 0.85, 0.9, 0.92, 0.93), strict=True):
        yield Measurement(kind="decoders", metric="top1", value=top1 + shift, n=10_000, block=block)
    for x in range(6):
        for group, slope in (("active", -0.01), ("inactive", 0.002)):
            yield Measurement(
                kind="removal",
                metric=f"top1_{group}",
                value=0.94 + shift + slope * x,
                n=10_000,
                block=6,
                x=x,
            )
    for k in range(10):
        values = {"precision": 0.9 - 0.02 * k, "recall": 0.8, "f1": 0.8, "prevalence": 0.1}
        for metric, value in values.items():
            yield Measurement(
                kind="binary", metric=metric, value=value, n=10_000, class_name=f"c{k}"
            )
        yield Measurement(
            kind="binary",
            metric="threshold",
            value=2.5,
            n=50_000,
            split="train",
            class_name=f"c{k}",
        )
        for x in range(4):
            for group in ("positive", "negative"):
                yield Measurement(
                    kind="histograms",
                    metric=group,
                    value=float(x + k),
                    n=10_000,
                    class_name=f"c{k}",
                    x=float(x),
                )


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    for seed in range(3):
        provenance = dataclasses.replace(BASE, seed=seed, run_id=f"coded{seed}")
        store.append_rows(folder, store.rows_of(coded_measurements(0.001 * seed), provenance))
        plain = dataclasses.replace(BASE, seed=seed, run_id=f"plain{seed}", model="baseline")
        top1 = Measurement(kind="accuracy", metric="top1", value=0.93 + 0.0015 * seed, n=10_000)
        store.append_rows(folder, store.rows_of([top1], plain))
    (folder / "benchmarks").mkdir()
    study = [
        {"classes": 10, "paths": 10, "active": 5, "family": family, "distance": 4, "noise": x / 10,
         "error": x / (40 + d), "n": 1000}
        for d, family in enumerate(("paper", "best"))
        for x in range(1, 9)
    ]  # fmt: skip
    pd.DataFrame(study).to_csv(folder / decoding.SOURCE, index=False)
    return folder


def test_all_figures_are_built_and_repeat_to_the_byte(results: Path, tmp_path: Path) -> None:
    built = build_figures(results, tmp_path / "a")
    names = {path.name for path in built.paths}
    assert names == {
        f"{name}-cifar10-paper.{suffix}"
        for name in ("fig2a", "fig2b", "fig3", "fig4", "overview")
        for suffix in ("pdf", "png")
    } | {"decoding.pdf", "decoding.png"}
    assert not built.missing
    for path, again in zip(built.paths, build_figures(results, tmp_path / "b").paths, strict=True):
        assert path.read_bytes() == again.read_bytes()
        assert len(path.read_bytes()) > 5000


def drawn(panel, results: Path) -> plt.Axes:
    _, ax = plt.subplots()
    panel.draw(ax, panel.load(results), "cifar10")
    return ax


def points(ax: plt.Axes, label: str) -> list[tuple[float, float]]:
    """The points of the line or error bar with a label, rounded to 0.01."""
    for handle, name in zip(*ax.get_legend_handles_labels(), strict=True):
        if name == label:
            line = handle[0] if hasattr(handle, "__getitem__") else handle
            x, y = line.get_data()
            return [(round(float(a), 2), round(float(b), 2)) for a, b in zip(x, y, strict=True)]
    raise AssertionError(f"no {label!r} in {ax.get_legend_handles_labels()[1]}")


def test_fig2a_shows_means_over_seeds_beside_the_papers_points(results: Path) -> None:
    ax = drawn(fig2a, results)
    assert points(ax, "active paths") == [(x, round(94.1 - x, 2)) for x in range(6)]
    assert points(ax, "inactive paths")[5] == (5, 95.1)
    assert points(ax, "active (paper)")[1] == (1, 94.0)
    assert points(ax, "inactive (paper)")[5] == (5, 95.4)


def test_fig2b_has_a_point_per_class_and_the_papers(results: Path) -> None:
    ax = drawn(fig2b, results)
    assert sorted(points(ax, "classes")) == [(80.0, round(72 + 2.0 * k, 2)) for k in range(10)]
    assert len(points(ax, "paper")) == 10


def test_fig3_is_normalised_and_marks_the_threshold(results: Path) -> None:
    ax = drawn(fig3, results)
    heights = [bar.get_height() for bar in ax.patches]
    assert sum(heights) == pytest.approx(200)
    assert [line.get_xdata()[0] for line in ax.lines] == [2.5]


def test_fig4_ends_with_the_softmax_and_the_papers(results: Path) -> None:
    ax = drawn(fig4, results)
    assert sorted(points(ax, "ours"))[0] == (0, 70.1)
    assert sorted(points(ax, "ours"))[-1] == (6, 94.1)
    assert [t.get_text() for t in ax.get_xticklabels()][-1] == "softmax"
    assert points(ax, "paper (mu 6)")[-1] == (6, 94.41)


def test_rows_of_overridden_experiments_are_left_out(results: Path) -> None:
    wild = dataclasses.replace(BASE, experiment="table2-cifar10+train.mu=0", run_id="w", seed=9)
    store.append_rows(results, store.rows_of(coded_measurements(-0.5), wild))
    assert set(fig4.load(results)["seed"]) == {0, 1, 2}
    assert not any("44." in claim.ours for claim in claims(results))


def test_missing_rows_are_named(results: Path, tmp_path: Path) -> None:
    (results / "removal.csv").unlink()
    (results / decoding.SOURCE).unlink()
    built = build_figures(results, tmp_path)
    assert built.missing == [
        f"fig2a: no rows of cifar10 at paper scale in {results}",
        f"decoding: no {results / decoding.SOURCE}; codepath bench decoding writes it",
    ]
    assert not any(path.name.startswith("overview") for path in built.paths)
    for build in (build_figures, write_tables):
        with pytest.raises(UserError, match="run an experiment first"):
            build(tmp_path / "empty", tmp_path)


def test_table2(results: Path, tmp_path: Path) -> None:
    markdown, latex = write_tables(results, tmp_path)
    text = markdown.read_text()
    assert "| cifar10 | paper | coded | 94.10 ± 0.10 | 3 | 10,000 | made up | 94.41 |" in text
    assert "| cifar10 | paper | baseline | 93.15 ± 0.15 |" in text
    assert r"94.10 $\pm$ 0.10" in latex.read_text()


def test_verdicts(results: Path, tmp_path: Path) -> None:
    path, judged = write_claims(results, tmp_path)
    verdicts = {(c.text.split(" (")[0].split(":")[0], c.data): c.verdict for c in judged}
    data = "cifar10, paper scale"
    assert verdicts["Coded is more accurate than plain ResNeXt", data] == "reproduced"
    assert verdicts["Early decoders improve with depth", data] == "reproduced"
    assert verdicts["Removing inactive paths does not hurt", data] == "reproduced"
    assert verdicts["Top-1 of the coded network", data] == "reproduced"
    assert verdicts["Top-1 of the baseline network", data] == "contradicted"
    assert verdicts["Top-1 of the coded network", "imagenet, paper scale"].startswith("not run")
    assert "| 94.41 % | 94.10 ± 0.10 % (-0.31) | 3 | reproduced |" in path.read_text()


def test_an_absurd_run_changes_the_verdict(results: Path) -> None:
    for seed in range(3):
        absurd = dataclasses.replace(
            BASE, seed=seed, run_id=f"a{seed}", created="2026-02-01T00:00:00.000000+00:00"
        )
        store.append_rows(
            results,
            store.rows_of(
                [Measurement(kind="accuracy", metric="top1", value=0.5, n=10_000)], absurd
            ),
        )
    first = claims(results)[0]
    assert first.text.startswith("Coded is more accurate")
    assert first.verdict == "contradicted"


def test_judging_needs_two_standard_errors() -> None:
    assert judge(2.1, 1.0) == "reproduced"
    assert judge(1.9, 1.0) == judge(-1.9, 1.0) == "undecided"
    assert judge(-2.1, 1.0) == "contradicted"
