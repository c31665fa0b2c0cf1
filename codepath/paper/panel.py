"""Modules of `codepath.paper.pictures`: a panel of runs' rows, a study of a benchmark's rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A picture of the rows of runs, for each data set and scale in them."""

    name: str
    """Its file's name, without data set and scale."""
    title: str
    """Above its axes; empty for a picture whose axes have titles of their own."""
    item: str
    """Of the paper, or ours."""
    load: Callable[[Path], pd.DataFrame]
    """Its rows in the folder of results; empty where they do not suffice."""
    draw: Callable[[Any, pd.DataFrame, str], None]
    """(axes, rows of a setting, data set); the axes are a list where `shape` is given."""
    finish: Callable[[Any, pd.DataFrame], None] | None = None
    """(axes, rows): what can be placed once all else is drawn."""
    shape: tuple[int, int] | None = None
    """Lines and columns of axes; None: one."""
    size: tuple[float, float] | None = None
    """Inches, for what a column cannot hold."""

    @property
    def is_single(self) -> bool:
        """Whether it has one pair of axes, as wide as one pleases."""
        return self.shape is None and self.size is None

    @property
    def axes(self) -> int:
        """How many axes it has, about: the more, the longer it takes."""
        lines, columns = self.shape or (1, 4 if self.size else 1)
        return lines * columns


@dataclass(frozen=True, kw_only=True)
class Study:
    """A picture of files of results/benchmarks/."""

    name: str
    item: str
    benchmarks: tuple[str, ...]
    """Names of the benchmarks whose files it draws together."""
    draw: Callable[..., Figure]
    """The rows of each file."""
