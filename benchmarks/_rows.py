"""Where benchmarks leave their numbers: results/benchmarks/NAME.csv, one file a benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from codepath.runtime import (
    REPO_ROOT,
    atomic_path,
    cpu_name,
    git_state,
    make_directory,
    now,
)

FOLDER = REPO_ROOT / "results" / "benchmarks"


def write_rows(name: str, rows: list[dict[str, Any]], folder: Path, device: str = "") -> Path:
    """Replace NAME.csv by `rows`, each with device, commit, dirty and created added."""
    commit, dirty = git_state()
    frame = pd.DataFrame(rows).assign(
        device=device or cpu_name(), commit=commit, dirty=dirty, created=now()
    )
    path = make_directory(folder) / f"{name}.csv"
    with atomic_path(path) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n")
    return path
