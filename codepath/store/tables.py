"""Reading and appending the tables of results/."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from filelock import FileLock

from codepath.runtime import UserError, atomic_path, make_directory
from codepath.store.schema import COLUMNS, KEY, KINDS, Measurement, Provenance


def rows_of(measurements: Iterable[Measurement], provenance: Provenance) -> dict[str, pd.DataFrame]:
    """Kind of measurement -> its rows."""
    by_kind: dict[str, list[dict[str, object]]] = {}
    for measurement in measurements:
        row = dataclasses.asdict(measurement) | dataclasses.asdict(provenance)
        row["class"] = row.pop("class_name")
        by_kind.setdefault(row.pop("kind"), []).append(row)
    return {kind: _typed(pd.DataFrame(rows)) for kind, rows in by_kind.items()}


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.reindex(columns=list(COLUMNS)).astype(COLUMNS)


def _read(path: Path) -> pd.DataFrame:
    """All rows of one file, in order; an empty frame where the file is absent."""
    if not path.exists():
        return _typed(pd.DataFrame(columns=list(COLUMNS)))
    try:
        frame = pd.read_csv(path, dtype=COLUMNS, keep_default_na=False, na_values=[""])
    except (ValueError, OSError) as error:
        raise UserError(f"cannot read {path}: {str(error).splitlines()[0]}") from None
    missing = [column for column in COLUMNS if column not in frame]
    if missing:
        raise UserError(f"{path} has no column '{missing[0]}': it is not a table of results")
    return frame


def append_rows(directory: Path, rows: dict[str, pd.DataFrame]) -> int:
    """Append rows to `directory`/KIND.csv and say how many were new.

    Rows that stand there already (same run, same time of creation) are left out, so that
    repeating a call changes nothing. Each file is replaced as a whole under a lock: readers
    and killed writers never see half a row.
    """
    make_directory(directory)
    added = 0
    for kind, frame in rows.items():
        path = directory / f"{kind}.csv"
        with FileLock(directory / f".{kind}.lock", timeout=60):
            present = _read(path)
            known = set(zip(present["run_id"], present["created"], strict=True))
            new = frame[
                [pair not in known for pair in zip(frame["run_id"], frame["created"], strict=True)]
            ]
            if len(new):
                old = path.read_text() if path.exists() else ""
                with atomic_path(path) as temporary:
                    temporary.write_text(
                        old + new.to_csv(index=False, header=not old, lineterminator="\n")
                    )
                added += len(new)
    return added


def read_rows(directory: Path, kind: str) -> pd.DataFrame:
    """The rows of one kind; of rows that measure the same thing only the latest."""
    frame = _read(directory / f"{kind}.csv").sort_values("created", kind="stable")
    return frame.drop_duplicates(list(KEY), keep="last").reset_index(drop=True)


def collect(directory: Path, runs: Iterable[Path]) -> int:
    """Append the rows that finished runs keep in RUN/rows; say how many were new."""
    added = 0
    for run in runs:
        present = {kind: run / "rows" / f"{kind}.csv" for kind in KINDS}
        added += append_rows(
            directory, {kind: _read(path) for kind, path in present.items() if path.exists()}
        )
    return added
