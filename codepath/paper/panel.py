"""What a module of `codepath.paper.pictures` defines: a panel or a study."""

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
    """Name of its file, without data set and scale."""
    title: str
    """Stands above its axes; empty for a picture whose axes have titles of their own."""
    item: str
    """The item of the paper that it shows, or "ours"."""
    load: Callable[[Path], pd.DataFrame]
    """Reads its rows from the folder of results; gives none where they do not suffice."""
    draw: Callable[[Any, pd.DataFrame, str], None]
    """Draws the picture; takes (axes, rows of one data set and scale, data set).

    The axes are a list where `shape` is given.
    """
    finish: Callable[[Any, pd.DataFrame], None] | None = None
    """Places what needs all else to be drawn first; takes (axes, rows)."""
    shape: tuple[int, int] | None = None
    """Lines and columns of axes; None: one pair of axes."""
    size: tuple[float, float] | None = None
    """Width and height in inches, of a picture that a column cannot hold."""

    @property
    def is_single(self) -> bool:
        """Whether it has one pair of axes, which can be drawn at any width."""
        return self.shape is None and self.size is None

    @property
    def axes(self) -> int:
        """About how many pairs of axes it has; the more, the longer it takes to draw."""
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
    """Draws the figure; takes the rows of each file."""
