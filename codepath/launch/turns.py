"""One submission or cancellation in RUNS at a time."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from codepath.core.files import make_directory
from codepath.core.locks import locked

LOCK = ".lock"
"""In RUNS/jobs."""
_PATIENCE_S = 600.0
"""Seconds that a submission waits for another one; a busy Slurm takes its time to answer."""


def submitting(runs: Path) -> AbstractContextManager[None]:
    """Keep other submissions and cancellations in RUNS waiting while the context lasts.

    Raises InUseError where one of them goes on for very long.
    """
    return locked(
        make_directory(runs / "jobs") / LOCK,
        f"another submission in {runs} has been under way for long: repeat when it has ended",
        _PATIENCE_S,
    )
