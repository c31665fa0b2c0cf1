"""Where benchmarks leave their numbers: results/benchmarks/NAME.csv, one file a benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from codepath.core.files import make_directory
from codepath.core.machine import cpu_name
from codepath.core.provenance import git_state, now
from codepath.store import put_benchmark

FOLDER = Path("results") / "benchmarks"


def write_rows(
    name: str,
    rows: list[dict[str, Any]],
    folder: Path,
    device: str = "",
    settings: tuple[str, ...] = (),
) -> Path:
    """Put `rows` into NAME.csv, and add device, commit, dirty and created to each.

    A new row replaces an earlier one of the same device with equal values in the columns
    `settings`; other earlier rows stay. Without `settings` the whole file is replaced.
    """
    commit, dirty = git_state()
    frame = pd.DataFrame(rows).assign(
        device=device or cpu_name(), commit=commit, dirty=dirty, created=now()
    )
    path = make_directory(folder) / f"{name}.csv"
    put_benchmark(path, frame, settings)
    return path
