"""What every part needs to know about this machine and this checkout (standard library only)."""

from __future__ import annotations

import contextlib
import ctypes
import difflib
import functools
import importlib.metadata
import json
import os
import platform
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

PACKAGE_ROOT = Path(__file__).resolve().parent
REPO_ROOT = PACKAGE_ROOT.parent
"""The checkout that holds this package (editable installation), or a job's copy of it."""
SNAPSHOT = "SNAPSHOT.json"
"""In a copy that jobs run: the commit that it was made from."""

REPORTED_PACKAGES = (
    "codepath",
    "torch",
    "torchvision",
    "timm",
    "ffcv",
    "numba",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "matplotlib",
    "seaborn",
    "submitit",
)


EXIT_INTERRUPTED = 130
"""A person interrupted the work (SIGINT)."""
EXIT_REQUEUE = 75
"""The work was told to give way (SIGTERM, SIGUSR2) and can go on: sysexits' EX_TEMPFAIL."""


class UserError(ValueError):
    """A mistake that the user can mend: the message is one line with the cause and the cure."""


class InterruptedRun(Exception):  # noqa: N818 (not an error)
    """Work stopped on request; everything up to the last save is kept and can be resumed.

    Args:
        message: what is kept, and how to go on.
        signal_number: of the signal that asked for it.
    """

    def __init__(self, message: str, signal_number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:
        """What a process ends with: EXIT_INTERRUPTED for SIGINT, else EXIT_REQUEUE."""
        return EXIT_INTERRUPTED if self.signal_number == signal.SIGINT else EXIT_REQUEUE


def _told_to_stop(number: int) -> InterruptedRun:
    name = signal.Signals(number).name
    return InterruptedRun(f"interrupted by {name}; repeat the command to go on", number)


class Interruption:
    """SIGINT, SIGTERM and SIGUSR2 as InterruptedRun, while the context lasts.

    Within `deferred` a signal is noted in `received` instead, for the work to end where it can be
    resumed; a second SIGINT raises there too. Outside the main thread, where Python delivers no
    signals, nothing is changed.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)

    def __init__(self) -> None:
        self.received = 0
        """The number of the first signal, 0 before it."""
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
        """Within it signals are noted and do not raise; see the class."""
        before, self._deferring = self._deferring, True
        try:
            yield
        finally:
            self._deferring = before


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not registered, with the nearest known names."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
    return UserError(f"unknown {kind} '{name}': {hint}")


@functools.cache
def git_state() -> tuple[str, bool]:
    """(commit, dirty) of the checkout; ("unknown", False) outside a git checkout.

    Files under results/ and paper/ are what runs write, so they do not count as dirt. A job's copy
    of a checkout carries the state of the checkout it was made from.
    """
    copied = REPO_ROOT / SNAPSHOT
    if copied.exists():
        state = json.loads(copied.read_text())
        return state["commit"], state["dirty"]

    def git(*args: str) -> str:
        return subprocess.run(
            ["git", "-C", str(REPO_ROOT), *args],
            check=True,
            capture_output=True,
            text=True,
            timeout=20,
        ).stdout.strip()

    try:
        commit = git("rev-parse", "--short=12", "HEAD")
        changed = git("status", "--porcelain", "--", ".", ":!results", ":!paper")
    except (OSError, subprocess.SubprocessError):
        return "unknown", False
    return commit, bool(changed)


def package_versions() -> dict[str, str]:
    """Installed version of every package that can change a result; absent ones are left out."""
    versions = {}
    for name in REPORTED_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def cpu_name() -> str:
    """The processor's model name as the operating system gives it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def available_cores() -> int:
    """Cores that this process may use: its affinity, which Slurm narrows."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees (glibc; elsewhere nothing is done).

    By default glibc gives large blocks back to the kernel, and a training step on the CPU pays
    for zeroed pages again. Its resident memory then stays near its peak.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mmap_max, trim_threshold, top_pad = -4, -1, -2
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, -1)
    mallopt(top_pad, 2**28)


def process_alive(pid: int) -> bool:
    """Whether a process of that number runs here (zombies do not count)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] != "Z"


def has_gpu() -> bool:
    """Whether an NVIDIA driver is here (asked without loading torch)."""
    return shutil.which("nvidia-smi") is not None


def gpu_name() -> str:
    """The first GPU's name as the driver gives it, empty where none answers (without torch)."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return ""
    return next(iter(done.stdout.splitlines()), "").strip()


def processor_name() -> str:
    """The processor's name with the cores that may be used, as rows name it."""
    return f"{cpu_name()}, {available_cores()} cores"


def now() -> str:
    """The present time in UTC, ISO 8601 with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def make_directory(path: Path) -> Path:
    """Create `path` and its parents; UserError where that is not allowed."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot create {path}: {error.strerror}; choose a folder that you may write to"
        ) from None
    if not os.access(path, os.W_OK):
        raise UserError(f"no write permission in {path}; choose a folder that you may write to")
    return path


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed to disk and renamed to it.

    On an exception the temporary file is removed and what stood under `path` is untouched.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def json_lines(text: str) -> list[dict[str, Any]]:
    """The objects that lines of JSON hold; a line that a kill cut short is left out."""
    found = []
    for line in text.splitlines():
        try:
            value = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text)
