"""The picklable task of a job."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class RunTask:
    """Train and evaluate one run. Holds plain values alone, so that it unpickles anywhere.

    The run resumes from its directory, so a preempted or timed-out job is simply queued again.
    """

    config: dict[str, Any]
    runs: Path
    results: Path
    data: Path | None = None
    backend: str = "auto"

    def __call__(self) -> str:
        """Do the run and return its id."""
        from rich.console import Console

        from codepath import jobs
        from codepath.config import run_config_from_dict
        from codepath.rundir import Places

        config = run_config_from_dict(self.config)
        jobs.run(config, Places(self.runs, self.results), Console(), self.data, self.backend)
        return config.run_id

    def checkpoint(self) -> Any:
        """Submitit: what to queue when the job is preempted or reaches its time limit."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)
