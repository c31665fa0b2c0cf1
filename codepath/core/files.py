"""Files and directories that are whole or absent, after a power cut too, and lines of JSON."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from codepath.core.errors import NO_ROOM, UserError

_FLUSHES = 16
"""Files that are flushed at once: the disk then writes them together."""


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of the disk name the file that they are about, which those of writing do not."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename = error.filename or str(path)
        raise


def sync(path: Path) -> None:
    """Flush a file's content, or the names in a directory, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with naming(path):
            os.fsync(handle)
    finally:
        os.close(handle)


def sync_all(folder: Path) -> None:
    """Flush a folder with everything in it to disk."""
    with ThreadPoolExecutor(_FLUSHES) as pool:
        list(pool.map(sync, [folder, *folder.rglob("*")]))


def make_directory(path: Path) -> Path:
    """Create `path` and its parents, on the disk; UserError where that is not allowed."""
    try:
        absent = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for folder in absent:
            with contextlib.suppress(PermissionError):  # a parent that may not be read
                sync(folder.parent)
    except OSError as error:
        cure = "choose a folder that you may write to"
        if error.errno in NO_ROOM:
            cure = "free some of the disk"
        raise UserError(f"cannot create {path}: {error.strerror}; {cure}") from None
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
        with naming(path):
            yield temporary
        temporary.chmod(0o644)
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def atomic_directory(path: Path, replaces: bool = False) -> Iterator[Path]:
    """Yield a temporary directory beside `path`; on success flush it to disk and rename it to it.

    On an exception the temporary directory is removed, and one that stood at `path` is untouched.

    Args:
        path: where another process makes it meanwhile, that one stays.
        replaces: it may be there before. A power cut just before the renaming then leaves none.
    """
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    old = temporary.with_suffix(".old")
    try:
        yield temporary
        temporary.chmod(0o755)
        sync_all(temporary)
        if replaces and path.exists():
            path.rename(old)
        try:
            temporary.rename(path)
            sync(path.parent)
        except BaseException as error:
            if not temporary.exists():
                path.rename(temporary)
            if old.exists():
                old.rename(path)
            if replaces or not isinstance(error, OSError) or not path.is_dir():
                raise
            sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)


def copy_files(files: Iterable[Path], root: Path, folder: Path) -> None:
    """Copy files to the places below `folder` that they have below `root`."""
    for file in files:
        copy = folder / file.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copy)


def append_line(path: Path, line: str) -> None:
    """Append a line to a file; the name of a new file is flushed to disk, its content is not.

    The line stands alone, also behind one that a power cut has left without its end.
    """
    new = not path.exists()
    with naming(path), path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else f"\n{line}"
        file.write(f"{line}\n".encode())
    if new:
        sync(path.parent)


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
