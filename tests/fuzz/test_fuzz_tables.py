"""Tables from outside: schemes, rows and benchmarks.

Nothing in a CSV file repeats its values: a digit that was changed to another digit reads as a valid
number, and a bit of a codeword may be turned on while another is turned off. What is held here is
the form: a header, a row's length, a value's type, and that what is read is what stands there.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from codepath import store
from codepath.codes import CodingScheme
from codepath.store import Measurement, schema
from tests.fuzz.documents import table_files
from tests.fuzz.harness import REFUSED, counted, fuzz, outcome
from tests.made_up import BASE

SCHEME = 'class,codeword\ncat,0011\n"a, b",0101\n"say ""x""",1001\ndog,1100\n'


def rows_of_bytes(data: bytes) -> list[list[str]]:
    """An independent reading of a CSV file: the lines that are not empty."""
    csv.field_size_limit(2**31 - 1)
    text = data.decode("utf-8-sig")
    rows = csv.reader(io.StringIO(text, newline=""), strict=False)
    return [row for row in rows if row and row != [""]]


@counted
def test_a_scheme_is_what_its_file_says(inputs: int, tmp_path: Path) -> None:
    path, again = tmp_path / "scheme.csv", tmp_path / "again.csv"

    def check(data: bytes) -> None:
        path.write_bytes(data)
        scheme = outcome(lambda: CodingScheme.from_csv(path), len(data))
        if scheme is REFUSED:
            return
        header, *rows = rows_of_bytes(data)
        assert header == ["class", "codeword"]
        assert list(scheme.class_names) == [row[0] for row in rows]
        words = ["".join(map(str, word)) for word in scheme.table]
        assert words == [row[1] for row in rows]
        assert len(set(words)) == len(words)
        assert len({word.count("1") for word in words}) == 1
        scheme.save(again)
        back = CodingScheme.from_csv(again)
        assert back.class_names == scheme.class_names
        assert np.array_equal(back.table, scheme.table)

    fuzz(check, inputs, table_files(SCHEME))


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The text of runs.csv and of three kinds' tables, of two runs."""
    folder = tmp_path_factory.mktemp("rows")
    for seed in (0, 1):
        provenance = dataclasses.replace(BASE, seed=seed, run_id=f"run, {seed}", device='a "b"')
        measured = [
            Measurement(kind="accuracy", metric="top1", value=0.25 + seed, n=10),
            Measurement(kind="decoders", metric="top1", value=0.1, n=9, block=4, decoder="eq7"),
            Measurement(kind="decoders", metric="top1", value=1e-17, n=9, block=5, decoder="eq7"),
            Measurement(kind="histograms", metric="images", value=3, n=9, group="positive",
                        class_name="cat", left=-0.5),
        ]  # fmt: skip
        store.append_rows(folder, store.rows_of(measured, provenance))
    return {path.stem: path.read_text() for path in folder.glob("*.csv")}


def assert_same_cells(frame: pd.DataFrame, columns: dict[str, str], rows: list[list[str]]) -> None:
    """Every cell of a frame is the one of the file, by an independent reader."""
    assert len(frame) == len(rows)
    for place, (name, kind) in enumerate(columns.items()):
        for value, row in zip(frame[name], rows, strict=True):
            if pd.isna(value):
                assert row[place] == ""
            elif kind in ("float64", "Int64"):
                assert value == float(row[place])
            elif kind == "boolean":
                assert row[place].lower() in (
                    ("true", "1", "1.0") if value else ("false", "0", "0.0")
                )
            else:
                assert value == row[place]


@counted
@pytest.mark.parametrize("kind", ["accuracy", "histograms"])
def test_numbers_are_what_their_table_says(
    inputs: int, kind: str, tables: dict[str, str], tmp_path: Path
) -> None:
    def check(data: bytes) -> None:
        put_down(tables | {kind: data}, tmp_path)
        found = outcome(lambda: store.read_rows(tmp_path, kind), len(data))
        if found is not REFUSED:
            header, *rows = rows_of_bytes(data)
            assert header == list(schema.columns_of(kind))
            rows = [list(row) for row in dict.fromkeys(map(tuple, rows))]
            assert_same_cells(found[header], schema.columns_of(kind), rows)

    fuzz(check, inputs, table_files(tables[kind]))


@counted
def test_runs_are_what_their_table_says(
    inputs: int, tables: dict[str, str], tmp_path: Path
) -> None:
    def check(data: bytes) -> None:
        put_down(tables | {"runs": data}, tmp_path)
        found = outcome(lambda: store.read_rows(tmp_path, "accuracy"), len(data))
        if found is not REFUSED:
            header, *rows = rows_of_bytes(data)
            assert header == list(schema.RUN_COLUMNS)
            of_key = {row[0]: row for row in rows}
            wanted = [of_key[key] for key in found["run"]]
            assert_same_cells(found[header], schema.RUN_COLUMNS, wanted)

    fuzz(check, inputs, table_files(tables["runs"]))


@counted
@pytest.mark.parametrize("kind", ["runs", "accuracy"])
def test_appending_to_a_damaged_table_loses_nothing(
    inputs: int, kind: str, tables: dict[str, str], tmp_path: Path
) -> None:
    """Either the rows are there behind the old ones, or no file was touched."""
    other = store.rows_of(
        [Measurement(kind="accuracy", metric="top1", value=0.5, n=10)],
        dataclasses.replace(BASE, seed=7, run_id="another"),
    )

    def check(data: bytes) -> None:
        put_down(tables | {kind: data}, tmp_path)
        before = {path: path.read_bytes() for path in tmp_path.glob("*.csv")}
        added = outcome(lambda: store.append_rows(tmp_path, other), len(data))
        after = {path: path.read_bytes() for path in tmp_path.glob("*.csv")}
        if added is REFUSED:
            assert after == before
            return
        for name in ("runs", "accuracy"):
            old, new = (rows_of_bytes(of[tmp_path / f"{name}.csv"]) for of in (before, after))
            assert new[: len(old)] == old
            assert len(new) == len(old) + 1

    fuzz(check, inputs, table_files(tables[kind]))


def put_down(texts: dict[str, str | bytes], folder: Path) -> None:
    """Write tables."""
    for name, text in texts.items():
        data = text if isinstance(text, bytes) else text.encode()
        (folder / f"{name}.csv").write_bytes(data)


@counted
@pytest.mark.parametrize("name", ["decoding", "step"])
def test_benchmarks_are_what_their_tables_say(inputs: int, name: str, tmp_path: Path) -> None:
    text, numbers = schema.benchmark_columns(name)
    header = [*text, *numbers]
    line = [*(f"{column} 1" for column in text), *(str(k + 0.5) for k in range(len(numbers)))]
    whole = ",".join(header) + "\n" + ",".join(line) + "\n" + ",".join(line) + "\n"
    path = tmp_path / f"{name}-cpu.csv"

    def check(data: bytes) -> None:
        path.write_bytes(data)
        frame = outcome(lambda: store.read_benchmark(path), len(data))
        if frame is REFUSED:
            return
        head, *rows = rows_of_bytes(data)
        assert sorted(head) == sorted(header)
        assert len(frame) == len(rows)
        for column in numbers:
            for value, row in zip(frame[column], rows, strict=True):
                cell = row[head.index(column)] if head.index(column) < len(row) else ""
                assert pd.isna(value) or float(value) == float(cell), (column, cell)

    fuzz(check, inputs, table_files(whole))
