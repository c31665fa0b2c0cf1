"""What is there before a submission; it is restored where no job of the submission begins."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from codepath.launch.turns import LOCK
from codepath.run.events import EVENTS, JOB, read_order
from codepath.run.state import find_runs

_WRITTEN = ("config.json", JOB, EVENTS)
"""What a submission writes into a run's directory."""


def absent_folders(path: Path) -> list[Path]:
    """Those of `path` and the folders above it that are not there."""
    return [folder for folder in (path, *path.parents) if not folder.exists()]


class Before:
    """The folders and files that a submission writes, as they are before it.

    Args:
        runs: the folder of all runs.
        folder: where the submission's tasks and logs will be.
        run_dirs: the directories of the submission's runs.
        made: folders that were made for the lock of submissions.
    """

    def __init__(
        self, runs: Path, folder: Path, run_dirs: Sequence[Path], made: Sequence[Path] = ()
    ) -> None:
        self._runs, self._folder, self._run_dirs = runs, folder, run_dirs
        self._snapshots = set((runs / "source").glob("*"))
        leaves = (folder, runs / "source", *run_dirs)
        self._absent = {path for leaf in leaves for path in absent_folders(leaf)} | set(made)
        self._files = [run / name for run in run_dirs for name in _WRITTEN]
        self._copies: dict[Path, Path] = {}
        try:
            for path in filter(Path.exists, self._files):
                # A copy can be put back on a full disk, too.
                self._copies[path] = path.with_name(f".{path.name}.before")
                shutil.copy2(path, self._copies[path])
        except BaseException:
            self.forget()
            raise

    def forget(self) -> None:
        """Remove the copies of files that a submission needs no more."""
        for copy in self._copies.values():
            copy.unlink(missing_ok=True)

    def restore(self, source: Path | None) -> None:
        """Take back what the submission wrote; its jobs, if any, have to be cancelled already.

        Args:
            source: the snapshot that the submission took. It stays where it was there before, or
                where runs of another submission use it by now.
        """
        for run_dir in self._absent.intersection(self._run_dirs):
            shutil.rmtree(run_dir, ignore_errors=True)
        for path in self._files:
            if path in self._copies:
                self._copies[path].replace(path)
            else:
                path.unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)
        if source and source not in self._snapshots and not self._in_use(source):
            shutil.rmtree(source, ignore_errors=True)
        if self._folder.parent in self._absent:
            (self._folder.parent / LOCK).unlink(missing_ok=True)
        for path in sorted(self._absent, reverse=True):  # the inner ones first
            with contextlib.suppress(OSError):  # absent, or another submission's by now
                path.rmdir()

    def _in_use(self, source: Path) -> bool:
        return any(read_order(run).get("source") == str(source) for run in find_runs(self._runs))
