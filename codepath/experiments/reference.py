"""The paper's numbers, from paper/reference/ (those read off plots are within about 0.3 points)."""

from __future__ import annotations

import functools
from pathlib import Path

import pandas as pd

from codepath.core.errors import UserError
from codepath.core.provenance import SHIPPED

REFERENCE = SHIPPED / "paper" / "reference"


@functools.cache
def reference(name: str, dtype: type | None = None) -> pd.DataFrame:
    """Table `name` of the paper, accuracies in per cent; UserError where the file is gone.

    `dtype` is the type of all columns; None: pandas finds out each column's.
    """
    path = Path(REFERENCE / f"{name}.csv")
    if not path.exists():
        raise UserError(f"{path} is missing: restore it from the repository")
    return pd.read_csv(path, dtype=dtype)
