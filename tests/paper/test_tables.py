"""Tables and comparisons from made-up rows with known answers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
import pytest

from codepath import store
from codepath.core.errors import UserError
from codepath.paper.claims.deviation_list import write_deviations
from codepath.paper.tables.baselines import comparisons, write_comparisons
from codepath.paper.tables.table_files import TABLES, write_tables
from codepath.store import Measurement
from codepath.store.schema import benchmark_columns
from tests.made_up import BASE, add_rows


def test_all_tables_in_markdown_and_latex(everything: Path, tmp_path: Path) -> None:
    written = write_tables(everything, tmp_path)
    assert {path.name for path in written.paths} == {
        f"{name}.{suffix}" for name in TABLES for suffix in ("md", "tex")
    }
    assert not written.missing
    again = write_tables(everything, tmp_path / "again")
    for path, other in zip(written.paths, again.paths, strict=True):
        assert path.read_bytes() == other.read_bytes()


def read(folder: Path, name: str) -> str:
    return (folder / "tables" / name).read_text()


def test_cells(everything: Path, tmp_path: Path) -> None:
    write_tables(everything, tmp_path)
    table2 = read(tmp_path, "table2.md")
    assert "| cifar10 | paper | coded | 94.10 ± 0.10 | 3 | 10,000 | made up | 94.41 |" in table2
    assert "| cifar10 | paper | baseline | 92.90 ± 0.10 |" in table2
    assert r"94.10 $\pm$ 0.10" in read(tmp_path, "table2.tex")
    table1 = read(tmp_path, "table1.md")
    assert "| C10 | layer3 | [1024, 44, 3/10] × 3 | [1024, 44, 3/10] × 3 |" in table1
    assert "| ImageNet | all | - | - | 25,027,904 | 25,027,904 |" in table1
    assert read(tmp_path, "table3.md").count("| yes |") == 10
    kept = read(tmp_path, "parameters.md")
    assert "| 2,149,034 (46.3%) | 1,708,714 (36.8%) | 38 % |" in kept
    assert "| 10,416,448 (41.6%) | 8,561,984 (34.2%) | 35 % |" in kept
    assert "| cifar10 | paper | 2 | 92.90 ± 0.10 | 3 | 10,000 | 93.1 |" in read(
        tmp_path, "exponent.md"
    )
    assert "| imagenet | paper | mu=4 | 77.90 ± 0.10 | 3 | 10,000 | 77.60 |" in read(
        tmp_path, "variants.md"
    )


SHORT = "Short scale: the paper's network and recipe, 60 of 300 epochs; a proxy: "


def test_the_short_scale_has_lines_of_its_own(
    results: Path, made_up_short: Path, tmp_path: Path
) -> None:
    write_tables(results, tmp_path)
    assert "hort" not in read(tmp_path, "table2.md")
    assert "hort" not in write_comparisons(results, tmp_path).read_text()
    add_rows(results, made_up_short)
    write_tables(results, tmp_path)
    table2 = read(tmp_path, "table2.md")
    places = [
        table2.index(f"| cifar10 | {scale} | {model} | 9")
        for scale in ("short", "paper")
        for model in ("baseline", "coded")
    ]
    assert places == sorted(places)
    assert "| cifar10 | short | coded | 94.10 ± 0.10 | 3 | 10,000 | made up | - |" in table2
    assert table2.count(SHORT) == 1
    assert "hort" not in read(tmp_path, "exponent.md")
    compared = write_comparisons(results, tmp_path).read_text()
    assert compared.count(SHORT) == 1
    assert (
        "| cifar10, short | coded ResNeXt | 94.10 ± 0.10 % (short, n = 10,000, 3 seeds) |"
    ) in compared


def test_tables_of_a_subset_name_what_is_missing(results: Path, tmp_path: Path) -> None:
    (results / "benchmarks" / "architectures.csv").unlink()
    written = write_tables(results, tmp_path)
    names = {path.stem for path in written.paths}
    assert "table2" in names
    assert "table1" not in names
    assert any("codepath bench architectures" in line for line in written.missing)
    with pytest.raises(UserError, match="run an experiment first"):
        write_tables(tmp_path / "empty", tmp_path)


def test_every_cell_of_the_comparison_has_scale_and_n(results: Path, tmp_path: Path) -> None:
    text = write_comparisons(results, tmp_path).read_text()
    assert "| plain ResNeXt | 92.90 ± 0.10 % (paper, n = 10,000, 3 seeds) |" in text
    assert "| coded ResNeXt | 94.10 ± 0.10 % (paper, n = 10,000, 3 seeds) |" in text
    speed = next(table for table in comparisons(results) if table.name == "baselines-network")
    assert {row[1] for row in speed.body} == {
        "plain ResNeXt",
        "coded, closed form (ours)",
        "coded, Eq. 2-3 literally",
    }
    assert all("n = " in cell for row in speed.body for cell in row[2:])


def test_exits_are_compared_where_they_were_measured(results: Path) -> None:
    rows = store.read_rows(results, "accuracy")
    run = rows[(rows["model"] == "coded") & (rows["experiment"] == "table2-cifar10")].iloc[0]
    provenance = dataclasses.replace(BASE, run_id=run["run_id"])
    frames = store.rows_of([Measurement(kind="cost", metric="macs", value=1000, n=1)], provenance)
    store.append_rows(results, frames)
    exits = store.rows_of(
        [
            Measurement(
                kind="exits", metric=metric, value=value, n=10_000, decoder=decoder,
                criterion="margin", fitted="crossfit", target="loss", limit=0.005,
            )
            for decoder, metric, value in (
                ("eq7", "macs", 700),
                ("combined", "macs", 600),
                ("combined", "top1", 0.94),
            )
        ],
        dataclasses.replace(provenance, created="2026-02-01T00:00:00.000000+00:00"),
    )  # fmt: skip
    store.append_rows(results, exits)
    table = comparisons(results)[0]
    coded = next(row for row in table.body if row[1] == "coded ResNeXt")
    assert coded[-1].startswith("94.00 % at 60% of the multiply-adds, combined/margin/crossfit")


RUN = "table2-cifar10-cpu-coded-s0-0123456789"
_EARLY = {
    "method": "probes", "layout": "channels last", "budget": 0.5, "n": 500, "timed": 300,
    "top1": 0.8, "top1_whole": 0.82, "macs": 50, "macs_share": 0.5, "p50": 0.01, "p95": 0.02,
    "network_p50": 0.02,
}  # fmt: skip
_TRAIN = {
    "network": "coded_resnext29_10x11d", "precision": "float32", "batch": 64, "policy": "none",
    "variant": "run",
}  # fmt: skip
FOUND: dict[str, list[dict[str, object]]] = {
    "binary": [
        {"scale": "cpu", "method": method, "class": name, "draw": draw, "parameters": 1000,
         "n": 500, "metric": metric, "value": 0.9 + 0.01 * draw}
        for method, draws in (("codeword", 1), ("random coded", 3))
        for name in ("cat", "dog")
        for draw in range(draws)
        for metric in ("f1", "average_precision")
    ],
    "early_exit-cpu": [_EARLY],
    "train-cpu": [
        _TRAIN
        | {"what": "images per second", "variant": "torch", "value": 40, "ratio": 1.5,
           "share": 0.01, "count": 40},
        _TRAIN | {"what": "checkpoint", "value": 0.25, "share": 0.001, "count": 300},
        _TRAIN | {"what": "all but training", "share": 0.002},
    ],
}  # fmt: skip
"""Rows of benchmarks that the repository may not have."""


def write_found(folder: Path) -> None:
    for name, rows in FOUND.items():
        text, numbers = benchmark_columns(name.split("-")[0])
        origin = {"run": RUN, "source": "pictures", "device": "a CPU"}
        lines = [{k: v for k, v in origin.items() if k in text} | row for row in rows]
        frame = pd.DataFrame(lines).reindex(columns=[*text, *numbers])
        frame.to_csv(folder / f"{name}.csv", index=False)


def test_every_number_of_every_comparison_has_scale_and_n(results: Path, tmp_path: Path) -> None:
    write_found(results / "benchmarks")
    tables = {table.title: table for table in comparisons(results)}
    keys = {"Early exits that stop": 3}  # columns that say what a line is about; else two
    assert len(tables) == 8
    for title, table in tables.items():
        assert table.body, title
        for row in table.body:
            assert len(row) == len(table.header)
            for cell in row[keys.get(title, 2) :]:
                placed = "n = " in cell or "counted" in cell
                assert placed or cell in ("-", "has none", "not measured"), (title, cell)
    text = write_comparisons(results, tmp_path).read_text()
    assert "nan" not in text
    assert "| pictures | random coded | 1,000 (cpu, n = 500, 2 classes, 3 draws) | 91.00 %" in text
    assert "| 50% | 80.00 % (cpu, n = 500) | -2.00 points (cpu, n = 500) | 50.0% of 100 " in text
    assert "40.0 images/s (paper, a CPU, float32, n = 40 steps of 64)" in text
    assert "| all but training | - | - | 0.20% (paper, a CPU, float32, n = 1 run" in text


def test_comparisons_without_rows_name_their_command(results: Path, tmp_path: Path) -> None:
    for path in (results / "benchmarks").glob("*.csv"):
        path.unlink()
    text = write_comparisons(results, tmp_path).read_text()
    for name in ("binary", "early_exit", "train", "extraction", "loader", "network", "codes"):
        assert f"Not measured; to get it: `codepath bench {name}" in text
    assert text.count("\n| --- |") == 1
    with pytest.raises(UserError, match="run an experiment first"):
        comparisons(tmp_path / "empty")


def test_a_deviation_that_was_measured_says_so(results: Path, tmp_path: Path) -> None:
    text = write_deviations(results, tmp_path).read_text()
    line = next(line for line in text.splitlines() if line.startswith("| Label smoothing"))
    assert line.endswith("| `--set train.label_smoothing=...` | not measured |")
    for seed in range(3):
        smoothed = dataclasses.replace(
            BASE,
            experiment="table2-cifar10+train.label_smoothing=0.1",
            run_id=f"s{seed}",
            seed=seed,
        )
        top1 = Measurement(kind="accuracy", metric="top1", value=0.945 + 0.001 * seed, n=10_000)
        store.append_rows(results, store.rows_of([top1], smoothed))
    text = write_deviations(results, tmp_path).read_text()
    assert (
        "table2-cifar10 at paper scale with 0.1: +0.50 (SE 0.00) points of top-1, 3 seeds" in text
    )


def test_a_deviation_of_one_data_set_is_not_measured_on_another(
    results: Path, tmp_path: Path
) -> None:
    changed = dataclasses.replace(BASE, experiment="table2-cifar10+train.mu=2", run_id="m", seed=0)
    top1 = Measurement(kind="accuracy", metric="top1", value=0.9, n=10_000)
    store.append_rows(results, store.rows_of([top1], changed))
    text = write_deviations(results, tmp_path).read_text()
    line = next(line for line in text.splitlines() if "ImageNet ratio variants" in line)
    assert line.endswith("| `--set train.mu=...` | not measured |")
