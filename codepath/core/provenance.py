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
"""The folder that this package is imported from: its checkout, a job's copy of it, or, where the
package is installed, the folder of all installed packages."""


CHECKOUT = REPO_ROOT if (REPO_ROOT / "pyproject.toml").is_file() else None
"""The checkout that holds this package, or a job's copy of it; None where it is installed."""


SHIPPED = CHECKOUT or PACKAGE_ROOT / "shipped"
"""Where files lie that belong to the project and are no modules of the package: benchmarks/,
paper/reference/ and slurm/. A wheel brings them along inside the package."""


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
    """(commit, dirty) of the checkout; ("version-0.1.0", False) without one.

    A repository that merely holds the environment in which this package is installed says nothing
    about this package. Changed files under results/ and paper/ do not make a checkout dirty, since
    runs write them. A job's copy of a checkout carries the state of that checkout.
    """
    copied = REPO_ROOT / SNAPSHOT
    if copied.exists():
        state = json.loads(copied.read_text())
        return state["commit"], state["dirty"]
    if CHECKOUT is None:
        return _installed(), False

    def git(*args: str) -> str:
        return subprocess.run(
            ["git", "-C", str(CHECKOUT), *args],
            check=True,
            capture_output=True,
            text=True,
            timeout=20,
        ).stdout.strip()

    try:
        top, commit = git("rev-parse", "--show-toplevel", "--short=12", "HEAD").splitlines()
        if Path(top).resolve() != CHECKOUT.resolve():
            return _installed(), False
        changed = git("status", "--porcelain", "--", ".", ":!results", ":!paper")
    except (OSError, subprocess.SubprocessError):
        return _installed(), False
    return commit, bool(changed)


def _installed() -> str:
    """The installed version; a folder that is merely on Python's path has none."""
    try:
        return f"version-{importlib.metadata.version('codepath')}"
    except importlib.metadata.PackageNotFoundError:
        return "version-unknown"


def is_commit(state: str) -> bool:
    """Whether what `git_state` says is a commit, not an installed version."""
    return not state.startswith("version-")


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


def is_time(text: object) -> bool:
    """Whether something is a time as `now` writes it: of the ISO's form, with its zone."""
    try:
        return isinstance(text, str) and datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
