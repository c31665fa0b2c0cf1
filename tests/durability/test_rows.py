"""Power cuts while rows are appended, replaced, collected and put beside benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path

import pandas as pd
import pytest

from codepath import store
from codepath.core.files import make_directory
from codepath.store import Measurement, Provenance, Rows
from codepath.store.schema import benchmark_columns
from tests.durability.cuts import Extent, check_states
from tests.durability.recorder import Recorder
from tests.made_up import BASE

KINDS = ("accuracy", "decoders", "cost")
Operation = Callable[[Path], object]


def rows(seed: int, value: float, kinds: tuple[str, ...] = KINDS, created: int = 1) -> Rows:
    """Rows of a run, measured on some day of January."""
    of = {"decoders": {"block": 4, "decoder": "eq7"}, "cost": {"stage": "stem"}}
    measurements = [
        Measurement(kind=kind, metric="m", value=value, n=10, **of.get(kind, {})) for kind in kinds
    ]
    day = f"2026-01-{created:02}T00:00:00.000000+00:00"
    facts = BASE.__dict__ | {"seed": seed, "run_id": f"run-{seed}", "created": day}
    return store.rows_of(measurements, Provenance(**facts))


def found(folder: Path) -> dict[tuple[str, int], float]:
    """Kind and seed -> the number of it that counts; each stands in its file once."""
    numbers = {}
    for kind in KINDS:
        path = folder / f"{kind}.csv"
        lines = path.read_text().splitlines() if path.exists() else []
        assert len(lines) == len(set(lines))
        for row in store.read_rows(folder, kind).to_dict("records"):
            assert (kind, row["seed"]) not in numbers
            numbers[kind, row["seed"]] = row["value"]
    return numbers


def tables(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*.csv")}


def two_runs(folder: Path) -> list[Path]:
    """Run directories with rows of their own."""
    runs = [folder / "runs" / str(seed) for seed in (2, 3)]
    for seed, run in zip((2, 3), runs, strict=True):
        if not run.exists():
            store.append_rows(run / "rows", rows(seed, 0.5))
    return runs


APPENDED: dict[str, tuple[Operation, dict[tuple[str, int], float]]] = {
    "append": (
        lambda folder: store.append_rows(folder / "results", rows(2, 0.5)),
        {(kind, seed): value for kind in KINDS for seed, value in ((0, 0.25), (1, 0.5), (2, 0.5))},
    ),
    "collect": (
        lambda folder: store.collect(folder / "results", two_runs(folder)),
        {
            (kind, seed): value
            for kind in KINDS
            for seed, value in ((0, 0.25), (1, 0.5), (2, 0.5), (3, 0.5))
        },
    ),
    "measured again": (
        lambda folder: store.append_rows(folder / "results", rows(0, 0.75, created=2)),
        {(kind, seed): value for kind in KINDS for seed, value in ((0, 0.75), (1, 0.5))},
    ),
}


@pytest.mark.parametrize(("operate", "after"), list(APPENDED.values()), ids=list(APPENDED))
def test_appended_rows(
    operate: Operation, after: dict[tuple[str, int], float], tmp_path: Path, extent: Extent
) -> None:
    """What was there stays, nothing counts twice, and the same call makes up for what was lost."""
    folder = make_directory(tmp_path / "folder")
    store.append_rows(folder / "results", rows(0, 0.25))
    store.append_rows(folder / "results", rows(1, 0.5))
    two_runs(folder)
    before = found(folder / "results")
    with Recorder(folder) as recorder:
        operate(folder)
        recorder.mark("returned")
    assert found(folder / "results") == after
    final = tables(folder / "results")

    def check(left: Path, marks: tuple[Hashable, ...]) -> None:
        here = found(left / "results")
        assert set(before) <= set(here)
        assert all(value in (before.get(which), after[which]) for which, value in here.items())
        assert "returned" not in marks or here == after
        operate(left)
        assert tables(left / "results") == final

    assert check_states(recorder.recording, tmp_path / "cut", check, extent) > 20


@pytest.mark.parametrize("kinds", [("accuracy", "decoders"), KINDS], ids=["some kinds", "all"])
def test_rows_that_replace_others(kinds: tuple[str, ...], tmp_path: Path, extent: Extent) -> None:
    """A run is measured again and has only one of its kinds now; kinds not asked for stay."""
    folder = make_directory(tmp_path / "folder") / "rows"
    store.append_rows(folder, rows(0, 0.25))
    old = {(kind, 0): 0.25 for kind in KINDS}
    new = {(kind, 0): 0.25 for kind in KINDS if kind not in kinds} | {("accuracy", 0): 0.75}
    again = rows(0, 0.75, ("accuracy",), created=2)

    with Recorder(folder.parent) as recorder:
        store.replace_rows(folder, again, kinds)
        recorder.mark("returned")
    assert found(folder) == new
    final = tables(folder)

    def check(left: Path, marks: tuple[Hashable, ...]) -> None:
        here = found(left / "rows")
        assert set(new) <= set(here) <= set(old)
        assert all(value in (old[which], new.get(which)) for which, value in here.items())
        assert "returned" not in marks or here == new
        store.replace_rows(left / "rows", again, kinds)
        assert tables(left / "rows") == final

    assert check_states(recorder.recording, tmp_path / "cut", check, extent) > 20


def test_rows_of_a_benchmark(tmp_path: Path, extent: Extent) -> None:
    def frame(**values: float) -> pd.DataFrame:
        text, numbers = benchmark_columns("step")
        rows = [
            dict.fromkeys(text, "x") | dict.fromkeys(numbers, 1.0) | {"way": way, "value": value}
            for way, value in values.items()
        ]
        return pd.DataFrame(rows)[[*text, *numbers]]

    def values(path: Path) -> dict[str, float]:
        return store.read_benchmark(path).set_index("way")["value"].to_dict()

    def operate(folder: Path) -> None:
        path = make_directory(folder / "benchmarks") / "step.csv"
        store.put_benchmark(path, frame(launched=5.0, recorded=6.0), ("network", "way"))

    folder = make_directory(tmp_path / "folder")
    old = {"launched": 1.0, "compiled": 2.0}
    new = {"compiled": 2.0, "launched": 5.0, "recorded": 6.0}
    store.put_benchmark(make_directory(folder / "benchmarks") / "step.csv", frame(**old), ())
    with Recorder(folder) as recorder:
        operate(folder)
        recorder.mark("returned")

    def check(left: Path, marks: tuple[Hashable, ...]) -> None:
        path = left / "benchmarks" / "step.csv"
        assert values(path) in ([new] if "returned" in marks else [old, new])
        operate(left)
        assert values(path) == new

    assert check_states(recorder.recording, tmp_path / "cut", check, extent) > 5
