"""The benchmark of the page runs through, and its rows say what was measured."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest


def test_a_start_and_twenty_images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("gradio", reason="the extra `explore` is not installed")
    from benchmarks import explore

    monkeypatch.setattr(sys, "argv", ["explore", "--turns", "1", "--out", str(tmp_path)])
    explore.main()
    rows = pd.read_csv(tmp_path / "explore.csv").set_index("what")
    assert rows["n"].to_dict() == {"image": 20, "start": 1}
    assert (rows["least"] <= rows["value"]).all()
    assert (rows["value"] <= rows["most"]).all()
