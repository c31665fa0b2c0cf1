"""Signals that interrupt a run, and the exit codes that follow."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

EXIT_INTERRUPTED = 130
"""A person interrupted the work (SIGINT)."""


EXIT_REQUEUE = 75
"""The work was told to give way (SIGTERM, SIGUSR2) and can go on: sysexits' EX_TEMPFAIL."""


class InterruptedRun(Exception):  # noqa: N818 (not an error)
    """Work stopped on request; everything up to the last save is kept and can be resumed.

    Args:
        message: what is kept, and how to go on.
        signal_number: the number of the signal that asked for the stop.
    """

    def __init__(self, message: str, signal_number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:
        """The code that a process ends with: EXIT_INTERRUPTED for SIGINT, else EXIT_REQUEUE."""
        return EXIT_INTERRUPTED if self.signal_number == signal.SIGINT else EXIT_REQUEUE


def _told_to_stop(number: int) -> InterruptedRun:
    name = signal.Signals(number).name
    return InterruptedRun(f"interrupted by {name}; repeat the command to go on", number)


class Interruption:
    """A context in which SIGINT, SIGTERM and SIGUSR2 raise InterruptedRun.

    Within `deferred` a signal is only noted in `received`, so that the work can end where it can be
    resumed; but SIGINT after a noted signal raises there too. Outside the main thread the context
    does nothing, since Python delivers no signals there.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)

    def __init__(self) -> None:
        self.received = 0
        """The number of the first signal; 0 while there was none."""
        self._deferring = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in self.SIGNALS}
            for number in self.SIGNALS:
                signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._before = {}

    def _handle(self, number: int, _: FrameType | None) -> None:
        again = self.received and number == signal.SIGINT
        self.received = self.received or number
        if again or not self._deferring:
            raise _told_to_stop(number)

    def heed(self) -> None:
        """Raise InterruptedRun for a signal that was noted."""
        if self.received:
            raise _told_to_stop(self.received)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """A context in which signals are noted and do not raise (see the class)."""
        before, self._deferring = self._deferring, True
        try:
            yield
        finally:
            self._deferring = before
