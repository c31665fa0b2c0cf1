"""The rows of early exits on the plain network, which a benchmark measures. Nothing here draws."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from codepath.experiments.coverage import benchmark_rows

CRITERION = "margin"
PROBES, BENCHMARK = "probes", "early_exit"


def probe_rows(results: Path, runs: set[str]) -> pd.DataFrame:
    """The curve of the linear probes that go with `runs`, as rows like the coded decoders'."""
    found = benchmark_rows(results, BENCHMARK)
    if found.empty:
        return found
    found = found[(found["method"] == PROBES) & found["run"].isin(runs)]
    found = found.sort_values("created").drop_duplicates(["run", "budget"], keep="last")
    found = found.rename(columns={"run": "run_id", "budget": "limit"})
    found = found.assign(split="test", target="budget", decoder=PROBES, criterion=CRITERION)
    return pd.concat([found.assign(metric=what, value=found[what]) for what in ("macs", "top1")])
