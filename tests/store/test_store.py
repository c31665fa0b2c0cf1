from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import pytest

from codepath import store
from codepath.runtime import UserError
from codepath.store import Measurement, Provenance

PROVENANCE = Provenance(
    experiment="table2-tiny",
    run_id="table2-tiny-demo-coded-s0-0",
    scale="demo",
    dataset="tiny",
    source="generated",
    model="coded",
    seed=0,
    device="cpu",
    commit="abc",
    dirty=False,
    created="2026-01-01T00:00:00.000000+00:00",
)


def rows(value: float, **changes: object) -> dict:
    provenance = dataclasses.replace(PROVENANCE, **changes)
    return store.rows_of(
        [
            Measurement(kind="accuracy", metric="top1", value=value, n=10),
            Measurement(kind="decoders", metric="top1", value=value, n=10, block=4),
        ],
        provenance,
    )


def test_rows_come_back_as_they_went_in(tmp_path) -> None:
    assert store.append_rows(tmp_path, rows(0.1 + 0.2)) == 2
    frame = store.read_rows(tmp_path, "decoders")
    assert list(frame.columns) == list(store.COLUMNS)
    (row,) = frame.to_dict("records")
    assert row["value"] == 0.1 + 0.2
    assert row["block"] == 4
    assert not row["dirty"]
    assert frame["class"].isna().all()


def test_appending_twice_changes_nothing(tmp_path) -> None:
    store.append_rows(tmp_path, rows(0.5))
    before = (tmp_path / "accuracy.csv").read_bytes()
    assert store.append_rows(tmp_path, rows(0.5)) == 0
    assert (tmp_path / "accuracy.csv").read_bytes() == before


def test_the_latest_of_equal_keys_counts_and_old_rows_stay(tmp_path) -> None:
    store.append_rows(tmp_path, rows(0.7, created="2026-02-01T00:00:00.000000+00:00"))
    store.append_rows(tmp_path, rows(0.5))
    store.append_rows(tmp_path, rows(0.6, seed=1, run_id="other"))
    frame = store.read_rows(tmp_path, "accuracy")
    assert dict(zip(frame["seed"], frame["value"], strict=True)) == {0: 0.7, 1: 0.6}
    assert len((tmp_path / "accuracy.csv").read_text().splitlines()) == 4


def test_many_writers_lose_nothing(tmp_path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda seed: store.append_rows(tmp_path, rows(0.5, seed=seed, run_id=str(seed))),
                range(24),
            )
        )
    assert sorted(store.read_rows(tmp_path, "accuracy")["seed"]) == list(range(24))


def test_absent_and_foreign_tables(tmp_path) -> None:
    assert store.read_rows(tmp_path, "accuracy").empty
    (tmp_path / "accuracy.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"not a table of results|cannot read"):
        store.read_rows(tmp_path, "accuracy")


def test_unknown_kind() -> None:
    with pytest.raises(ValueError, match="unknown kind"):
        Measurement(kind="accurracy", metric="top1", value=1, n=1)
