"""Errors that a user can mend."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of an OSError that room on the disk mends."""

_FEW_NAMES = 12
"""So many names are better shown than guessed among."""

_MOST_LETTERS = 2_000
"""Of a line; a longer one quotes something that nobody reads."""


def one_line(text: str) -> str:
    """A text as a terminal shows it in one line.

    Ends of lines become spaces, other letters that do not print are escaped, and of a long text the
    middle is left out.
    """
    line = " ".join(text.splitlines())
    if not line.isprintable():
        line = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in line)
    if len(line) > _MOST_LETTERS:
        line = f"{line[: _MOST_LETTERS // 2]} ... {line[-_MOST_LETTERS // 3 :]}"
    return line


class UserError(ValueError):
    """A mistake that the user can mend: the message is one line with the cause and the cure.

    What it quotes from a file cannot break the line or steer a terminal (see `one_line`).
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def reason(error: BaseException) -> str:
    """The first line of what an error says, or its type where it says nothing."""
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not registered, with names that are like it or all names."""
    known = sorted(known)
    similarity = 0.6 if len(known) <= _FEW_NAMES else 0.4
    near = difflib.get_close_matches(name, known, n=3, cutoff=similarity)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
    return UserError(f"unknown {kind} '{name}': {hint}")


class InUseError(UserError):
    """Another process works where this one was to work: nothing failed, and nothing was done."""


class LostProcessesError(UserError):
    """The other processes of a training are gone: this failure follows from one's end."""
