from __future__ import annotations

import torch

from benchmarks import block


def test_the_benchmark_times_all_variants(monkeypatch) -> None:
    monkeypatch.setitem(block.STAGES, "C10 c3", (40, 2, 10, 5, 10, 4))
    seconds = block.measure("C10 c3", batch=2, repeats=2, device=torch.device("cpu"))
    assert set(seconds) == {"plain", "coded", "literal"}
    assert all(value > 0 for value in seconds.values())
