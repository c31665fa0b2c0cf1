"""`codepath watch` and `codepath status` say the same of a run."""

from __future__ import annotations

import io
import json
import socket
from pathlib import Path

import pytest
from rich.console import Console

from codepath.core.errors import LostProcessesError, UserError
from codepath.core.files import make_directory
from codepath.run import events
from codepath.run.config import RunConfig
from codepath.run.directory import claim, mark_done
from codepath.run.slurm import JobState
from codepath.run.state import STATES, look, table
from codepath.run.watch import report
from codepath.train.metrics import MetricsFile

NO_PROCESS = 2**22 + 1
"""Above the largest process number of Linux."""


@pytest.fixture
def run_dir(tiny_config: RunConfig, tmp_path: Path, outside_jobs: None) -> Path:
    """A run that nothing has happened to."""
    del outside_jobs
    path = make_directory(tmp_path / tiny_config.scale / tiny_config.experiment / tiny_config.name)
    claim(tiny_config, path)
    return path


def _bring(run_dir: Path, config: RunConfig, state: str) -> None:
    """Let that happen which ends in `state`."""
    if state in ("waiting", "cancelled"):
        order = {"cluster": "slurm", "job": "12_0", "folder": str(run_dir)}
        events.write_order(run_dir, order)
        events.note(run_dir, "submitted")
        if state == "cancelled":
            events.note(run_dir, "cancelled")
    elif state == "failed":
        events.beat(run_dir, "training")
        events.note_failure(run_dir, UserError("no space left: remove something"))
    elif state == "done":
        mark_done(run_dir, config)
    elif state == "stopped":
        place = {"host": socket.gethostname(), "pid": NO_PROCESS, "job": "", "cluster": ""}
        events.note(run_dir, "started", **place)
    elif state == "running":
        events.beat(run_dir, "evaluating")


@pytest.mark.parametrize("state", STATES)
def test_watch_and_status_agree(state: str, run_dir: Path, tiny_config: RunConfig) -> None:
    _bring(run_dir, tiny_config, state)
    status = look(run_dir)
    assert status.state == state
    out = io.StringIO()
    Console(file=out, width=300).print(report(status))
    said, listed = out.getvalue(), table([status])
    assert f"scale: {state}" in said
    assert listed[0].startswith(state)
    for line in status.error:
        assert line in said
    if state == "running":
        assert "evaluating" in said
        assert "evaluating" in listed[0]


def test_watch_believes_slurm_as_status_does(run_dir: Path, tiny_config: RunConfig) -> None:
    _bring(run_dir, tiny_config, "waiting")
    status = look(run_dir, {"12_0": JobState("OUT_OF_MEMORY")})
    out = io.StringIO()
    Console(file=out, width=300).print(report(status))
    assert "scale: failed" in out.getvalue()
    assert "ended by OUT_OF_MEMORY" in out.getvalue()


@pytest.mark.parametrize("reason", ["launch failed requeued held", "JobHeldUser"])
def test_a_job_that_slurm_holds_says_how_it_goes_on(
    reason: str, run_dir: Path, tiny_config: RunConfig
) -> None:
    _bring(run_dir, tiny_config, "waiting")
    status = look(run_dir, {"12_0": JobState("PENDING", reason)})
    assert status.progress == "held: scontrol release 12_0"
    assert look(run_dir, {"12_0": JobState("PENDING", "Resources")}).progress == ""


def test_a_failure_that_follows_another_says_so(run_dir: Path) -> None:
    events.note_failure(run_dir, LostProcessesError("process 1 of 2 lost the others"))
    events.note_failure(run_dir, UserError("one of its own"))
    assert [event.get("follows_another", False) for event in events.events(run_dir)] == [
        True,
        False,
    ]


def shown(run_dir: Path) -> str:
    out = io.StringIO()
    Console(file=out, width=300).print(report(look(run_dir)))
    return out.getvalue()


def test_a_failure_is_shown_as_it_is(run_dir: Path) -> None:
    """Its brackets are no markup of the terminal."""
    events.note(run_dir, "failed", error=["cannot read [/data/x] of [red]"])
    assert "cannot read [/data/x] of [red]" in shown(run_dir)


@pytest.mark.parametrize(
    "line",
    [
        '{"kind": "steps", "step": "3"}',
        '{"kind": "steps", "step": 3, "epoch": 1, "loss": null}',
        '{"kind": "steps", "step": 3, "epoch": 1, "time": "soon"}',
        '{"kind": "steps", "step": 3, "epoch": 1, "loss": 1, "cross_entropy": 1, "train_top1": 1, '
        '"lr": 0.1, "memory_mib": 9.0, "time": null}',
        '{"kind": "epoch", "step": 3, "epoch": 0}',
        '{"kind": "epoch", "step": 3}',
        '{"kind": ["epoch"], "step": 3}',
    ],
)
def test_lines_of_metrics_that_are_none_are_left_out(line: str, run_dir: Path) -> None:
    metrics = run_dir / "metrics.jsonl"
    whole = (
        '{"kind": "steps", "step": 2, "epoch": 1, "loss": 0.5, "cross_entropy": 0.5, '
        '"train_top1": 0.25, "lr": 0.1, "memory_mib": 9.0, '
        '"time": "2026-01-01T00:00:00+00:00"}'
    )
    metrics.write_text(f"{whole}\n{line}\n")
    assert "25.00 % on training images" in shown(run_dir)
    MetricsFile(run_dir, writes=True).rewind(5)
    assert json.loads(metrics.read_text().splitlines()[0])["loss"] == 0.5


@pytest.mark.parametrize("content", ["{", "[]", '{"step": "x", "first": 1}', "[" * 10**5])
def test_a_damaged_note_of_a_divergence(content: str, run_dir: Path) -> None:
    (run_dir / "divergence.json").write_text(content)
    assert "scale: new" in shown(run_dir)


def test_a_folder_whose_name_no_file_system_takes_is_a_failed_run(tmp_path: Path) -> None:
    status = look(tmp_path / ("x" * 1000))
    assert status.state == "failed"
    assert "File name too long" in status.error[0]
