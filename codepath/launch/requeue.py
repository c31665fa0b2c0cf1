"""Whether a job goes on after a stop: judged by the events and the saved files of its run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from codepath.run.events import current_job, events, note, read_order, since
from codepath.run.state import find_runs, look

ATTEMPTS = 3
"""A job that saved nothing in this many attempts is not queued again."""


def since_submission(run_dir: Path) -> list[dict[str, Any]]:
    """The run's events from its last submission on."""
    return since(events(run_dir), "submitted")


def is_cancelled(run_dir: Path) -> bool:
    """Whether the run was cancelled since it was submitted or last started."""
    happened = since(since_submission(run_dir), "started")
    return any(one["event"] == "cancelled" for one in happened)


def failed_by_itself(run_dir: Path) -> bool:
    """Whether a process of the last attempt failed, and not because other processes were gone."""
    return any(
        one["event"] == "failed" and not one.get("follows_another")
        for one in since(events(run_dir), "started")
    )


def note_stop(run_dir: Path, why: str = "") -> bool:
    """Note that an attempt stopped; return whether another attempt is to be made.

    There is no other attempt for a cancelled run, of which nothing is noted. Nor is there one where
    the last ATTEMPTS attempts saved nothing, which is noted as the run's failure.
    """
    if is_cancelled(run_dir):
        return False
    job, saved = current_job(), _saved(run_dir)
    stops = [one for one in since_submission(run_dir) if one["event"] == "stopped"]
    before = [one["saved"] for one in stops if one.get("job") == job and "saved" in one]
    note(run_dir, "stopped", job=job, saved=saved, **({"why": why} if why else {}))
    recent = [*before, saved][-ATTEMPTS:]
    if len(recent) == ATTEMPTS and all(one == saved for one in recent):
        reason = f"{ATTEMPTS} attempts saved nothing: give the job more time or memory"
        note(run_dir, "failed", error=[reason], job=job)
        return False
    return True


def _saved(run_dir: Path) -> list[list[str]]:
    """Names and times of what the run has saved: they change whenever something new is saved."""
    files = [*sorted((run_dir / "ckpt").glob("[!.]*")), run_dir / "model.safetensors"]
    return [[f.name, str(f.stat().st_mtime_ns)] for f in files if f.exists()]


def job_goes_on(runs: Path) -> bool:
    """Whether this process's Slurm job is to be queued again after a signal ended its step.

    The job's batch script asks this. The stop is noted for the job's unfinished run, unless that
    run failed by itself. A job without an unfinished run (it prepares data, or was stopped before
    its run began) gets ATTEMPTS attempts in all.
    """
    job = current_job()
    unfinished = [
        run for run in find_runs(runs) if _job_of(run) == job and look(run).state != "done"
    ]
    if not unfinished:
        return int(os.environ.get("SLURM_RESTART_COUNT") or 0) < ATTEMPTS - 1
    if any(map(failed_by_itself, unfinished)):
        return False
    noted = [note_stop(run, "its step was stopped") for run in unfinished]
    return all(noted)


def _job_of(run_dir: Path) -> str:
    """The job of the run's last start since it was submitted; without one, its order's job."""
    last = since(since_submission(run_dir), "started")[:1]
    started = last[0] if last and last[0]["event"] == "started" else {}
    return str(started.get("job") or read_order(run_dir).get("job") or "")
