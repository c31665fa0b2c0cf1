"""Errors that a user can mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_FEW_NAMES = 12
"""So many names are better shown than guessed among."""


class UserError(ValueError):
    """A mistake that the user can mend: the message is one line with the cause and the cure."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not registered, with names that are like it or all names."""
    known = sorted(known)
    similarity = 0.6 if len(known) <= _FEW_NAMES else 0.4
    near = difflib.get_close_matches(name, known, n=3, cutoff=similarity)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
    return UserError(f"unknown {kind} '{name}': {hint}")


class LostProcessesError(UserError):
    """The other processes of a training are gone: this failure follows from one's end."""
