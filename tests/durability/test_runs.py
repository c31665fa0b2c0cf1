"""Power cuts while a run trains, is measured and collected: its command ends it as undisturbed."""

from __future__ import annotations

import contextlib
import functools
import json
import random
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from codepath import store
from codepath.run.directory import is_done
from codepath.run.state import look
from codepath.train.checkpoint import load_checkpoint
from tests.durability.cuts import State, Tree, explained
from tests.durability.recorder import Recorder
from tests.durability.undisturbed import Undisturbed
from tests.train.runs import assert_same_run

RUN = "runs/demo/table2-tiny/baseline-s3"


@functools.cache
def step_of(content: bytes) -> int:
    """The step of a checkpoint; raises where it is damaged."""
    path = type("InMemory", (), {"read_bytes": lambda _: content})()
    return int(load_checkpoint(path)["step"])


def below(tree: Tree, folder: str) -> dict[str, bytes]:
    """The files of a folder."""
    return {
        name.removeprefix(f"{folder}/"): content
        for name, content in tree.items()
        if content is not None and name.startswith(f"{folder}/")
    }


def parsed(content: bytes) -> list[Any]:
    """The lines of JSON that are whole."""
    found = []
    for line in content.split(b"\n"):
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return found


def check_promises(state: State, whole: Tree) -> None:
    """What holds of the files after a cut, before anything is repeated.

    Args:
        state: after the cut.
        whole: what there is at the end without a cut.
    """
    here, end = below(state.tree, RUN), below(whole, RUN)
    marks = state.marks
    # Every checkpoint under its final name is whole, and none that was saved is lost.
    steps = [step_of(data) for name, data in here.items() if name.startswith("ckpt/step-")]
    newest = max(steps, default=0)
    assert newest >= max((m[1] for m in marks if isinstance(m, tuple)), default=0)
    # What came before a checkpoint is reported.
    lines, every = (parsed(files.get("metrics.jsonl", b"")) for files in (here, end))
    before = [
        line for line in every
        if line["step"] < newest or (line["step"] == newest and line["kind"] == "steps")
    ]  # fmt: skip
    assert lines[: len(before)] == before
    # Final weights vouch for the run's training, DONE for all.
    vouched = [*end] if "DONE" in here else []
    if "model.safetensors" in here:
        vouched += ["model.safetensors", "metrics.jsonl", "config.json", "env.json"]
        vouched += ["model/model.safetensors", "model/config.json"]
    for name in vouched:
        if not name.endswith((".lock", ".jsonl", "heartbeat.json")) or name == "metrics.jsonl":
            assert here.get(name) == end[name], name
    assert ("model.safetensors" in here) >= ("fit" in marks)
    assert ("DONE" in here) >= ("mark_done" in marks)
    # The results are those of finished runs, and hold every number once.
    results, final = below(state.tree, "results"), below(whole, "results")
    tables = [name for name in results if name.endswith(".csv") and not name.startswith(".")]
    assert {name: results[name] for name in tables} == {name: final[name] for name in tables}
    assert not tables or ("DONE" in here and "runs.csv" in tables)
    if "collect" in marks:
        assert {"runs.csv", "accuracy.csv", "cost.csv"} == set(tables)


def without_times(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return frame.drop(columns=["run", "created"]).to_dict("records")


def check_goes_on(run: Undisturbed, folder: Path) -> None:
    """The command, repeated, ends with the weights, metrics and rows of the undisturbed run."""
    run_dir = folder / RUN
    look(run_dir)
    run.command(folder)
    assert_same_run(run.folder / RUN, run_dir)
    assert is_done(run_dir, run.config)
    assert look(run_dir).state == "done"
    for kind in ("accuracy", "cost"):
        found = store.read_rows(folder / "results", kind)
        assert without_times(found) == without_times(store.read_rows(run.folder / "results", kind))
        assert found["run"].nunique() == 1
    assert not list(run_dir.glob(".*.tmp"))
    assert not list(run_dir.glob("ckpt/.*.tmp"))


def kind_of(state: State) -> Hashable:
    """What a repeated command finds, in the main."""
    here = below(state.tree, RUN)
    steps = [step_of(data) for name, data in here.items() if name.startswith("ckpt/step-")]
    lines = here.get("metrics.jsonl", b"\0").splitlines()
    torn = bool(lines) and not lines[-1].endswith(b"}")
    vouchers = [name in here for name in ("config.json", "model.safetensors", "DONE")]
    return max(steps, default=0), torn, *vouchers, len(below(state.tree, "results"))


def look_at(states: list[State], whole: Tree, seed: int) -> dict[Hashable, list[State]]:
    """Check what is promised of all states; return them by their kinds."""
    kinds: dict[Hashable, list[State]] = {}
    for state in states:
        with explained(state, seed):
            check_promises(state, whole)
        kinds.setdefault(kind_of(state), []).append(state)
    return kinds


def drawn(kinds: dict[Hashable, list[State]], most: int, rng: random.Random) -> list[State]:
    """Some states, as many kinds as possible."""
    states = [state for some in kinds.values() for state in some]
    found = [rng.choice(some) for some in kinds.values()]
    rng.shuffle(found)
    return [*found, *rng.sample(states, min(len(states), max(most - len(found), 0)))][:most]


def check(run: Undisturbed, folder: Path, each: int, most: int, seed: int) -> dict[Hashable, Any]:
    """Look at all states, and go on from `most` of them; return the states by their kinds."""
    recording = run.recording
    kinds = look_at(recording.states(each, seed), recording.last(), seed)
    for state in drawn(kinds, most, random.Random(seed)):
        with explained(state, seed):
            check_goes_on(run, state.write(folder))
    return kinds


def test_a_run_goes_on_after_every_cut(run: Undisturbed, tmp_path: Path) -> None:
    """All states are looked at; a few of different kinds go on."""
    kinds = check(run, tmp_path / "cut", each=40, most=8, seed=0)
    looked_at = sum(map(len, kinds.values()))
    assert looked_at > 200
    assert len(kinds) > 10


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_goes_on_after_every_kind_of_cut(run: Undisturbed, tmp_path: Path, seed: int) -> None:
    kinds = check(run, tmp_path / "cut", each=500, most=150, seed=seed)
    looked_at = sum(map(len, kinds.values()))  # pytest would write the states out, in gigabytes
    assert looked_at > 800
    assert len(kinds) > 12


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_second_cut_while_the_run_goes_on(run: Undisturbed, tmp_path: Path, seed: int) -> None:
    """The command that goes on after a cut is recorded, and is itself cut."""
    rng = random.Random(seed)
    kinds = look_at(run.recording.states(40, seed), run.recording.last(), seed)
    for first in drawn(kinds, len(kinds), rng):
        folder = first.write(tmp_path / "first")
        with Recorder(folder) as recorder:
            run.command(folder)
        recording = recorder.recording
        again = look_at(recording.states(40, seed), recording.last(), seed)
        for state in drawn(again, 3, rng):
            with explained(state, seed):
                check_goes_on(run, state.write(tmp_path / "second"))
