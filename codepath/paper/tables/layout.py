"""A table as text, in Markdown and in LaTeX, and the cells that several tables share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from codepath.core.markdown import table
from codepath.experiments.coverage import rows_of_picture
from codepath.paper.setting_rows import (
    top1_of,
)
from codepath.run.config import SCALES


class Table(NamedTuple):
    """A table of text."""

    name: str
    item: str
    title: str
    header: list[str]
    body: list[list[str]]
    note: str = ""
    """What must be known to read it."""


def markdown(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(table(header, body)) + "\n"


def latex(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A LaTeX tabular (booktabs)."""
    special = str.maketrans(
        {
            "%": r"\%",
            "_": r"\_",
            "&": r"\&",
            "±": r"$\pm$",
            "#": r"\#",
            "$": r"\$",
            "{": r"\{",
            "}": r"\}",
            "\\": r"\textbackslash{}",
            "×": r"$\times$",
            "^": r"\^{}",
            "~": r"\~{}",
            "\n": " ",
        }
    )

    def row(cells: Sequence[str]) -> str:
        return " & ".join(cell.translate(special) for cell in cells) + r" \\"

    return "\n".join(
        [
            rf"\begin{{tabular}}{{{'l' * len(header)}}}",
            r"\toprule",
            row(header),
            r"\midrule",
            *(row(cells) for cells in body),
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def percent(values: pd.Series) -> str:
    """Mean in per cent with the standard deviation over seeds where there is one."""
    values = 100 * values.astype(float)
    if len(values) == 1:
        return f"{values.iloc[0]:.2f}"
    return f"{values.mean():.2f} ± {values.std():.2f}"


def top1_rows(results: Path, picture: str, **settings: Callable) -> pd.DataFrame:
    """Top-1 on test images of the experiments that list `picture`, coded and baseline."""
    rows = rows_of_picture(results, "accuracy", picture, settings, roles=("coded", "baseline"))
    return top1_of(rows)


def by_scale(rows: pd.DataFrame, column: str) -> list[tuple[tuple[str, str, str], pd.DataFrame]]:
    """Rows by (data set, scale, `column`) in rising order, scales from the smallest on."""
    groups = {
        (str(dataset), str(scale), str(value)): group
        for (dataset, scale, value), group in rows.groupby(["dataset", "scale", column])
    }
    return sorted(groups.items(), key=lambda one: (one[0][0], SCALES.index(one[0][1]), one[0][2]))
