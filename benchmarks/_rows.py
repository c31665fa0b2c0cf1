"""Where benchmarks leave their numbers: results/benchmarks/NAME.csv, one file a benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from codepath.core.files import make_directory
from codepath.core.machine import cpu_name
from codepath.core.provenance import REPO_ROOT, git_state, now
from codepath.store import put_benchmark

FOLDER = REPO_ROOT / "results" / "benchmarks"


def write_rows(
    name: str,
    rows: list[dict[str, Any]],
    folder: Path,
    device: str = "",
    settings: tuple[str, ...] = (),
) -> Path:
    """Put `rows` into NAME.csv, each with device, commit, dirty and created added.

    Rows that are there already stay where no new row is equal to them in the columns
    `settings` (and on the same device); without `settings` the file is replaced.
    """
    commit, dirty = git_state()
    frame = pd.DataFrame(rows).assign(
        device=device or cpu_name(), commit=commit, dirty=dirty, created=now()
    )
    path = make_directory(folder) / f"{name}.csv"
    put_benchmark(path, frame, settings)
    return path
