"""A run that is not disturbed, with what it does to the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from codepath.pipeline import run as pipeline
from codepath.run import events
from codepath.run.config import RunConfig
from codepath.run.directory import Places
from codepath.train.checkpoint import Checkpoints
from tests.durability.cuts import Recording
from tests.durability.recorder import Recorder
from tests.train.runs import OFTEN, QUIET

CALLS = ("fit", "evaluate_run", "mark_done", "collect")
"""What the command does one after the other; each is marked once it has returned."""


class Undisturbed:
    """A run below a folder: its command, and a recording of its first call."""

    def __init__(self, folder: Path, config: RunConfig) -> None:
        self.folder, self.config = folder, config
        self.recording = Recording()

    def run_dir(self, folder: Path) -> Path:
        """Where the run lives below a folder."""
        return folder / "runs" / self.config.scale / self.config.experiment / self.config.name

    def command(self, folder: Path) -> None:
        """`codepath run`, as another process would: this one forgets what it has started."""
        events._started.clear()
        places = Places(folder / "runs", folder / "results")
        pipeline.train_and_evaluate(self.config, places, QUIET, options=OFTEN)

    def record(self) -> None:
        """Call the command for the first time."""
        with Recorder(self.folder) as recorder, pytest.MonkeyPatch.context() as patch:
            save = recorder.marking(Checkpoints.save, lambda _, step, __: ("saved", step))
            patch.setattr(Checkpoints, "save", save)
            for name in CALLS:
                marked = recorder.marking(getattr(pipeline, name), lambda *_, name=name, **__: name)
                patch.setattr(pipeline, name, marked)
            self.command(self.folder)
        self.recording = recorder.recording
