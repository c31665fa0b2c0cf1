"""Whether a job goes on after a stop, by what its run has noted and saved."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from codepath.run.events import current_job, events, note, read_order
from codepath.run.state import find_runs

ATTEMPTS = 3
"""A job that saved nothing in so many attempts is not queued again."""


def since_submission(run_dir: Path) -> list[dict[str, Any]]:
    """The run's events from its last submission on."""
    return _since(events(run_dir), "submitted")


def _since(happened: list[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    found = [k for k, one in enumerate(happened) if one["event"] == event]
    return happened[found[-1] if found else 0 :]


def is_cancelled(run_dir: Path) -> bool:
    """Whether the run was cancelled since it was submitted or last started."""
    happened = _since(since_submission(run_dir), "started")
    return any(one["event"] == "cancelled" for one in happened)


def failed_by_itself(run_dir: Path) -> bool:
    """Whether a process of the last attempt failed by itself, not because another one was gone."""
    return any(
        one["event"] == "failed" and not one.get("follows_another")
        for one in _since(events(run_dir), "started")
    )


def note_stop(run_dir: Path, why: str = "") -> bool:
    """Note that an attempt stopped; whether another one is to be made.

    No other one is where the run was cancelled, or where the last ATTEMPTS saved nothing: that is
    noted as its failure.
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
    """What the run has saved by now: changes whenever anything new is."""
    files = [*sorted((run_dir / "ckpt").glob("[!.]*")), run_dir / "model.safetensors"]
    return [[f.name, str(f.stat().st_mtime_ns)] for f in files if f.exists()]


def job_goes_on(runs: Path) -> bool:
    """Whether the Slurm job that this process belongs to is to be queued again after a signal
    ended its step.

    Its batch script asks; what becomes of the job's unfinished run is noted there. A job without
    one (it prepares data, or was stopped before the run began) has ATTEMPTS in all.
    """
    job = current_job()
    unfinished = [run for run in find_runs(runs) if _job_of(run) == job and not _ended(run)]
    if not unfinished:
        return int(os.environ.get("SLURM_RESTART_COUNT") or 0) < ATTEMPTS - 1
    if any(map(failed_by_itself, unfinished)):
        return False
    noted = [note_stop(run, "its step was stopped") for run in unfinished]
    return all(noted)


def _ended(run_dir: Path) -> bool:
    return (run_dir / "DONE").exists()


def _job_of(run_dir: Path) -> str:
    """The job that the run belongs to by its last start, or by its order."""
    last = _since(since_submission(run_dir), "started")[:1]
    started = last[0] if last and last[0]["event"] == "started" else {}
    return str(started.get("job") or read_order(run_dir).get("job") or "")
