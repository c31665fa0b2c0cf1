"""Directories, files that are replaced atomically, and lines of JSON."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from codepath.core.errors import UserError


def make_directory(path: Path) -> Path:
    """Create `path` and its parents; UserError where that is not allowed."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot create {path}: {error.strerror}; choose a folder that you may write to"
        ) from None
    if not os.access(path, os.W_OK):
        raise UserError(f"no write permission in {path}; choose a folder that you may write to")
    return path


def user_cache() -> Path:
    """Where programs keep what they can make again: $XDG_CACHE_HOME, else ~/.cache.

    UserError where the user has no home folder.
    """
    named = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(named) if named else Path.home() / ".cache"
    except RuntimeError:
        raise UserError("there is no home folder; set XDG_CACHE_HOME to a folder") from None


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed to disk and renamed to it.

    On an exception the temporary file is removed, and a file that stood at `path` is untouched.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def json_lines(text: str) -> list[dict[str, Any]]:
    """The objects in lines of JSON; lines that a kill cut short are left out."""
    found = []
    for line in text.splitlines():
        try:
            value = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text)
