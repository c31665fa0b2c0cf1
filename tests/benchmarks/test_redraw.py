"""The benchmark of redrawing runs through, and its rows say what was measured."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import redraw
from codepath.core.errors import UserError
from tests.made_up import write_results


def test_redrawing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    results = tmp_path / "results"
    write_results(results, ("cpu",), seeds=1, dataset="cifar10")
    before = {path: path.read_bytes() for path in results.glob("*.csv")}
    monkeypatch.setattr(redraw, "COMMANDS", (("tables",), ("verdict",)))
    options = ["--results", str(results), "--turns", "2", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["redraw", *options])
    redraw.main()
    rows = pd.read_csv(tmp_path / "redraw.csv").set_index("what")
    assert tuple(rows.index) == redraw.STATES
    assert (rows["value"] > 0).all()
    assert set(rows["turns"]) == {2}
    assert rows["rows"].iloc[0] == sum(len(text.splitlines()) - 1 for path, text in before.items()
                                       if path.stem != "runs")  # fmt: skip
    assert {path: path.read_bytes() for path in results.glob("*.csv")} == before


def test_a_run_is_taken_out_and_put_back(tmp_path: Path) -> None:
    write_results(tmp_path, ("cpu",), seeds=1, dataset="cifar10")
    run = redraw.largest_run(tmp_path)
    assert run.startswith("table2-cifar10-cpu-coded-s0-")
    lines = {path: sorted(path.read_text().splitlines()) for path in tmp_path.glob("*.csv")}
    taken = redraw.take_out(tmp_path, run)
    assert run not in (tmp_path / "runs.csv").read_text()
    redraw.put_back(taken)
    assert {path: sorted(path.read_text().splitlines()) for path in lines} == lines
    with pytest.raises(UserError, match="no run nobody"):
        redraw.take_out(tmp_path, "nobody")


def test_a_command_that_fails_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="codepath figures: error: no rows"):
        redraw.redraw(tmp_path, tmp_path / "out")
