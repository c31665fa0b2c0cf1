"""The benchmarks of binary classifiers and early exits, on tiny runs and with few turns."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from rich.console import Console

from benchmarks import binary, early_exit, extraction
from codepath.core.errors import UserError
from codepath.data import ArrayDataSet, ArraySplit, load_data_set
from codepath.experiments.registry import baseline_of
from codepath.paper.pictures import exit_curves as figure
from codepath.pipeline.measure import evaluate_run
from codepath.run.config import RunConfig
from codepath.run.directory import read_config
from codepath.train import fit


@pytest.fixture(scope="module")
def some_digits() -> ArrayDataSet:
    images = load_data_set("digits")
    train, test = images.train, images.test
    return dataclasses.replace(
        images,
        train=ArraySplit(train.images[:320], train.labels[:320]),
        test=ArraySplit(test.images[:120], test.labels[:120]),
    )


@pytest.fixture
def runs(
    tiny_config: RunConfig,
    some_digits: ArrayDataSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[Path, Path]:
    """A coded run, evaluated, and its baseline, both of one epoch."""
    config = dataclasses.replace(
        tiny_config,
        experiment="table2-digits",
        train=dataclasses.replace(tiny_config.train, epochs=1),
        evaluation=dataclasses.replace(tiny_config.evaluation, removal_block=0),
    )
    coded, plain = tmp_path / "coded", tmp_path / "plain"
    cpu, quiet = torch.device("cpu"), Console(quiet=True)
    fit(config, some_digits, coded, cpu, quiet)
    fit(baseline_of(config, "resnext20_10x4d"), some_digits, plain, cpu, quiet)
    evaluate_run(coded, some_digits)
    for module in (binary, early_exit):
        monkeypatch.setattr(module, "load_images", lambda *_: some_digits)
    return coded, plain


def call(module, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
    module.main()


def test_early_exits_of_four_methods(
    runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "benchmarks"
    call(early_exit, monkeypatch, *runs, "--images", 4, "--budgets", 0.6, 1, "--out", out)
    rows = pd.read_csv(out / "early_exit-cpu.csv")
    assert len(rows) == 8
    assert set(rows["method"]) == {"eq7", "combined", "linear", "probes"}
    assert set(rows["budget"]) == {0.6, 1.0}
    assert rows[["top1", "macs", "p50", "p95", "network_p50"]].notna().all().all()
    assert (rows["p50"] <= rows["p95"]).all()
    assert (rows["macs_share"] <= rows["budget"] + 0.25).all()  # budgets are of the fitting half
    assert set(rows["scale"]) == {"demo"}
    for name in ("runs", "exits"):
        shutil.copy(runs[0] / "rows" / f"{name}.csv", tmp_path)
    drawn = figure.load(tmp_path)
    probes = drawn[(drawn["decoder"] == "probes") & (drawn["metric"] == "top1")]
    expected = rows[rows["method"] == "probes"].set_index("budget")["top1"]
    assert probes.set_index("limit")["value"].to_dict() == expected.to_dict()
    with pytest.raises(UserError, match="no run of a plain network"):
        call(early_exit, monkeypatch, runs[0], runs[0], "--out", out)


def test_probes_need_no_trained_coded_run(
    runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coded, plain = runs
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(coded / "config.json", bare)
    arguments = ("--probes-only", "--images", 4, "--budgets", 1, "--out")
    call(early_exit, monkeypatch, bare, plain, *arguments, tmp_path)
    (row,) = pd.read_csv(tmp_path / "early_exit-cpu.csv").to_dict("records")
    assert (row["method"], row["run"]) == ("probes", read_config(coded).run_id)
    with pytest.raises(UserError, match="no run of a coded network"):
        call(early_exit, monkeypatch, plain, plain, *arguments, tmp_path)


def test_binary_classifiers_against_others(
    runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "benchmarks"
    call(binary, monkeypatch, *runs, "--classes", 2, "--draws", 1, "--out", out)
    rows = pd.read_csv(out / "binary.csv")
    sizes = rows.groupby("method")["parameters"].first()
    assert set(sizes.index) == {
        "codeword", "one-vs-rest", "random coded", "random plain", "pruned plain"
    }  # fmt: skip
    assert sizes["codeword"] == sizes["random coded"] == sizes["pruned plain"]
    assert sizes["codeword"] < sizes["one-vs-rest"]
    assert set(rows["metric"]) == {"precision", "recall", "f1", "average_precision"}
    assert rows["value"].between(0, 1).all()
    call(binary, monkeypatch, runs[0], "--classes", 1, "--draws", 1, "--out", tmp_path / "alone")
    assert "random plain" not in set(pd.read_csv(tmp_path / "alone" / "binary.csv")["method"])


def test_extracted_and_compressed_classifiers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(
        extraction, monkeypatch,
        *("--networks", "cpu", "--batches", 1, "--turns", 2, "--shares", 0.4, 0.2),
        *("--out", tmp_path),
    )  # fmt: skip
    rows = pd.read_csv(tmp_path / "extraction-cpu.csv")
    values = rows.set_index(["module", "metric"])["value"]
    modules = {"network", "sliced", "fused", "compressed 0.4", "compressed 0.2"}
    assert set(rows[rows["metric"] == "p50"]["module"]) == modules
    for share in (0.4, 0.2):
        assert 0.8 * share < values[f"compressed {share}", "stored_numbers_share"] <= share
        assert values[f"compressed {share}", "macs"] < values["sizes", "macs"]
    assert values["network", "ratio"] == 1
