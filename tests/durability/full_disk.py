"""A disk that is full from some moment on: whatever needs room in a folder then fails.

These need room: making a file or directory, writing (half of it is written), making a file longer,
flushing, copying by the kernel, and safetensors' writing, which is Rust. Python's ways to do so are
wrapped. Renaming seldom needs room: it fails where it is the first to do so. Removing always works.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import safetensors
import safetensors.torch

from codepath.cli import program
from codepath.core.errors import UserError


class FullDisk:
    """A context manager; `needs` is how often room was needed in it.

    Args:
        folder: what is elsewhere works.
        full_at: the how-manieth need of room, from 1, is the first to fail; 0: none fails.
    """

    def __init__(self, folder: Path, full_at: int = 0) -> None:
        self._folder, self._full_at = folder.absolute(), full_at
        self.needs = 0
        self.first = ""
        """What failed first."""
        self._real_open, self._real_os_open = io.open, os.open
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> FullDisk:
        wrapped: dict[str, Callable[..., Any]] = {
            "open": self._os_open,
            "fsync": self._of_file(os.fsync, "flushing"),
            "sendfile": self._of_file(os.sendfile, "copying to"),
            "mkdir": self._of_path(os.mkdir, "making", 0),
            "rename": self._of_path(os.rename, "renaming to", 1),
            "replace": self._of_path(os.replace, "renaming to", 1),
        }
        for name, function in wrapped.items():
            self._stack.enter_context(mock.patch.object(os, name, function))
        for module in (io, builtins):
            self._stack.enter_context(mock.patch.object(module, "open", self._open))
        save = self._save_file(safetensors.torch.save_file)
        self._stack.enter_context(mock.patch.object(safetensors.torch, "save_file", save))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def need(self, what: str, path: Any) -> None:
        """Raises OSError where there is no room for what is to be done to `path` in the folder."""
        place = Path(os.fsdecode(path)).absolute()
        if not place.is_relative_to(self._folder):
            return
        self.needs += 1
        spared = what.startswith("renaming") and self.needs != self._full_at
        if self._full_at and self.needs >= self._full_at and not spared:
            self.first = self.first or f"{what} {place.relative_to(self._folder)}"
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _of_path(self, real: Callable[..., Any], what: str, which: int) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            try:
                self.need(what, arguments[which])
            except OSError as error:  # as the kernel's errors name their files
                raise OSError(error.errno, error.strerror, *_names(arguments)) from None
            return real(*arguments, **named)

        return wrapped

    def _of_file(self, real: Callable[..., Any], what: str) -> Callable[..., Any]:
        def wrapped(fd: int, *arguments: Any) -> Any:
            self.need(what, Path(f"/proc/self/fd/{fd}").readlink())
            return real(fd, *arguments)

        return wrapped

    def _os_open(self, path: Any, flags: int, mode: int = 0o777, **named: Any) -> int:
        if flags & os.O_CREAT and not named and not os.path.lexists(path):
            try:
                self.need("making", path)
            except OSError as error:
                raise OSError(error.errno, error.strerror, path) from None
        return self._real_os_open(path, flags, mode, **named)

    def _open(self, file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        writes = set(mode) & set("wax+") and isinstance(file, str | os.PathLike)
        if not writes or not Path(file).absolute().is_relative_to(self._folder):
            return self._real_open(file, mode, *arguments, **named)
        if not Path(file).exists():
            try:
                self.need("making", file)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(file)) from None
        raw = _File(self, file, mode.replace("b", "").replace("t", ""))
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        if "b" in mode:
            return buffered
        buffering = [*arguments[:1], -1][0]
        assert buffering == -1
        return io.TextIOWrapper(buffered, *arguments[1:], **named)  # type: ignore[arg-type]

    def _save_file(self, real: Callable[..., None]) -> Callable[..., None]:
        def save_file(tensors: Any, path: Any, metadata: Any = None) -> None:
            real(tensors, path, metadata)
            try:
                self.need("writing", path)
            except OSError as error:
                os.truncate(path, Path(path).stat().st_size // 2)
                said = f"Error while serializing: I/O error: {error.strerror} (os error 28)"
                raise safetensors.SafetensorError(said) from None

        return save_file


def _names(paths: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of an OSError that name one path or two."""
    names = [str(path) for path in paths if isinstance(path, str | os.PathLike)]
    return (names[0], None, names[1]) if len(names) > 1 else tuple(names)


class _File(io.FileIO):
    """A file on the full disk."""

    def __init__(self, disk: FullDisk, path: Any, mode: str) -> None:
        super().__init__(path, mode)
        self._disk = disk
        self._halved = False

    def write(self, data: Any) -> int:
        try:
            self._disk.need("writing", self.name)
        except OSError:
            half = bytes(data)[: len(bytes(data)) // 2]
            if half and not self._halved:
                self._halved = True
                return super().write(half)  # the rest is tried again, and fails
            raise
        return super().write(data)

    def truncate(self, size: int | None = None) -> int:
        if size is not None and size > os.fstat(self.fileno()).st_size:
            self._disk.need("making longer", self.name)
        return super().truncate(size)


def line_of(error: BaseException) -> str:
    """What the command line says of an error: one line, and the exit code 1."""
    said = io.StringIO()
    with (
        mock.patch.object(program, "app", side_effect=error),
        contextlib.redirect_stderr(said),
        pytest.raises(SystemExit) as ended,
    ):
        program.main()
    assert ended.value.code == 1
    lines = said.getvalue().strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def check_full_disk(
    folder: Path,
    prepare: Callable[[Path], object],
    operate: Callable[[Path], object],
    check: Callable[[Path, bool], None],
    most: int,
    seed: int = 0,
) -> int:
    """Let an operation meet a full disk at each of its needs of room; return how many there are.

    It ends in one line that names the folder, or ends well where what it could not write is no part
    of its work. After `check` there is room again, and the same operation ends well.

    Args:
        folder: where all happens.
        prepare: makes what is in the folder before.
        operate: the operation.
        check: called with the folder, and whether the operation ended well.
        most: the most moments that are tried; of more they are drawn.
        seed: for the draw.
    """

    def fresh() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        prepare(folder)

    fresh()
    with FullDisk(folder) as disk:
        operate(folder)
    check(folder, True)
    moments = list(range(1, disk.needs + 1))
    if len(moments) > most:
        moments = random.Random(seed).sample(moments, most)
    for moment in moments:
        fresh()
        with FullDisk(folder, moment) as full:
            try:
                operate(folder)
                error = None
            except (OSError, UserError) as found:
                error = found
        assert full.first
        try:
            if error is not None:
                line = line_of(error)
                assert os.strerror(errno.ENOSPC) in line
                assert str(folder) in line
            check(folder, error is None)
            operate(folder)
            check(folder, True)
        except BaseException as failure:
            failure.add_note(f"full at {moment} of {disk.needs}: {full.first}; seed {seed}")
            raise
    return disk.needs
