"""Doing the parts of a lease one after another, until its time is up."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from codepath.core.errors import UserError
from codepath.core.files import make_directory, read_json, write_text
from codepath.core.locks import locked
from codepath.core.machine import process_alive, process_start
from codepath.core.markdown import escaped, table
from codepath.core.plain import as_type
from codepath.core.provenance import CHECKOUT, now
from codepath.core.signals import EXIT_INTERRUPTED, EXIT_REQUEUE, Interruption
from codepath.lease.parcel import pack
from codepath.lease.parts import START_S, Part, Place, Run, Taken

SAVE_S = 20.0
"""Seconds that a part has to save and end once it is told to; after them it is killed."""
CLOSE_S = 25.0
"""Seconds before the lease's end when the last part is told to end: it saves, files are packed."""
_LEAST_S = 5.0
"""No part is begun when fewer seconds than this are left for it."""
_WORTH_BEGINNING_S = 1.5 * START_S
"""Seconds in which a part gets beyond its start, so that it is worth beginning without its end."""
_LOOK_S = 0.2
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class _PartRecord:
    """What became of a part."""

    state: str
    said: str
    seconds: float
    besides: float | None
    at: str
    device: str
    commit: str


@dataclass(frozen=True)
class _Record:
    """What lease.json holds."""

    parts: dict[str, _PartRecord]
    child: int
    host: str
    start: str = ""
    """`process_start` of the child."""


class Lease:
    """The parts of a lease in one folder, and what became of them (DIR/lease.json).

    Args:
        place: where the lease works, and with what.
        parts: its parts, in the order of their worth.
        back: the folder for the files to take home.
        console: where progress is printed.
        environment: variables for the parts' processes, besides those of this process.
    """

    def __init__(
        self,
        place: Place,
        parts: Sequence[Part],
        back: Path,
        console: Console,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.place, self.parts, self.back, self.console = place, parts, back, console
        self._environment = {**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})}
        self._end = time.monotonic() + 60 * place.minutes
        self._state: dict[str, Any] = {"parts": {}, "child": 0, "host": ""}
        self._shared: dict[str, float] = {}

    @property
    def left(self) -> float:
        """Seconds until the last part has to be told to end."""
        return self._end - CLOSE_S - time.monotonic()

    @property
    def taken(self) -> Taken:
        """The seconds of the parts that are done (see `Taken`)."""
        return {
            name: (record["seconds"], record["besides"])
            for name, record in self._state["parts"].items()
            if record["state"] == "done"
        }

    def work(self) -> int:
        """Work through the parts; return the exit code.

        0: all is done or the time is up; 1: a part failed; 75 or 130: a signal stopped the lease,
        and the same command goes on.
        """
        make_directory(self.place.folder / "logs")
        with self._alone(), Interruption() as interruption, interruption.deferred():
            for part in self.parts:
                why = part.ready(self.place)
                if why:
                    self._note(part, "left out", why)
                    continue
                if interruption.received:
                    self._note(part, "waiting", "interrupted before")
                    continue
                why = self._why_not(part)
                if why:
                    self._note(part, "waiting", why)
                    continue
                self._carry_out(part, interruption)
                if isinstance(part, Run):
                    self.pack()
            lines = self.report()
            for line in lines:
                self.console.print(line, highlight=False, markup=False, soft_wrap=True)
            if interruption.received:
                asked_by_hand = interruption.received == signal.SIGINT
                return EXIT_INTERRUPTED if asked_by_hand else EXIT_REQUEUE
        failed = any(record["state"] == "failed" for record in self._state["parts"].values())
        return int(failed)

    def plan(self) -> Iterator[str]:
        """Lines that say what would be done, and in which time."""
        self._read()
        for part in self.parts:
            why = part.ready(self.place)
            expected = part.expected(self.place, self.taken)
            time_ = "unknown time" if expected is None else f"about {expected:.0f} s"
            if part.limit is not None:
                together = f" ({part.shares} together)" if part.shares else ""
                time_ = f"at most {part.limit:.0f} s{together}"
            yield f"{part.name:18} {f'left out: {why}' if why else time_}"

    # One part

    def _budget(self, part: Part) -> float:
        """Seconds that a part may take now: by its limit and by the time left."""
        if part.limit is None:
            return self.left
        used = self._shared.get(part.shares, 0.0) if part.shares else 0.0
        return min(self.left, part.limit - used)

    def _why_not(self, part: Part) -> str:
        """Why a part is not begun; empty where it is."""
        budget, expected = self._budget(part), part.expected(self.place, self.taken) or 0.0
        needed = expected
        if part.limit is not None or self.place.continued:  # what is done is kept
            needed = min(needed, _WORTH_BEGINNING_S)
        if budget < _LEAST_S:
            return "not begun: no time is left for it"
        if budget < needed:
            return f"not begun: it takes about {expected:.0f} s, {budget:.0f} s are left for it"
        return ""

    def _carry_out(self, part: Part, interruption: Interruption) -> None:
        """Run a part's process to its end, its limit or the lease's end, and note its outcome."""
        budget, expected = self._budget(part), part.expected(self.place, self.taken)
        fresh = not (isinstance(part, Run) and part.run_dir(self.place).exists())
        ends = "" if expected is None else f", about {min(expected, budget):.0f} s"
        self._say(f"{part.name} begins{ends}")
        log = self.place.folder / "logs" / f"{part.name.replace(' ', '-')}.log"
        started = time.monotonic()
        code, stopped = self._run(part, log, started + budget, interruption)
        seconds = time.monotonic() - started
        if part.shares:
            self._shared[part.shares] = self._shared.get(part.shares, 0.0) + seconds
        state = "done" if code == 0 else "cut" if stopped else "failed"
        said = part.outcome(self.place)
        if state == "failed":
            said = f"{said}; {_last_line(log)} (logs/{log.name})"
        besides = part.besides(self.place, seconds) if state == "done" and fresh else None
        self._note(part, state, said, seconds, besides)

    def _run(
        self, part: Part, log: Path, end: float, interruption: Interruption
    ) -> tuple[int, bool]:
        """Run a part's process; return (exit code, whether it was told to stop)."""
        with log.open("ab") as output:
            child = subprocess.Popen(
                [sys.executable, *part.command(self.place)],
                cwd=CHECKOUT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,  # a terminal's Ctrl-C reaches it once, from here
                preexec_fn=_dies_with_parent(part.stop),
            )
        self._state |= {
            "child": child.pid,
            "start": process_start(child.pid),
            "host": socket.gethostname(),
        }
        self._save()
        stopped = False
        with self._live(part, log) as show:
            while child.poll() is None:
                if not stopped and (interruption.received or time.monotonic() > end):
                    child.send_signal(part.stop)
                    stopped, end = True, time.monotonic() + SAVE_S
                elif stopped and time.monotonic() > end:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(child.pid, signal.SIGKILL)
                show()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(_LOOK_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)  # workers that the part left behind
        self._state["child"] = 0
        return child.returncode, stopped

    @contextlib.contextmanager
    def _live(self, part: Part, log: Path) -> Iterator[Callable[[], None]]:
        """Yield a call that on a terminal shows the time left and the log's last line."""
        if not self.console.is_terminal:
            yield lambda: None
            return
        with self.console.status(part.name) as status:
            yield lambda: status.update(
                escape(f"{part.name}  {_clock(self.left)} left  {_last_line(log)}")
            )

    # The folder

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the folder; where an earlier lease was killed, wait until its last part has ended.

        UserError where another lease holds the folder, or that part still runs after SAVE_S.
        """
        folder = self.place.folder
        refusal = f"another lease works in {folder}; wait for it, or choose another --out"
        with locked(folder / ".lock", refusal):
            self._read()
            child, end = self._state["child"], time.monotonic() + SAVE_S
            start = self._state.get("start", "")
            here = self._state["host"] == socket.gethostname()
            while child and here and process_alive(child, start):
                if time.monotonic() > end:
                    raise UserError(f"process {child} still works in {self.place.folder}: end it")
                time.sleep(_LOOK_S)
            yield

    def _read(self) -> None:
        path = self.place.folder / "lease.json"
        if path.exists():
            try:
                state = read_json(path)
                as_type(state, _Record, path.name)
            except ValueError as error:
                raise UserError(f"{path} is damaged ({error}); remove it") from None
            self._state = state

    def _save(self) -> None:
        write_text(self.place.folder / "lease.json", json.dumps(self._state, indent=1) + "\n")

    def _note(
        self,
        part: Part,
        state: str,
        said: str,
        seconds: float = 0.0,
        besides: float | None = None,
    ) -> None:
        """Write down what became of a part; "left out" does not replace an earlier "done"."""
        records = self._state["parts"]
        if state == "left out" and records.get(part.name, {}).get("state") == "done":
            return
        place = self.place
        records[part.name] = {
            "state": state,
            "said": said,
            "seconds": round(seconds, 1),
            "besides": besides,
            "at": now(),
            "device": place.device,
            "commit": place.commit,
        }
        self._save()
        took = f" after {seconds:.0f} s" if seconds else ""
        self._say(f"{part.name}: {state}{took}: {said}")

    def _say(self, text: str) -> None:
        line = f"[{_clock(self.left)} left] {text}"
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    # The end

    def pack(self) -> list[str]:
        """Write lease.md and pack the files to take home; return lines about these files."""
        write_text(self.place.folder / "lease.md", "\n".join(self._summary()) + "\n")
        files, left = pack(self.place.folder, self.back)
        size = sum(path.stat().st_size for path in files) / 2**20
        lines = [f"to take home: {len(files)} files, {size:.1f} MiB, in {self.back}"]
        if left:
            lines.append(f"not among them, for lack of room: {', '.join(left)}")
        return lines

    def _summary(self) -> Iterator[str]:
        yield f"# What was done on {escaped(self.place.device)}\n"
        body = []
        for name, record in self._state["parts"].items():
            seconds = f"{record['seconds']:.0f}" if record["seconds"] else ""
            body.append([name, record["state"], seconds, record["said"], record["commit"]])
        yield from table(["part", "state", "seconds", "what came out", "commit"], body)
        yield from ("", *self._how_to_go_on())

    def _how_to_go_on(self) -> Iterator[str]:
        waiting = [
            part.name
            for part in self.parts
            if self._state["parts"].get(part.name, {}).get("state") in ("cut", "failed", "waiting")
        ]
        if waiting:
            yield f"left: {', '.join(waiting)}; the same command goes on"
        yield (
            "elsewhere: mkdir -p LEASE && cat lease.tar.* | tar -x -C LEASE; "
            "then codepath lease --out LEASE goes on, and codepath collect LEASE takes the rows"
        )

    def report(self) -> list[str]:
        """Pack, and return lines about the packed files and how to go on."""
        return [*self.pack(), *self._how_to_go_on()]


def _dies_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """For a child to call: asks for signal `number` when its parent is killed.

    Linux only: elsewhere None, and the child works on.
    """
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, number)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").replace("\r", "\n").splitlines()[-20:]
    full = [line.strip() for line in lines if line.strip()]
    return full[-1][:100] if full else ""


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(int(seconds), 0), 60)
    return f"{minutes}:{rest:02}"
