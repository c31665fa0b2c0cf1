from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from codepath import store
from codepath.core.errors import UserError
from codepath.core.provenance import REPO_ROOT
from codepath.store import Measurement, Provenance, Rows, schema

PROVENANCE = Provenance(
    experiment="table2-tiny",
    run_id="table2-tiny-demo-coded-s0-0",
    scale="demo",
    dataset="tiny",
    source="generated",
    model="coded",
    seed=0,
    precision="float32",
    device="cpu",
    commit="abc",
    dirty=False,
    created="2026-01-01T00:00:00.000000+00:00",
)


def rows(value: float, **changes: object) -> Rows:
    provenance = dataclasses.replace(PROVENANCE, **changes)
    return store.rows_of(
        [
            Measurement(kind="accuracy", metric="top1", value=value, n=10),
            Measurement(kind="decoders", metric="top1", value=value, n=10, block=4, decoder="eq7"),
        ],
        provenance,
    )


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.csv")}


def test_rows_come_back_as_they_went_in(tmp_path: Path) -> None:
    assert store.append_rows(tmp_path, rows(0.1 + 0.2)) == 2
    frame = store.read_rows(tmp_path, "decoders")
    assert list(frame) == [*schema.RUN_COLUMNS, "split", "block", "decoder", "metric", "value", "n"]
    (row,) = frame.to_dict("records")
    assert row["value"] == 0.1 + 0.2
    assert (row["block"], row["decoder"], row["precision"]) == (4, "eq7", "float32")
    assert not row["dirty"]


def test_a_person_reads_them_with_one_merge(tmp_path: Path) -> None:
    for seed in (0, 1):
        store.append_rows(tmp_path, rows(0.5 + seed / 10, seed=seed, run_id=str(seed)))
    runs = pd.read_csv(tmp_path / "runs.csv")
    merged = pd.read_csv(tmp_path / "accuracy.csv").merge(runs, on="run")
    assert merged.groupby("seed")["value"].mean().to_dict() == {0: 0.5, 1: 0.6}
    assert list(pd.read_csv(tmp_path / "accuracy.csv")) == ["run", "split", "metric", "value", "n"]


def test_a_key_is_never_taken_for_a_number() -> None:
    keys = [dataclasses.replace(PROVENANCE, run_id=str(i)).key for i in range(2000)]
    assert len(set(keys)) == 2000
    assert all(key[0].isalpha() and len(key) == 7 for key in keys)


def test_every_kind_writes_its_own_columns(tmp_path: Path) -> None:
    of = {
        "accuracy": {},
        "decoders": {"block": 4, "decoder": "eq7"},
        "removal": {"block": 4, "removed_from": "active", "removed": 2},
        "binary": {"class_name": "cat", "objective": "f1", "fitted": "train", "negatives": "all"},
        "histograms": {"class_name": "cat", "group": "positive", "left": -0.1},
        "cost": {"stage": "stem"},
        "exits": {"decoder": "eq7", "criterion": "margin", "fitted": "crossfit",
                  "target": "loss", "limit": 0.1},
        "paths": {"block": 4, "path": 0, "class_name": "cat"},
        "extraction": {},
        "compression": {"class_name": "cat", "asked": 0.4},
    }  # fmt: skip
    assert set(of) == set(store.KINDS)
    every = [Measurement(kind=k, metric="m", value=1e-17, n=1, **d) for k, d in of.items()]
    store.append_rows(tmp_path, store.rows_of(every, PROVENANCE))
    for measurement in every:
        (row,) = store.read_rows(tmp_path, measurement.kind).to_dict("records")
        assert {name: row[name] for name in measurement.row()} == measurement.row()


def test_appending_twice_changes_nothing(tmp_path: Path) -> None:
    store.append_rows(tmp_path, rows(0.5))
    before = files(tmp_path)
    assert store.append_rows(tmp_path, rows(0.5)) == 0
    assert files(tmp_path) == before


def test_the_latest_of_equal_keys_counts_and_old_rows_stay(tmp_path: Path) -> None:
    store.append_rows(tmp_path, rows(0.7, created="2026-02-01T00:00:00.000000+00:00"))
    store.append_rows(tmp_path, rows(0.5))
    store.append_rows(tmp_path, rows(0.6, seed=1, run_id="other"))
    frame = store.read_rows(tmp_path, "accuracy")
    assert dict(zip(frame["seed"], frame["value"], strict=True)) == {0: 0.7, 1: 0.6}
    assert len((tmp_path / "accuracy.csv").read_text().splitlines()) == 4


def test_kinds_that_are_measured_later_belong_to_the_same_run(tmp_path: Path) -> None:
    store.append_rows(tmp_path, rows(0.5))
    later = dataclasses.replace(PROVENANCE, created="2026-02-01T00:00:00.000000+00:00")
    cost = Measurement(kind="cost", metric="macs", value=7, n=1)
    store.append_rows(tmp_path, store.rows_of([cost], later))
    assert store.read_rows(tmp_path, "accuracy")["run_id"].tolist() == [PROVENANCE.run_id]
    assert store.read_rows(tmp_path, "cost")["run_id"].tolist() == [PROVENANCE.run_id]


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda seed: store.append_rows(tmp_path, rows(0.5, seed=seed, run_id=str(seed))),
                range(24),
            )
        )
    for kind in ("accuracy", "decoders"):
        assert sorted(store.read_rows(tmp_path, kind)["seed"]) == list(range(24))


def test_a_writer_killed_between_the_files_is_made_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed_at(name: str) -> None:
        def write(path: Path, text: str) -> None:
            if path.name == name:
                raise KeyboardInterrupt
            path.write_text(text)

        monkeypatch.setattr(store.tables, "write_text", write)

    for name in ("runs.csv", "accuracy.csv", "decoders.csv"):
        killed_at(name)
        with pytest.raises(KeyboardInterrupt):
            store.append_rows(tmp_path, rows(0.5))
        assert len(store.read_rows(tmp_path, "decoders")) == 0  # readable at any moment
    monkeypatch.undo()
    assert store.append_rows(tmp_path, rows(0.5)) == 1
    assert store.read_rows(tmp_path, "decoders")["value"].tolist() == [0.5]


def test_a_run_with_other_contents_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    store.append_rows(tmp_path, rows(0.5))
    before = files(tmp_path)
    for other in (rows(0.6), rows(0.5, device="another")):
        with pytest.raises(UserError, match=r"has run '\w{7}' with other contents"):
            store.append_rows(tmp_path, other)
        assert files(tmp_path) == before


def test_a_run_that_stands_there_twice(tmp_path: Path) -> None:
    store.append_rows(tmp_path, rows(0.5))
    path = tmp_path / "accuracy.csv"
    head, line = path.read_text().splitlines()
    path.write_text(f"{head}\n{line}\n{line}\n")  # as merged branches leave it
    assert len(store.read_rows(tmp_path, "accuracy")) == 1
    path.write_text(f"{head}\n{line}\n{line.replace('0.5', '0.6')}\n")
    with pytest.raises(UserError, match=r"accuracy\.csv, line 3: run '\w+' is there twice"):
        store.read_rows(tmp_path, "accuracy")


def test_a_table_without_its_run(tmp_path: Path) -> None:
    store.append_rows(tmp_path, rows(0.5))
    store.append_rows(tmp_path, rows(0.6, seed=1, run_id="other"))
    path = tmp_path / "runs.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    with pytest.raises(UserError, match=r"accuracy\.csv, line 3: run '\w+' is not in .*runs\.csv"):
        store.read_rows(tmp_path, "accuracy")


def test_a_run_directory_without_its_run_is_not_collected(tmp_path: Path) -> None:
    store.replace_rows(tmp_path / "run" / "rows", rows(0.5), ("accuracy", "decoders"))
    (tmp_path / "run" / "rows" / "runs.csv").unlink()
    with pytest.raises(UserError, match=r"accuracy\.csv, line 2: run '\w+' is not in"):
        store.collect(tmp_path / "results", [tmp_path / "run"])
    assert not (tmp_path / "results" / "accuracy.csv").exists()


@pytest.mark.parametrize("name", ["runs", "accuracy"])
@pytest.mark.parametrize("cut", [1, 4])
def test_a_cut_line_is_named_and_nothing_is_appended_to_it(
    tmp_path: Path, name: str, cut: int
) -> None:
    store.append_rows(tmp_path, rows(0.5))
    path = tmp_path / f"{name}.csv"
    whole = path.read_text()
    path.write_text(whole[:-cut])
    cut_off = files(tmp_path)
    for call in (
        lambda: store.read_rows(tmp_path, "accuracy"),
        lambda: store.append_rows(tmp_path, rows(0.6, seed=1, run_id="other")),
    ):
        with pytest.raises(UserError, match=rf"{name}\.csv: the last line is cut"):
            call()
    assert files(tmp_path) == cut_off
    fields = whole.rstrip().rpartition(",")[0]
    path.write_text(f"{fields}\n")
    with pytest.raises(UserError, match=rf"{name}\.csv, line 2 is cut"):
        store.read_rows(tmp_path, "accuracy")


def test_absent_and_foreign_tables(tmp_path: Path) -> None:
    assert store.read_rows(tmp_path, "accuracy").empty
    for text in ("a,b\n1,2\n", "run,split,metric,value,n\nx,test,top1,high,1\n", "run,x\n1,2,3\n"):
        (tmp_path / "accuracy.csv").write_text(text)
        with pytest.raises(UserError, match=r"not a table of this form|cannot read"):
            store.read_rows(tmp_path, "accuracy")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (b"run,split,metric,value,n\n,x,test,top1,0.5,10\n", "line 2 has more cells"),
        (b"run,split,metric,value,n\nx,test,top1,0.5,10,9\n", "line 2 has more cells"),
        (b"run,split,metric,value,n\nx,test,top1,0.5,1.5\n", "cannot safely cast"),
        (b"run,split,metric,value,n\nx,\xff,top1,0.5,10\n", "can't decode byte 0xff"),
        (b"run,class,asked,split,metric,value,n\n", "not a table of this form"),
    ],
    ids=["moved", "longer", "half an image", "Latin-1", "another kind's"],
)
def test_damaged_tables_are_named(table: bytes, said: str, tmp_path: Path) -> None:
    """Cells that moved by one column are never read as other columns' values."""
    (tmp_path / "accuracy.csv").write_bytes(table)
    for call in (
        lambda: store.read_rows(tmp_path, "accuracy"),
        lambda: store.append_rows(tmp_path, rows(0.6)),
    ):
        with pytest.raises(UserError, match=said):
            call()
    assert (tmp_path / "accuracy.csv").read_bytes() == table


def test_a_dimension_that_is_no_number_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    measured = [Measurement(kind="compression", metric="f1", value=0.5, n=9, asked=0.4)]
    store.append_rows(tmp_path, store.rows_of(measured, PROVENANCE))
    path = tmp_path / "compression.csv"
    path.write_text(path.read_text().replace("0.4", "nan"))
    with pytest.raises(UserError, match="'nan' in column 'asked' is not a number"):
        store.read_rows(tmp_path, "compression")


def test_ends_of_lines_within_cells_stay(tmp_path: Path) -> None:
    """Also where rows are appended to a table that another system wrote."""
    store.append_rows(tmp_path, rows(0.5, device="a\nb"))
    path = tmp_path / "accuracy.csv"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    before = path.read_bytes()
    store.append_rows(tmp_path, rows(0.6, seed=1, run_id="other", device="c\nd"))
    assert path.read_bytes().startswith(before)
    assert store.read_rows(tmp_path, "accuracy")["device"].tolist() == ["a\nb", "c\nd"]


def test_rows_of_one_kind_are_replaced(tmp_path: Path) -> None:
    store.replace_rows(tmp_path, rows(0.5), ("accuracy", "decoders", "cost"))
    decoders = (tmp_path / "decoders.csv").read_bytes()
    later = rows(0.7, created="2026-02-01T00:00:00.000000+00:00")
    only = Rows(later.runs, {"accuracy": later.tables["accuracy"]})
    store.replace_rows(tmp_path, only, ("accuracy",))
    assert store.read_rows(tmp_path, "accuracy")["value"].tolist() == [0.7]
    assert (tmp_path / "decoders.csv").read_bytes() == decoders
    assert len(pd.read_csv(tmp_path / "runs.csv")) == 2
    store.replace_rows(tmp_path, Rows(later.runs, {}), ("decoders",))
    assert not (tmp_path / "decoders.csv").exists()
    assert len(pd.read_csv(tmp_path / "runs.csv")) == 1


def test_wrong_measurements() -> None:
    with pytest.raises(ValueError, match="unknown kind"):
        Measurement(kind="accurracy", metric="top1", value=1, n=1)
    with pytest.raises(ValueError, match="has no dimension 'block'"):
        Measurement(kind="accuracy", metric="top1", value=1, n=1, block=4)
    with pytest.raises(ValueError, match="not a number"):
        Measurement(kind="accuracy", metric="top1", value=float("nan"), n=1)


def test_the_committed_rows_are_of_this_form() -> None:
    results = REPO_ROOT / "results"
    for folder in (results, results / "demo"):
        for path in folder.glob("*.csv"):
            if path.stem != store.RUNS:
                assert len(store.read_rows(folder, path.stem)), path
    benchmarks = sorted((results / "benchmarks").glob("*.csv"))
    assert len(benchmarks) > 10
    for path in benchmarks:
        assert len(store.read_benchmark(path)), path


def test_benchmarks_of_another_form_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "codes.csv"
    text, numbers = schema.benchmark_columns("codes")
    row = dict.fromkeys(text, "x") | dict.fromkeys(numbers, 1)
    pd.DataFrame([row]).to_csv(path, index=False)
    assert store.read_benchmark(path)["pairs"].tolist() == [1]
    for wrong, message in (
        ({name: of for name, of in row.items() if name != "pairs"}, "lacks a column: 'pairs'"),
        (row | {"pears": 1}, "has a column that is not its own: 'pears'"),
        (row | {"pairs": "many"}, "'pairs' holds something that is not a number"),
        (row | {"pairs": True}, "'pairs' holds something that is not a number"),
        (row | {"pairs": "9" * 400}, "'pairs' holds something that is not a number"),
    ):
        pd.DataFrame([wrong]).to_csv(path, index=False)
        with pytest.raises(UserError, match=message):
            store.read_benchmark(path)
    pd.DataFrame([row]).to_csv(path)
    path.write_text(path.read_text().removeprefix(","))  # a column more than the header says
    with pytest.raises(UserError, match="line 2 has more cells than the header"):
        store.read_benchmark(path)
