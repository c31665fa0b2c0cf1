"""Which jobs go on after a signal ended their step, without Slurm."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

from codepath.core.errors import UserError
from codepath.core.files import make_directory
from codepath.core.signals import InterruptedRun
from codepath.launch.requeue import ATTEMPTS, job_goes_on
from codepath.launch.task import RunTask
from codepath.run import events as runstate
from codepath.run.config import RunConfig
from codepath.run.directory import claim, mark_done
from codepath.run.events import beat, note, note_failure, write_order
from codepath.run.state import look
from codepath.train.distributed import Placement, World
from tests.cli.test_cli import call


@pytest.fixture
def run_dir(tiny_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A submitted run, in the batch script of its job 12."""
    for name in list(os.environ):
        if name.startswith(("SLURM_", "SUBMITIT_")) or name == "RANK":
            monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    path = make_directory(tmp_path / "demo" / tiny_config.experiment / tiny_config.name)
    claim(tiny_config, path)
    write_order(path, {"cluster": "slurm", "job": "12"})
    note(path, "submitted")
    return path


def start(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another attempt."""
    monkeypatch.setattr(runstate, "_started", set())
    beat(run_dir, "starting")


def test_a_killed_run_goes_on_while_it_saves_something(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for attempt in range(ATTEMPTS + 2):
        start(run_dir, monkeypatch)
        (make_directory(run_dir / "ckpt") / f"step-{attempt}.pt").write_text("progress")
        assert job_goes_on(tmp_path)
    assert (look(run_dir).state, look(run_dir).requeues) == ("waiting", ATTEMPTS + 2)
    for _ in range(ATTEMPTS - 2):
        start(run_dir, monkeypatch)
        assert job_goes_on(tmp_path)
    start(run_dir, monkeypatch)
    assert not job_goes_on(tmp_path)
    assert look(run_dir).state == "failed"
    assert "saved nothing" in look(run_dir).error[0]


def test_what_failed_by_itself_or_was_cancelled_does_not_go_on(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(run_dir, monkeypatch)
    gone = World(Placement(0, 2), torch.device("cpu")).lost(RuntimeError("Connection closed"))
    note_failure(run_dir, gone)
    assert job_goes_on(tmp_path)  # a process fails since another one was killed
    start(run_dir, monkeypatch)
    note_failure(run_dir, UserError("the disk is full"))
    assert not job_goes_on(tmp_path)
    RunTask("tiny", run_dir)._give_way(InterruptedRun("told to stop", signal.SIGTERM))
    assert look(run_dir).error == ("the disk is full",)
    note(run_dir, "submitted")
    start(run_dir, monkeypatch)
    note(run_dir, "cancelled")
    assert not job_goes_on(tmp_path)


def test_a_job_without_an_unfinished_run_has_its_attempts(
    run_dir: Path, tmp_path: Path, tiny_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark_done(run_dir, tiny_config)
    assert job_goes_on(tmp_path)
    assert call("job-goes-on", "--runs", str(tmp_path)).returncode == 0
    monkeypatch.setenv("SLURM_RESTART_COUNT", str(ATTEMPTS - 1))
    assert not job_goes_on(tmp_path)
    assert call("job-goes-on", "--runs", str(tmp_path)).returncode == 1


def test_runs_of_other_jobs_are_left_alone(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(run_dir, monkeypatch)
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    assert job_goes_on(tmp_path)
    assert look(run_dir).state == "running"
