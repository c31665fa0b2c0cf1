"""The copy of the source that jobs run, so that later edits do not reach queued jobs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from codepath.core.files import atomic_directory, copy_files, make_directory, write_text
from codepath.core.provenance import CHECKOUT, PACKAGE_ROOT, REPO_ROOT, SNAPSHOT, git_state

_PARTS = ("paper/reference", "slurm", "benchmarks", "pyproject.toml", "constraints.txt")
"""What is copied beside the package: files that jobs read, and the versions that were meant."""
_LEFT_OUT = ("__pycache__", ".pytest_cache")


def _files() -> list[Path]:
    """The files of a snapshot, in a fixed order."""
    found: list[Path] = []
    beside = [CHECKOUT / name for name in _PARTS] if CHECKOUT else []  # a wheel has them inside
    for part in (PACKAGE_ROOT, *beside):
        inside = part.rglob("*") if part.is_dir() else [part]
        found += [f for f in inside if f.is_file() and not set(_LEFT_OUT) & set(f.parts)]
    return sorted(found)


def snapshot_name() -> str:
    """Name of the snapshot of the present source: its commit and a checksum of its files."""
    digest = hashlib.sha256()
    for path in _files():
        digest.update(f"{path.relative_to(REPO_ROOT)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return f"{git_state()[0]}-{digest.hexdigest()[:8]}"


def take_snapshot(folder: Path) -> Path:
    """Copy the source to `folder`/COMMIT-CHECKSUM, unless it is there already; return that path.

    The copy appears whole or not at all. Its SNAPSHOT.json holds the commit, and whether the
    checkout had changes beyond that commit.
    """
    target = make_directory(folder) / snapshot_name()
    if target.exists():
        return target
    with atomic_directory(target) as copy:
        copy_files(_files(), REPO_ROOT, copy)
        commit, dirty = git_state()
        write_text(copy / SNAPSHOT, json.dumps({"commit": commit, "dirty": dirty}) + "\n")
    return target
