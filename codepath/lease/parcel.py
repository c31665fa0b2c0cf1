"""The files of a lease to take home: one archive, cut into pieces."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

from codepath.core.errors import UserError
from codepath.core.files import make_directory, naming, sync
from codepath.run.directory import WEIGHTS

PIECE = 15 * 2**20
"""Bytes of a piece; the last piece may be smaller."""
MOST = 60 * 2**20
"""Bytes that the files may have together; files that do not fit are left out and named."""
NAME = "lease.tar"
_RECORDS = ("lease.json", "lease.md", "tests-*.jsonl", "results/*.csv", "results/benchmarks/*.csv")
_OF_RUNS = (
    "config.json", "env.json", "data.json", "events.jsonl", "metrics.jsonl", "rows/*.csv", "DONE",
)  # fmt: skip


class _Pieces:
    """A file that is written in pieces NAME.00, NAME.01, ..."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.files: list[Path] = []
        self._room = 0

    def write(self, data: bytes) -> int:
        rest = memoryview(data)
        while rest:
            if not self._room:
                self.files.append(self._folder / f"{NAME}.{len(self.files):02}")
                self.files[-1].write_bytes(b"")
                self._room = PIECE
            part = rest[: self._room]
            with naming(self.files[-1]), self.files[-1].open("ab") as file:
                file.write(part)
            self._room -= len(part)
            rest = rest[len(part) :]
        return len(data)


def pack(folder: Path, back: Path) -> tuple[list[Path], list[str]]:
    """Write the pieces into `back`; return them, and the files of `folder` that did not fit.

    The archive holds, in this order: what was done, rows and logs; final weights, those of the
    latest run first; the newest checkpoint of each run without final weights, so that the run can
    go on elsewhere. It begins with what matters most, so that the first pieces are of use without
    the others. Pieces of an earlier call are replaced once the new ones are on the disk: at any
    moment, also after a power cut, the pieces in `back` are the first ones of a single archive.
    """
    make_directory(back)
    fresh = back / ".new"
    shutil.rmtree(fresh, ignore_errors=True)  # of a killed call
    pieces = _Pieces(make_directory(fresh))
    used, left = 0, []
    try:
        with tarfile.open(fileobj=pieces, mode="w|", dereference=True) as archive:  # type: ignore[call-overload]
            for path in filter(Path.is_file, _by_worth(folder)):
                size = path.stat().st_size
                if used + size > MOST:
                    left.append(str(path.relative_to(folder)))
                    continue
                used += size
                archive.add(path, path.relative_to(folder), filter=_nobodys)
        for piece in pieces.files:
            sync(piece)
        for old in sorted(back.glob(f"{NAME}.*"), reverse=True):
            old.unlink()
            sync(back)
        files = []
        for piece in pieces.files:
            files.append(piece.rename(back / piece.name))
            sync(back)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return files, left


def _nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without the account that made it."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _by_worth(folder: Path) -> Iterator[Path]:
    for pattern in _RECORDS:
        yield from sorted(folder.glob(pattern))
    runs = sorted((path.parent for path in folder.glob("runs/*/*/*/config.json")), key=_age)
    for run in runs:
        for pattern in _OF_RUNS:
            yield from sorted(run.glob(pattern))
    yield from sorted(folder.glob("logs/*.log"))
    for run in runs:
        yield from run.glob(WEIGHTS)
    for run in runs:
        if not (run / WEIGHTS).exists():
            yield from sorted(run.glob("ckpt/step-*.pt"))[-1:]


def _age(run: Path) -> float:
    files = [run / WEIGHTS, run / "config.json"]
    return -max((path.stat().st_mtime for path in files if path.exists()), default=0.0)


def require_room(back: Path) -> None:
    """UserError where `back` holds a file that is not a piece."""
    others = [path.name for path in back.glob("*") if not path.name.startswith((NAME, "."))]
    if others:
        raise UserError(f"{back} holds other files ({others[0]}): choose an empty folder")
