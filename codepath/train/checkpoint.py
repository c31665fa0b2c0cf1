"""Saving and loading the state of a run."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from codepath.runtime import UserError, atomic_path


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a training state so that `path` holds either the old or the new one, whole."""
    with atomic_path(path) as temporary:
        torch.save(state, temporary)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a training state; UserError where the file is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"wrong checksum in {damaged}")
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise UserError(
            f"the checkpoint {path} is damaged ({str(error).splitlines()[0]}); "
            f"remove {path.parent} to train this run from the beginning"
        ) from None
    return state
