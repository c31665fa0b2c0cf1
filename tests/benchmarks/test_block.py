"""The speed benchmarks run through, and their rows say what was measured."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import _rows, block, network
from codepath.core.errors import UserError
from codepath.store.schema import benchmark_columns

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
    def write(network: str, value: int, *settings: str, device: str = "cpu") -> list[int]:
        row = dict.fromkeys(itertools.chain(*benchmark_columns("network")), 0)
        row |= {"network": network, "value": value}
        path = _rows.write_rows("network", [row], tmp_path, device, settings)
        return pd.read_csv(path)["value"].tolist()

    assert write("a", 1) == [1]
    assert write("b", 2, "network") == [1, 2]
    assert write("b", 3, "network") == [1, 3]
    assert write("b", 4, "network", device="gpu") == [1, 3, 4]
    assert write("c", 5) == [5]
    with pytest.raises(UserError, match="lacks a column: 'batch'"):
        _rows.write_rows("network", [{"network": "a", "value": 1}], tmp_path)
