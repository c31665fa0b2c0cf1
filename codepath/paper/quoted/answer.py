"""What a query gives: a text with its unit, and where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from codepath.core.errors import UserError


class Answer(NamedTuple):
    """A number as it is quoted."""

    text: str
    """The number with its unit, as it stands in a sentence."""
    place: str
    """The table, and the scale, seeds, images and device of the rows."""


Query = Callable[[Path], Answer]
"""Folder with the rows -> what is quoted. Raises UserError where rows are missing."""


def listed(parts: Sequence[object]) -> str:
    """A list as in a sentence: `a, b and c`."""
    texts = [str(part) for part in parts]
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def percents(shares: Sequence[float], digits: int = 1) -> str:
    """Shares as per cent, with the sign once at the end."""
    return listed([f"{100 * share:.{digits}f}" for share in shares]) + " %"


def points(share: float, digits: int = 2) -> str:
    """A difference of two shares in points."""
    return f"{100 * share:.{digits}f} points"


def harmonic_mean(first: float, second: float) -> float:
    """F1 of a precision and a recall."""
    return 2 * first * second / (first + second)


def span(values: Sequence[float] | pd.Series, form: str) -> str:
    """The least and the largest value as they are rounded; one of them where they are equal."""
    ends = dict.fromkeys(form.format(value) for value in (min(values), max(values)))
    return " to ".join(ends)


def two_digits(value: float) -> str:
    """A value with its first two digits: 17.29 -> "17", 0.0085 -> "0.0085"."""
    return f"{float(f'{value:.2g}'):g}"


def needed(rows: pd.DataFrame, what: str) -> pd.DataFrame:
    """The rows; UserError that says what is missing where there are none."""
    if rows.empty:
        raise UserError(f"no rows of {what}: restore them, or take another number")
    return rows


def place(rows: pd.DataFrame, table: str) -> str:
    """Where rows come from, in words."""
    parts = [table]
    for column, name in (("scale", "scale"), ("experiment", ""), ("run", "")):
        if column in rows and rows[column].notna().all():
            values = listed(sorted(rows[column].unique()))
            parts.append(f"{values} {name}".strip())
            break
    if "seed" in rows:
        seeds = sorted({int(seed) for seed in rows["seed"]})
        parts.append(f"seed{'s' if len(seeds) > 1 else ''} {listed(seeds)}")
    if "n" in rows and rows["n"].notna().any() and rows["n"].max() > 1:
        parts.append(f"n = {int(rows['n'].max()):,}")
    parts.append(devices(rows))
    return "; ".join(parts)


def devices(rows: pd.DataFrame) -> str:
    """The processors or GPUs of the rows, without their numbers of cores."""
    names = {name.replace("(R)", "").split(",")[0] for name in rows["device"]}
    return listed(sorted(name.removesuffix(" Processor") for name in names))
