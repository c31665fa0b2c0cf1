"""The speed benchmarks run through, and their rows say what was measured."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import _rows, block, network

VARIANTS = {"plain", "coded", "literal"}


def test_block(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(block.STAGES, "C10 c3", (40, 2, 10, 5, 10, 4))
    options = ["--stages", "C10 c3", "--batch", "2", "--repeats", "2", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["block", *options])
    block.main()
    (path,) = tmp_path.glob("block-*.csv")
    rows = pd.read_csv(path)
    assert len(rows) == 2 * 3 * 3  # precisions, what, variants
    assert set(rows["variant"]) == VARIANTS
    assert set(rows["what"]) == {"train", "forward", "peak memory"}
    assert (rows["value"] > 0).all()
    assert (rows[rows["variant"] == "coded"]["coded_ratio"] == 1).all()


def test_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    small = ("coded_resnext20_10x4d", "resnext20_10x4d", 16, 2)
    monkeypatch.setitem(network.NETWORKS, "C10", small)
    options = ["--networks", "C10", "--precisions", "float32", "--repeats", "1"]
    monkeypatch.setattr(sys, "argv", ["network", *options, "--out", str(tmp_path)])
    network.main()
    (path,) = tmp_path.glob("network-*.csv")
    rows = pd.read_csv(path)
    assert set(rows["variant"]) == VARIANTS
    peak = rows[rows["what"] == "peak memory"].set_index("variant")["value"]
    assert peak["literal"] > 1.5 * peak["coded"]


def test_a_rerun_replaces_rows_of_its_own_settings(tmp_path: Path) -> None:
    first = [{"network": "a", "value": 1}, {"network": "b", "value": 2}]
    _rows.write_rows("x", first, tmp_path, "cpu", ("network",))
    path = _rows.write_rows("x", [{"network": "b", "value": 3}], tmp_path, "cpu", ("network",))
    assert pd.read_csv(path)["value"].tolist() == [1, 3]
    path = _rows.write_rows("x", [{"network": "b", "value": 4}], tmp_path, "gpu", ("network",))
    assert pd.read_csv(path)["value"].tolist() == [1, 3, 4]
    path = _rows.write_rows("x", [{"network": "c", "value": 5}], tmp_path)
    assert pd.read_csv(path)["value"].tolist() == [5]
