"""The commit, the package versions and the time that stand beside a number."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

PACKAGE_ROOT = Path(__file__).resolve().parents[1]


REPO_ROOT = PACKAGE_ROOT.parent
"""The checkout that holds this package (editable installation), or a job's copy of it."""


SNAPSHOT = "SNAPSHOT.json"
"""A file in a job's copy of the source: the commit that the copy was made from."""


REPORTED_PACKAGES = (
    "codepath",
    "torch",
    "torchvision",
    "timm",
    "ffcv",
    "numba",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "matplotlib",
    "seaborn",
    "submitit",
)


@functools.cache
def git_state() -> tuple[str, bool]:
    """(commit, dirty) of the checkout; ("unknown", False) outside a git checkout.

    Changed files under results/ and paper/ do not make a checkout dirty, since runs write them. A
    job's copy of a checkout carries the state of that checkout.
    """
    copied = REPO_ROOT / SNAPSHOT
    if copied.exists():
        state = json.loads(copied.read_text())
        return state["commit"], state["dirty"]

    def git(*args: str) -> str:
        return subprocess.run(
            ["git", "-C", str(REPO_ROOT), *args],
            check=True,
            capture_output=True,
            text=True,
            timeout=20,
        ).stdout.strip()

    try:
        commit = git("rev-parse", "--short=12", "HEAD")
        changed = git("status", "--porcelain", "--", ".", ":!results", ":!paper")
    except (OSError, subprocess.SubprocessError):
        return "unknown", False
    return commit, bool(changed)


def package_versions() -> dict[str, str]:
    """Installed version of every package that can change a result; absent ones are left out."""
    versions = {}
    for name in REPORTED_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def now() -> str:
    """The present time in UTC, ISO 8601 with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
