"""Reading and appending the tables of results/ and of RUN/rows, which have the same form."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from codepath.core.errors import UserError, reason
from codepath.core.files import make_directory, sync, write_text
from codepath.core.locks import PATIENCE_S, locked
from codepath.store.schema import (
    DIMENSIONS,
    IDENTITY,
    KINDS,
    RUN_COLUMNS,
    Measurement,
    Provenance,
    columns_of,
)

RUNS = "runs"
_READINGS = 10
"""How often tables are read until they fit together."""


class Rows(NamedTuple):
    """Some lines of runs.csv, and the numbers that belong to them."""

    runs: pd.DataFrame
    """Lines with the columns of runs.csv."""
    tables: dict[str, pd.DataFrame]
    """Kind -> its numbers, with the columns of KIND.csv."""


def rows_of(measurements: Iterable[Measurement], provenance: Provenance) -> Rows:
    """Measurements of one run as rows."""
    key = provenance.key
    by_kind: dict[str, list[dict[str, object]]] = {}
    for measurement in measurements:
        by_kind.setdefault(measurement.kind, []).append({"run": key} | measurement.row())
    line = {name: getattr(provenance, name) for name in RUN_COLUMNS if name != "run"}
    return Rows(
        _typed(pd.DataFrame([{"run": key} | line]), RUN_COLUMNS),
        {kind: _typed(pd.DataFrame(rows), columns_of(kind)) for kind, rows in by_kind.items()},
    )


def read_rows(directory: Path, kind: str) -> pd.DataFrame:
    """The numbers of one kind, each with the columns of its run; of repeated ones the latest.

    A number repeats another one where run (`IDENTITY`), dimensions and metric are the same. The
    older one comes from an earlier measuring, or an earlier configuration of the experiment.

    Args:
        directory: results/ or RUN/rows; the frame is empty where it lacks the kind's table.
        kind: the kind of measurement.

    Raises UserError for a table that is cut, that has another form, or that names a run which
    runs.csv lacks.
    """
    runs, tables = _read_together(directory, [kind])
    table, runs = tables[kind], runs.set_index("run", drop=False)
    places = runs.index.get_indexer(pd.Index(table["run"]))
    numbers = table.drop(columns="run")
    merged = pd.concat([runs.take(places).reset_index(drop=True), numbers], axis=1)
    return _latest(merged, runs, kind)


def _read_together(
    directory: Path, kinds: Iterable[str]
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """runs.csv and tables whose numbers it explains; UserError where a number's run is missing.

    Where a run is measured again meanwhile, its earlier line leaves runs.csv after its numbers were
    read. Reading again then finds both of the later measuring.
    """
    for _ in range(_READINGS):
        tables = {kind: _read(directory, kind) for kind in kinds}
        runs = _read(directory, RUNS)  # written before the numbers that need it, so read after them
        if all(table["run"].isin(runs["run"]).all() for table in tables.values()):
            break
    for kind, table in tables.items():
        _check_runs(directory, kind, table, runs)
    return runs, tables


def _check_runs(directory: Path, kind: str, table: pd.DataFrame, runs: pd.DataFrame) -> None:
    """UserError where a number's run has no line in runs.csv."""
    lost = table["run"][~table["run"].isin(runs["run"])]
    if len(lost):
        raise UserError(
            f"{directory / kind}.csv, line {lost.index[0] + 2}: run '{lost.iloc[0]}' is not in "
            f"{directory / RUNS}.csv; restore that file, or measure or collect the run again"
        )


def _latest(rows: pd.DataFrame, runs: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The rows, oldest first, without those that a later one replaces."""
    measured = runs[runs.index.isin(rows["run"].unique())]
    twice = measured.duplicated(list(IDENTITY), keep=False).to_numpy()
    again = measured[twice]["run"]
    rows = rows.sort_values("created", kind="stable", ignore_index=True)
    if again.empty:
        return rows
    several = rows[rows["run"].isin(again)]
    old = several.duplicated([*IDENTITY, *DIMENSIONS[kind], "metric"], keep="last")
    return rows.drop(index=several.index[old]).reset_index(drop=True)


def append_rows(directory: Path, rows: Rows) -> int:
    """Append rows to the tables of `directory` and return how many numbers were new.

    Rows that are there already are left out, so that a repeated call changes nothing. Everything is
    checked before anything is written. Then, under one lock, runs.csv is written before the
    numbers, and each file is replaced as a whole. So no reader ever finds half a table or numbers
    without a run, even after a writer was killed.

    Raises UserError where a run is there with other contents, for damaged tables, and where other
    processes keep writing for long.
    """
    with writing_in(make_directory(directory)):
        present = _read(directory, RUNS)
        _agree(directory, RUNS, present, rows.runs)
        new = {}
        for kind, frame in rows.tables.items():
            table = _read(directory, kind)
            _agree(directory, kind, table, frame)
            new[kind] = frame[~frame["run"].isin(table["run"])]
        lines = rows.runs[~rows.runs["run"].isin(present["run"])]
        for name, frame in ({RUNS: lines} | new).items():
            if len(frame):
                path = directory / f"{name}.csv"
                old = _content(path) if path.exists() else ""
                write_text(path, old + _text(frame, header=not old))
    return sum(map(len, new.values()))


@contextmanager
def writing_in(directory: Path) -> Iterator[None]:
    """Keep other writers of tables out of a folder, and wait for those before.

    What killed writers left half-written is removed.
    """
    refusal = f"other processes write in {directory} all the time: repeat the command later"
    with locked(directory / ".rows.lock", refusal, PATIENCE_S):
        for left in directory.glob(".*.csv.*.tmp"):
            left.unlink(missing_ok=True)
        yield


def _agree(directory: Path, name: str, present: pd.DataFrame, rows: pd.DataFrame) -> None:
    """UserError where a table holds other contents for a run of `rows`."""
    for key in rows["run"].unique():
        there, here = (frame[frame["run"] == key] for frame in (present, rows))
        if len(there) and not there.reset_index(drop=True).equals(here.reset_index(drop=True)):
            raise UserError(
                f"{directory / name}.csv has run '{key}' with other contents: one of the two was "
                "altered; remove the wrong one and repeat"
            )


def replace_rows(directory: Path, rows: Rows, kinds: Collection[str]) -> None:
    """Put rows into RUN/rows in place of those of `kinds`.

    Args:
        directory: RUN/rows.
        rows: the rows of one run.
        kinds: the kinds that were measured; the table of a kind without rows is removed.
    """
    with writing_in(make_directory(directory)):
        left = [_read(directory, kind) for kind in KINDS if kind not in kinds]
        runs = pd.concat([_read(directory, RUNS), rows.runs]).drop_duplicates("run", keep="last")
        write_text(directory / f"{RUNS}.csv", _text(runs))  # before the numbers that need it
        for kind in kinds:
            if kind in rows.tables:
                write_text(directory / f"{kind}.csv", _text(rows.tables[kind]))
            else:
                (directory / f"{kind}.csv").unlink(missing_ok=True)
        sync(directory)  # a removed table does not come back to a runs.csv without its runs
        used = set().union(*(table["run"] for table in (*left, *rows.tables.values())))
        write_text(directory / f"{RUNS}.csv", _text(runs[runs["run"].isin(used)]))


def collect(directory: Path, runs: Iterable[Path]) -> int:
    """Append the rows that finished runs keep in RUN/rows; return how many numbers were new."""
    added = 0
    for run in runs:
        lines, tables = _read_together(run / "rows", KINDS)
        tables = {kind: frame for kind, frame in tables.items() if len(frame)}
        added += append_rows(directory, Rows(lines, tables))
    return added


def _typed(frame: pd.DataFrame, columns: dict[str, str]) -> pd.DataFrame:
    return frame.reindex(columns=list(columns)).astype(columns)


def _text(frame: pd.DataFrame, header: bool = True) -> str:
    """A frame as CSV; whole numbers in `value` have no point: 0 for 0.0."""
    if "value" in frame:
        shortest = [repr(value).removesuffix(".0") for value in frame["value"].tolist()]
        frame = frame.assign(value=shortest)
    return frame.to_csv(index=False, header=header, lineterminator="\n")


def _content(path: Path) -> str:
    """A table's text with its own ends of lines."""
    return path.read_bytes().decode()


def _floats(cells: pd.Series) -> pd.Series:
    """Numbers of a column of text; ValueError for a cell that says of itself that it is none."""
    numbers = cells.astype("float64")
    odd = cells[numbers.isna() & cells.notna()]
    if len(odd):
        raise ValueError(f"'{odd.iloc[0]}' in column '{cells.name}' is not a number")
    return numbers


def _read(directory: Path, name: str) -> pd.DataFrame:
    """The rows of one file without exact repeats; an empty frame where the file is absent."""
    path = directory / f"{name}.csv"
    columns = RUN_COLUMNS if name == RUNS else columns_of(name)
    try:
        text = _content(path)
    except FileNotFoundError:
        return _typed(pd.DataFrame(columns=list(columns)), columns)
    except UnicodeDecodeError as error:
        raise UserError(f"cannot read {path}: {reason(error)}; restore the file") from None
    try:
        if not text.endswith("\n"):
            raise UserError(f"{path}: the last line is cut; restore the file, or remove that line")
        # Python reads the numbers with a point: it is exact, pandas was not always.
        dtypes = {column: "object" if of == "float64" else of for column, of in columns.items()}
        frame = pd.read_csv(io.StringIO(text), dtype=dtypes, keep_default_na=False, na_values=[""])
        for column in frame.columns[frame.dtypes == "object"]:
            frame[column] = _floats(frame[column])
    except UserError:
        raise
    except (ValueError, TypeError, OverflowError) as error:
        raise UserError(f"cannot read {path}: {reason(error)}; restore the file") from None
    if list(frame) != list(columns):
        odd = sorted(set(map(str, frame)) ^ set(columns)) or list(columns)
        raise UserError(
            f"{path} is not a table of this form: see column '{odd[0]}'; if it is of an earlier "
            "version, remove it and measure its runs again (codepath evaluate RUN)"
        )
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes the first cells for names of rows
        raise UserError(f"{path}, line 2 has more cells than the header; restore the file")
    needed = ["created"] if name == RUNS else ["metric", "value", "n"]
    cut = frame.index[frame[["run", *needed]].isna().any(axis=1)]
    if len(cut):
        raise UserError(f"{path}, line {cut[0] + 2} is cut; restore the file, or remove that line")
    key = ["run"] if name == RUNS else ["run", *DIMENSIONS[name], "metric"]
    if frame.duplicated(key).any():
        frame = frame.drop_duplicates()
        twice = frame.index[frame.duplicated(key)]
        if len(twice):
            raise UserError(
                f"{path}, line {twice[0] + 2}: run '{frame['run'][twice[0]]}' is there twice with "
                "different contents; remove one of the two"
            )
        frame = frame.reset_index(drop=True)
    return frame
