"""Tables and comparisons from made-up rows with known answers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from codepath import store
from codepath.figures import write_tables
from codepath.figures.compare import comparisons, write_comparisons
from codepath.figures.deviations import write_deviations
from codepath.figures.tables import TABLES
from codepath.runtime import UserError
from codepath.store import Measurement
from tests.made_up import BASE


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
    speed = next(table for table in comparisons(results) if table.name == "baselines-speed")
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
    frames = store.rows_of(
        [Measurement(kind="cost", metric="macs", value=1000, n=1, split="model")], provenance
    )
    store.append_rows(results, frames)
    exits = store.rows_of(
        [
            Measurement(kind="accuracy", metric=metric, value=value, n=10_000, x=0.005)
            for metric, value in (
                ("macs_loss/eq7/margin/crossfit", 700),
                ("macs_loss/combined/margin/crossfit", 600),
                ("top1_loss/combined/margin/crossfit", 0.94),
            )
        ],
        provenance,
    )["accuracy"]
    exits.to_csv(results / "exits.csv", index=False)
    table = comparisons(results)[0]
    coded = next(row for row in table.body if row[1] == "coded ResNeXt")
    assert coded[-1].startswith("94.00 % at 60% of the multiply-adds, combined/margin/crossfit")


def test_other_benchmarks_are_shown_as_they_are(results: Path) -> None:
    (results / "benchmarks" / "early_exit.csv").write_text("method,macs,commit\nprobes,1.5,abc\n")
    table = next(t for t in comparisons(results) if t.name == "baselines-early_exit")
    assert (table.header, table.body) == (["method", "macs"], [["probes", "1.5"]])


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
