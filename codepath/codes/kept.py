"""Designed schemes, kept on disk: a design takes seconds, and gives the same scheme every time."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from codepath.codes.bounds import check_size
from codepath.codes.scheme import CodingScheme
from codepath.core.errors import UserError
from codepath.core.files import make_directory, user_cache

PATIENCE = 1.0
"""A design is announced once it has taken so many seconds."""
LONGEST_WAIT = 300.0
"""Seconds to wait for another process that designs the same scheme; then it is designed here."""

_log = logging.getLogger(__name__)


def designed_scheme(classes: int, paths: int, active: int) -> CodingScheme:
    """What `design_scheme` gives for these sizes, from the user's cache where it is kept there.

    Processes that need the same scheme at the same time wait for the first one's design. Where
    the cache cannot be used, each process designs. Raises UserError for impossible sizes.
    """
    size = classes, paths, active
    check_size(*size)
    try:
        folder = make_directory(user_cache() / "codepath" / "schemes")
    except UserError as error:
        with _announced(size, f"it cannot be kept: {error}"):
            return _design(size)
    file = folder / f"{classes}-{paths}-{active}-{_version()}.csv"
    scheme = _read(file, size)
    if scheme is None:
        with _announced(size, f"it is kept in {folder} for the next time"), _lock(file):
            scheme = _read(file, size)
            if scheme is None:
                scheme = _design(size)
                with contextlib.suppress(OSError):  # such as a full disk
                    scheme.save(file)
    return scheme


def _design(size: tuple[int, int, int]) -> CodingScheme:
    from codepath.codes.design import design_scheme

    return design_scheme(*size)


def _read(file: Path, size: tuple[int, int, int]) -> CodingScheme | None:
    """The scheme in a file; None where it is absent, damaged or of another size."""
    try:
        kept = CodingScheme(CodingScheme.from_csv(file).table)  # without the file's class names
    except UserError:
        return None
    return kept if (kept.classes, kept.paths, kept.active) == size else None


def _version() -> str:
    """Checksum of the code that designs, so that changed code designs anew."""
    code = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    return hashlib.sha256(code).hexdigest()[:12]


@contextlib.contextmanager
def _lock(file: Path) -> Iterator[None]:
    """Let one process work on `file`; all of them where the file system has no locks."""
    lock = FileLock(file.with_suffix(".lock"), timeout=LONGEST_WAIT)
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError, NotImplementedError):  # Timeout is an OSError
            held.enter_context(lock)
        yield


@contextlib.contextmanager
def _announced(size: tuple[int, int, int], where: str) -> Iterator[None]:
    """Say in one line what is being done, and `where` it goes, once it takes long."""
    classes, paths, active = size
    text = (
        f"designing codewords of {classes} classes on {paths} paths, {active} active, which takes "
        f"some seconds; {where}"
    )
    timer = threading.Timer(PATIENCE, _log.warning, ("%s", text))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
