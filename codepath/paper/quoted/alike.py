"""Numbers that are asked for alike: one definition for all networks, loaders, precisions, ..."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from codepath.paper.quoted.answer import Answer, Query, needed

Text = Callable[[pd.DataFrame], str]
Choices = Mapping[str, object] | Iterable[object]


class Beginning(str):
    """In place of a column's value: any text that begins with this one."""

    __slots__ = ()


def chosen(rows: pd.DataFrame, wanted: Mapping[str, object]) -> pd.DataFrame:
    """The rows in which each column has its value: one, the `Beginning` of one, or one of a tuple.

    A missing value equals nothing.
    """
    for column, value in wanted.items():
        if rows.empty:
            break
        if isinstance(value, Beginning):
            found = rows[column].str.startswith(value)
        elif isinstance(value, tuple):
            found = rows[column].isin(value)
        else:
            found = rows[column] == value
        rows = rows[found.fillna(False).astype(bool)]
    return rows


class Source(NamedTuple):
    """A table of rows."""

    name: str
    """What it is called in an error."""
    read: Callable[[Path], pd.DataFrame]
    """Folder with the rows -> all of them."""
    origin: Callable[[Path, pd.DataFrame], str]
    """Folder and some of its rows -> `Answer.place`."""

    def where(self, results: Path, **wanted: object) -> pd.DataFrame:
        """The rows in which columns have these values; UserError where there are none."""
        settings = ", ".join(f"{column} {value}" for column, value in wanted.items())
        what = f"{self.name}{' with ' if settings else ''}{settings}"
        return needed(chosen(self.read(results), wanted), what)


def alike(
    name: str,
    source: Source,
    text: Text,
    fixed: Mapping[str, object] | None = None,
    **choices: Choices,
) -> dict[str, Query]:
    """Name -> query, one for every combination of the choices.

    Args:
        name: with each choice in braces: `speed.{network}.{precision}`.
        source: where the rows are.
        text: what is quoted of the rows that were chosen.
        fixed: values of columns that all of these numbers share, as for `chosen`.
        choices: for each one what the name calls it -> its value in the column of that name, or a
            mapping of several columns to their values. A plain list calls each value by itself.
    """
    named = [of if isinstance(of, Mapping) else {str(one): one for one in of}
             for of in choices.values()]  # fmt: skip
    found = {}
    for combination in itertools.product(*(of.items() for of in named)):
        wanted = dict(fixed or {})
        for column, (_, value) in zip(choices, combination, strict=True):
            wanted |= value if isinstance(value, Mapping) else {column: value}
        called = {column: call for column, (call, _) in zip(choices, combination, strict=True)}
        found[name.format(**called)] = _query(source, text, wanted)
    return found


def _query(source: Source, text: Text, wanted: Mapping[str, object]) -> Query:
    def query(results: Path) -> Answer:
        rows = source.where(results, **wanted)
        return Answer(text(rows), source.origin(results, rows))

    return query
