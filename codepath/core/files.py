"""Directories, files that are replaced atomically, and lines of JSON."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
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


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it is renamed to it.

    Where another process made `path` meanwhile, that one stays. On an exception the temporary
    folder is removed.
    """
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        try:
            temporary.rename(path)
        except OSError:
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text; of bytes, whatever of JSON's encodings they are in.

    Raises ValueError where the text is no JSON, is nested too deeply, has a key twice in an object,
    or holds a string that is no Unicode text.
    """
    try:
        value = json.loads(text, object_pairs_hook=_without_repeats)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    json.dumps(value, ensure_ascii=False).encode()  # halves of surrogate pairs cannot be encoded
    return value


def read_json(path: Path) -> Any:
    """The value in a file of JSON; ValueError as `parse_json`, OSError where it cannot be read."""
    return parse_json(path.read_bytes())


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it has the key '{next(n for n in names if names.count(n) > 1)}' twice")
    return values


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects in a file's lines of JSON; lines that were cut or damaged are left out.

    There are none where the file is absent.
    """
    found = []
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        try:
            value = parse_json(line.decode())
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text)
