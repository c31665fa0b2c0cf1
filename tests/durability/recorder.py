"""Records what is done to a folder, for the power cuts of `tests.durability.cuts`.

Python's calls of fsync, rename, replace, unlink, rmdir and mkdir are wrapped, and its ways to open
a file to write it anew, which empties it. Before each of them the folder is compared with what it
was after the one before. So files are seen whoever writes them, be it Python, numpy, pandas, torch,
or safetensors, which is Rust. What is known of a file is its content as it stands at the next of
these calls.

A moment between two writes without a wrapped call between them is known only as a beginning of
what they wrote together. A content that a file had and lost again between two calls is not known.
Where a library that is not Python empties a file first, it is taken as written over in place.

Two other ways were left: strace may not be installed where tests run, and a file system of our own
(FUSE) or a preloaded library would need to be built and mounted there. All of our durable points
are calls of Python's functions, so wrapping these is enough.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import io
import itertools
import os
import stat
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from tests.durability.cuts import ROOT, Flushed, Mark, Named, Operation, Place, Recording, Written

_CLOCK_NS = 50_000_000
"""A file that changed less long before it was read may have changed since at the same time."""


class Recorder:
    """A context manager; its `recording` is complete once it is left.

    Args:
        folder: what is in it before cannot be lost.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.recording = Recording()
        self._patches = contextlib.ExitStack()
        self._lock = threading.RLock()
        self._numbers: dict[tuple[int, int], int] = {}
        self._names: dict[Place, int] = {}
        self._read: dict[int, tuple[tuple[int, int], int, bytes]] = {}
        self._fresh = itertools.count(1)

    def __enter__(self) -> Recorder:
        self._numbers[_inode(self.folder.stat())] = ROOT
        self._compare()
        self.recording.before = len(self.recording.operations)
        real_open = io.open
        wrapped: dict[str, Callable[..., Any]] = {
            "fsync": self._flush,
            "fdatasync": self._flush,
            "rename": self._moving(os.rename),
            "replace": self._moving(os.replace),
            "unlink": self._removing(os.unlink),
            "remove": self._removing(os.remove),
            "rmdir": self._removing(os.rmdir),
            "mkdir": self._making(os.mkdir),
            "open": self._opening(os.open, lambda flags: flags & os.O_TRUNC),
        }
        for name, function in wrapped.items():
            self._patches.enter_context(mock.patch.object(os, name, function))
        for module in (io, builtins):
            opening = self._opening(real_open, lambda mode: "w" in mode)
            self._patches.enter_context(mock.patch.object(module, "open", opening))
        return self

    def __exit__(self, *_: object) -> None:
        self._patches.close()
        self._compare()

    def mark(self, what: Hashable) -> None:
        """Note that something has happened."""
        with self._lock:
            self._compare()
            self.recording.operations.append(Mark(what))

    def marking(
        self, function: Callable[..., Any], what: Callable[..., Hashable]
    ) -> Callable[..., Any]:
        """`function`, which is noted with what(*arguments) whenever it has returned."""

        @functools.wraps(function)
        def marked(*arguments: Any, **named: Any) -> Any:
            value = function(*arguments, **named)
            self.mark(what(*arguments, **named))
            return value

        return marked

    # What is wrapped

    def _flush(self, fd: Any) -> None:
        """Note it; the real thing takes time and changes nothing here."""
        with self._lock:
            self._compare()
            status = os.fstat(fd if isinstance(fd, int) else fd.fileno())
            if _inode(status) in self._numbers:
                self._note(Flushed(self._numbers[_inode(status)]))

    def _moving(self, real: Callable[..., None]) -> Callable[..., None]:
        def move(source: Any, target: Any, **fds: Any) -> None:
            with self._lock:
                self._compare()
                gone = self._place(source, fds.get("src_dir_fd"))
                come = self._place(target, fds.get("dst_dir_fd"))
                real(source, target, **fds)
                if gone in self._names:
                    self._name(Named(self._names[gone], gone, come))

        return move

    def _removing(self, real: Callable[..., None]) -> Callable[..., None]:
        def remove(path: Any, **fds: Any) -> None:
            with self._lock:
                self._compare()
                gone = self._place(path, fds.get("dir_fd"))
                real(path, **fds)
                if gone in self._names:
                    self._name(Named(self._names[gone], gone, None))

        return remove

    def _opening(
        self, real: Callable[..., Any], empties: Callable[[Any], object]
    ) -> Callable[..., Any]:
        def opening(path: Any, *arguments: Any, **named: Any) -> Any:
            if not empties(arguments[0] if arguments else named.get("mode", "r")):
                return real(path, *arguments, **named)
            with self._lock:
                self._compare()
                opened = real(path, *arguments, **named)
                self._compare()
            return opened

        return opening

    def _making(self, real: Callable[..., None]) -> Callable[..., None]:
        def make(path: Any, *mode: Any, **fds: Any) -> None:
            with self._lock:
                self._compare()
                real(path, *mode, **fds)
                self._compare()

        return make

    # What is known

    def _place(self, path: Any, fd: int | None) -> Place | None:
        """Where a path leads in the folder; None outside of it."""
        head, name = os.path.split(os.fspath(path))
        number = self._numbers.get(_inode(os.stat(head or ".", dir_fd=fd)))
        return None if number is None else (number, name)

    def _note(self, operation: Operation) -> None:
        self.recording.operations.append(operation)

    def _name(self, change: Named) -> None:
        replaced = self._names.get(change.come) if change.come else None
        change.apply(self._names)
        self._note(change)
        for entry in (change.entry, replaced):
            if entry is not None and entry not in self._names.values():
                # The file system may give its number to another file.
                self._numbers = {k: v for k, v in self._numbers.items() if v != entry}

    def _compare(self) -> None:
        """Note what has changed in the folder since it was last looked at."""
        with self._lock:
            found = dict(self._found(self.folder, ROOT))
            for place, entry in list(self._names.items()):
                if place not in found or found[place][0] != entry:
                    self._name(Named(entry, place, None))
            for place, (entry, path, status) in found.items():
                if place not in self._names:
                    self._numbers[_inode(status)] = entry
                    self._name(Named(entry, None, place))
                    if stat.S_ISDIR(status.st_mode):
                        self.recording.directories.add(entry)
                if stat.S_ISREG(status.st_mode):
                    self._look(entry, path, status)

    def _found(
        self, folder: Path, number: int
    ) -> Iterator[tuple[Place, tuple[int, Path, os.stat_result]]]:
        for item in sorted(os.scandir(folder), key=lambda item: item.name):
            status = item.stat(follow_symlinks=False)
            entry = self._numbers.get(_inode(status))
            if entry is None:
                entry = self._numbers[_inode(status)] = next(self._fresh)
            yield (number, item.name), (entry, Path(item.path), status)
            if stat.S_ISDIR(status.st_mode):
                yield from self._found(Path(item.path), entry)

    def _look(self, entry: int, path: Path, status: os.stat_result) -> None:
        signs = (status.st_size, status.st_ctime_ns)
        known = self._read.get(entry)
        if known and known[0] == signs and known[1] - status.st_ctime_ns > _CLOCK_NS:
            return
        now = time.time_ns()
        content = path.read_bytes()
        if known and content == known[2]:
            content = known[2]
        elif content or known:
            self._note(Written(entry, content))
        self._read[entry] = (signs, now, content)


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
