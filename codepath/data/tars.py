"""Reading tar archives from outside: safe names, no holes, whole to their end, within limits."""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from codepath.core.errors import UserError, reason
from codepath.core.signals import InterruptedRun

MOST_UNPACKED = 100
"""How many times the size of a compressed archive its content may have, beside SPARE_BYTES."""
SPARE_BYTES = 2**26
_MOST_NOTED = 2**13
"""Bytes of a header that only describes the next member, such as a long name. tarfile searches it
in a time that grows with their square."""
_MOST_NOTES = 8
"""How many such headers a member may have."""
_NOTES = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip
_CHUNK = 2**20


@contextlib.contextmanager
def opened_tar(
    path: Path, mode: str = "r", file: IO[bytes] | None = None
) -> Iterator[tuple[tarfile.TarFile, list[tarfile.TarInfo]]]:
    """Yield an archive, compressed or not, and its members, which were all looked at.

    Args:
        path: of the archive.
        mode: "r:" where it must not be compressed.
        file: its content, where it is a part of the file at `path`.

    Raises UserError where the archive is damaged or cut, for a member whose path points outside of
    the archive or that has holes, and for more content than MOST_UNPACKED allows.
    """
    try:
        header = type("Header", (_Header,), {"notes": 0})
        with tarfile.open(path, mode, file, tarinfo=header) as archive:  # type: ignore[call-overload]
            is_compressed = not isinstance(archive.fileobj, io.BufferedReader) and file is None
            yield archive, _members(archive, path, is_compressed)
    except (UserError, InterruptedRun):
        raise
    except Exception as error:  # tarfile lets through whatever a damaged header leads to
        raise UserError(
            f"{path} is no tar archive or is truncated ({reason(error)}); get it again"
        ) from None


def content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """The content of a regular file in an archive."""
    stream = archive.extractfile(member)
    assert stream is not None
    data = stream.read()
    if len(data) != member.size:
        raise tarfile.ReadError(f"{member.name} is cut")
    return data


class _Header(tarfile.TarInfo):
    """A member's header that must be whole.

    tarfile takes a damaged header for the archive's end, and with it drops the members behind.
    """

    notes: int
    """Headers so far that describe the next member."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> Any:
        """The header in a block; ReadError where it is damaged, absent, or of impossible size."""
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise  # the mark of the end
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"a damaged header: {error}") from None
        is_note = header.type in _NOTES
        cls.notes = cls.notes + 1 if is_note else 0
        if header.size < 0 or (is_note and header.size > _MOST_NOTED):
            raise tarfile.ReadError("a header says an impossible size")
        if cls.notes > _MOST_NOTES:
            raise tarfile.ReadError("a member has too many headers")
        return header


def _members(archive: tarfile.TarFile, path: Path, is_compressed: bool) -> list[tarfile.TarInfo]:
    """All members; a compressed archive is read to its end, so that its checksum counts."""
    most = MOST_UNPACKED * path.stat().st_size + SPARE_BYTES
    members: list[tarfile.TarInfo] = []
    unpacked, place = 0, -1
    for member in archive:
        _refuse_odd(member, path)
        if member.size < 0 or member.offset <= place:
            raise tarfile.ReadError("a header says an impossible size")
        unpacked, place = unpacked + member.size, member.offset
        if is_compressed and unpacked > most:
            raise _too_much(path)
        members.append(member)
    if is_compressed:
        left = most - unpacked
        while piece := archive.fileobj.read(_CHUNK):
            left -= len(piece)
            if left < 0:
                raise _too_much(path)
    return members


def _refuse_odd(member: tarfile.TarInfo, path: Path) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        raise UserError(f"{path}: unsafe path '{member.name}' in the archive")
    if member.issparse():
        raise UserError(f"{path}: {member.name} has holes: make the archive again without them")
    if not is_text(member.name):
        raise UserError(f"{path}: the name {member.name!r} is no Unicode: rename the file")


def is_text(name: str) -> bool:
    """Whether a file's name is Unicode; others come as halves of surrogate pairs."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _too_much(path: Path) -> UserError:
    return UserError(
        f"{path} unpacks to more than {MOST_UNPACKED} times its size: it holds no images"
    )
