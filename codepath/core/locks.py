"""Locks between processes: the kernel frees them when their process ends, also a killed one.

They hold between machines as far as the file system passes `flock` on (see docs/cluster.md).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from codepath.core.errors import InUseError

PATIENCE_S = 120.0
"""Seconds that a process waits for others to finish writing a few files."""


@contextlib.contextmanager
def locked(path: Path, refusal: str, patience_s: float = 0.0) -> Iterator[None]:
    """Hold the lock file `path` while the context lasts; the same process may hold it again.

    Raises InUseError, with `refusal`, where another process holds it for longer than `patience_s`.
    """
    lock = FileLock(path, is_singleton=True)
    try:
        lock.acquire(timeout=patience_s)
    except Timeout:
        raise InUseError(refusal) from None
    try:
        yield
    finally:
        lock.release()
