"""Slurm's states of jobs. A run's files decide what it is doing; Slurm only explains."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

PATIENCE_S = 10
WAITING = frozenset(
    ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT")
)
RUNNING = frozenset(("RUNNING", "COMPLETING", "STAGE_OUT", "SIGNALING", "SUSPENDED", "STOPPED"))


@dataclass(frozen=True)
class JobState:
    """The state of a job, in Slurm's words."""

    state: str
    """For instance PENDING or OUT_OF_MEMORY."""
    reason: str = ""
    """Why the job waits, or why it ended."""

    @property
    def words(self) -> str:
        """State and reason."""
        return f"{self.state} ({self.reason})" if self.reason else self.state

    @property
    def is_held(self) -> bool:
        """Whether the job waits until a person releases it."""
        return self.state in WAITING and "held" in self.reason.lower()


def job_states(jobs: Iterable[str]) -> dict[str, JobState] | None:
    """The state of each job that Slurm knows, by its id (ARRAY_INDEX or plain).

    None where Slurm does not answer: this machine has no Slurm, or Slurm is down.
    """
    wanted = {job for job in jobs if job}
    if not wanted:
        return {}
    listed = _ask(
        "squeue",
        "--noheader",
        "--array",
        "--states=all",
        f"--user={os.getuid()}",
        "--format=%i|%T|%r",
    )
    if listed is None:
        return None
    found = {}
    for line in listed.splitlines():
        job, *said = line.strip().split("|", 2)
        if job in wanted and len(said) == 2:  # a site's wrapper may print lines of its own
            state, reason = said
            found[job] = JobState(state, "" if reason == "None" else reason)
    left = wanted - set(found)
    if left:
        numbers = ",".join(sorted({job.split("_")[0] for job in left}))
        accounted = _ask(
            "sacct", "-X", "--noheader", "--parsable2", "--format=JobID,State", f"--jobs={numbers}"
        )
        for line in (accounted or "").splitlines():
            job, _, state = line.partition("|")
            if job in left and state:  # it may read "CANCELLED by 0"
                found[job] = JobState(*state.split(" ", 1))
    return found


def job_state(job: str) -> JobState | None:
    """The state of one job; None where Slurm does not know it or does not answer."""
    return (job_states([job]) or {}).get(job)


def _ask(*command: str) -> str | None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
