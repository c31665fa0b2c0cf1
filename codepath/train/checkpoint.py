"""Saved states of a run: written whole or not at all, checked when read, the newest few kept."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import xxhash

from codepath.core.errors import UserError
from codepath.core.files import atomic_path
from codepath.models.weights import read_torch

_MAGIC = b"codepath checkpoint 4\n"
"""Begins every file; behind it the digest of this and of the rest, and torch's archive."""
_DIGEST = 16
"""Bytes of XXH3-128."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a training state so that `path` holds either the old or the new one, whole.

    The file carries a checksum of all of it. UserError where it cannot be written.
    """
    buffer = io.BytesIO()
    start = len(_MAGIC) + _DIGEST
    buffer.write(bytes(start))
    torch.save(state, buffer)
    data = buffer.getbuffer()
    data[:start] = _MAGIC + _digest(_MAGIC, data[start:])
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise UserError(
            f"cannot write {path} ({error.strerror}): mend this and repeat the command, the run "
            "goes on from its last checkpoint"
        ) from None


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a training state.

    Raises:
        DamagedCheckpoint: it does not hold what was saved, to the bit.
        UserError: it cannot be read, or is of another version of codepath.
    """
    try:
        data = memoryview(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror})") from None
    magic, digest = data[: len(_MAGIC)], data[len(_MAGIC) :][:_DIGEST]
    payload = data[len(_MAGIC) + _DIGEST :]
    if _digest(magic, payload) != digest:
        raise DamagedCheckpoint(f"{path} is damaged (wrong checksum)")
    if magic != _MAGIC:
        raise UserError(
            f"{path} is of another version of codepath: go on with that one, or remove "
            f"{path.parent} to train this run from the beginning"
        )
    try:
        state = read_torch(io.BytesIO(payload))
    except ValueError as error:
        raise DamagedCheckpoint(f"{path} is damaged ({error})") from None
    if not isinstance(state, dict):
        raise DamagedCheckpoint(f"{path} is damaged (it holds no state)")
    return state


def _digest(magic: bytes | memoryview, payload: memoryview) -> bytes:
    digest = xxhash.xxh3_128(magic)
    digest.update(payload)
    return digest.digest()


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
