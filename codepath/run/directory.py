"""Run directories: where runs live, their configurations, and whether they are done."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from codepath.core.errors import UserError
from codepath.core.files import make_directory, read_json, write_text
from codepath.core.locks import locked
from codepath.core.plain import as_type
from codepath.core.provenance import now
from codepath.run.config import RunConfig, differences, run_config_from_dict, to_dict
from codepath.run.events import heartbeat

WEIGHTS = "model.safetensors"
"""File of the final weights: it is there once training has finished."""

_PLACE = "images.txt"
"""File that names where the run's images were."""


@dataclass(frozen=True)
class Places:
    """Where runs live and where their rows go."""

    runs: Path
    results: Path

    def run_dir(self, config: RunConfig) -> Path:
        """RUNS/scale/experiment/run."""
        return self.runs / config.scale / config.experiment / config.name


def read_config(run_dir: Path) -> RunConfig:
    """The configuration that a run directory was made for; UserError where it holds none."""
    path = run_dir / "config.json"
    if not path.exists():
        raise UserError(f"{run_dir} is no run directory: it has no config.json")
    try:
        return run_config_from_dict(read_json(path))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); remove {run_dir}") from None


def working_in(run_dir: Path) -> AbstractContextManager[None]:
    """Keep other processes out of a run's directory while this one trains or measures the run.

    Raises InUseError where another process does so.
    """
    beat = heartbeat(run_dir)
    known = {"pid", "host"} <= set(beat)
    heard = f" (last heard of: process {beat['pid']} on {beat['host']})" if known else ""
    return locked(
        make_directory(run_dir) / ".lock",
        f"another process is training in {run_dir}, or measuring it{heard}; wait for it",
    )


def claim(config: RunConfig, run_dir: Path) -> None:
    """Write config.json into a run directory, or check that it holds the same configuration.

    Raises UserError where the directory holds another configuration.
    """
    path = run_dir / "config.json"
    if not path.exists():
        write_text(path, json.dumps(to_dict(config), indent=2) + "\n")
        return
    changed = differences(to_dict(read_config(run_dir)), to_dict(config))
    if changed:
        raise UserError(
            f"{run_dir} holds a run with another configuration ({'; '.join(changed)}); "
            "remove it or choose another --runs folder"
        )


def is_done(run_dir: Path, config: RunConfig) -> bool:
    """Whether exactly this configuration was trained and evaluated in `run_dir`."""
    return (run_dir / "DONE").exists() and _done(run_dir).run_id == config.run_id


def mark_done(run_dir: Path, config: RunConfig, images: str | None = None) -> None:
    """Note that the run is trained and evaluated, with training images of this fingerprint."""
    done = {"run_id": config.run_id, "at": now(), "images": images}
    write_text(run_dir / "DONE", json.dumps(done) + "\n")


def note_place(run_dir: Path, data: Path | None) -> None:
    """Note where a run's images are, for commands that use the run later on this machine."""
    if data is not None:
        write_text(run_dir / _PLACE, f"{data.resolve()}\n")


def place_of(run_dir: Path) -> Path | None:
    """Where a run's images were when it was trained; None where they are no longer there."""
    try:
        place = Path((run_dir / _PLACE).read_text().strip())
        return place if place.exists() else None
    except (OSError, ValueError):
        return None


def images_of(run_dir: Path) -> str | None:
    """The fingerprint that `mark_done` noted; None where it noted none."""
    return _done(run_dir).images


@dataclass(frozen=True)
class _Done:
    """What DONE says."""

    run_id: str
    at: str = ""
    images: str | None = None


def _done(run_dir: Path) -> _Done:
    path = run_dir / "DONE"
    try:
        done: _Done = as_type(read_json(path), _Done, "DONE")
    except ValueError as error:
        raise UserError(
            f"{path} is damaged ({error}); remove it and repeat the run's command: what was "
            "trained is kept, and evaluated again"
        ) from None
    return done
