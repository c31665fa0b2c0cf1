"""The rehearsal of a lease, killed and gone on with, leaves the rows of an undisturbed one."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pandas as pd
import pytest

from codepath.core.provenance import REPO_ROOT
from codepath.store import KINDS, read_benchmark, read_rows

COMMAND = [sys.executable, "-m", "codepath.cli", "lease", "--rehearse", "--out"]
ORIGIN = ["run", "commit", "dirty", "created"]
"""Columns in which equal runs differ."""


def rows_of(folder: Path) -> dict[str, pd.DataFrame]:
    """All rows of the runs, in one order."""
    found = {}
    for kind in KINDS:
        rows = read_rows(folder / "results", kind).drop(columns=ORIGIN, errors="ignore")
        found[kind] = rows.sort_values(list(rows)).reset_index(drop=True)
    return found


def measured_of(folder: Path) -> set[tuple[str, ...]]:
    """What was timed, and of what there is a profile."""
    found: set[tuple[str, ...]] = set()
    for path in (folder / "results" / "benchmarks").glob("*.csv"):
        rows = read_benchmark(path)[["network", "model", "way"]].drop_duplicates()
        found |= {(path.name, *row) for row in rows.itertuples(index=False)}
    return found


def records(folder: Path) -> dict[str, dict[str, object]]:
    """What became of each part."""
    found: dict[str, dict[str, object]] = json.loads((folder / "lease.json").read_text())["parts"]
    return found


@pytest.mark.slow
def test_a_rehearsal_that_is_killed_three_times_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    began = time.monotonic()
    subprocess.run([*COMMAND, str(straight)], cwd=REPO_ROOT, check=True)
    whole = time.monotonic() - began
    moments = random.Random(int(began))
    for _ in range(3):
        lease = subprocess.Popen([*COMMAND, str(killed)], cwd=REPO_ROOT, start_new_session=True)
        wait = moments.uniform(3, 0.5 * whole)
        try:
            lease.wait(wait)
        except subprocess.TimeoutExpired:
            os.killpg(lease.pid, signal.SIGKILL)
            lease.wait()
        print(f"killed after {wait:.0f} s, exit code {lease.returncode}")
    subprocess.run([*COMMAND, str(killed)], cwd=REPO_ROOT, check=True)
    expected, found = rows_of(straight), rows_of(killed)
    assert len(expected["accuracy"]) == 4
    for kind, rows in expected.items():
        pd.testing.assert_frame_equal(found[kind], rows, obj=kind)
    assert records(killed).keys() == records(straight).keys()
    for name, record in records(killed).items():
        if name != "tests":  # as far as its seconds allow
            assert record["state"] == "done" or record["said"] == "its rows are there", record
    assert measured_of(killed) == measured_of(straight)
    pieces = sorted((killed / "back").glob("lease.tar.*"))
    with tarfile.open(fileobj=io.BytesIO(b"".join(map(Path.read_bytes, pieces)))) as archive:
        packed = "\n".join(archive.getnames())
    for name in ("accuracy.csv", "step-cpu.csv", "profile-cpu.csv", "lease.md", "coded-s1.log"):
        assert name in packed.replace("-demo", "")
    assert packed.count("model.safetensors") == 4
