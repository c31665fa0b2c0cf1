"""Saved states of a run: written whole or not at all, checked when read, the newest few kept."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from codepath.runtime import UserError, atomic_path

_DAMAGES = (
    zipfile.BadZipFile,
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    KeyError,
    ValueError,
)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a training state so that `path` holds either the old or the new one, whole.

    The file is a zip archive, whose entries carry checksums. UserError where it cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(buffer.getbuffer())
    except OSError as error:
        raise UserError(
            f"cannot write {path} ({error.strerror}): mend this and repeat the command, the run "
            "goes on from its last checkpoint"
        ) from None


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a training state; UserError where the file is damaged or cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"wrong checksum in {damaged}")
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror})") from None
    except _DAMAGES as error:
        raise DamagedCheckpoint(f"{path} is damaged ({str(error).splitlines()[0]})") from None
    return state


class DamagedCheckpoint(UserError):  # noqa: N818 (UserError's kind)
    """The file does not hold what was saved."""


class Checkpoints:
    """The states of a run in its folder ckpt/: step-00001234.pt, the newest `keep` of them."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        if keep < 1:
            raise UserError(f"keep is {keep}: at least one checkpoint is needed")
        self.folder, self._keep = folder, keep

    def paths(self) -> list[Path]:
        """The files, oldest first."""
        return sorted(self.folder.glob("step-*.pt"))

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Save the state after `step` steps, and remove the oldest beyond `keep`."""
        save_checkpoint(self.folder / f"step-{step:08d}.pt", state)
        for path in self.paths()[: -self._keep]:
            path.unlink(missing_ok=True)

    def clean(self) -> None:
        """Remove what killed processes left half-written."""
        for path in self.folder.glob(".*.tmp"):
            path.unlink(missing_ok=True)

    def newest(self, on_damage: Callable[[str], None]) -> dict[str, Any] | None:
        """The newest state that is whole; None where there is no checkpoint.

        A damaged file is renamed to *.damaged, and `on_damage` told, before an older one is
        tried. UserError where all are damaged.
        """
        paths = self.paths()
        for path in reversed(paths):
            try:
                return load_checkpoint(path)
            except DamagedCheckpoint as error:
                path.rename(path.with_name(f"{path.name}.damaged"))
                on_damage(f"{error}; trying the checkpoint before it")
        if paths or list(self.folder.glob("*.damaged")):
            raise UserError(
                f"every checkpoint in {self.folder} is damaged; "
                f"remove {self.folder} to train this run from the beginning"
            )
        return None
