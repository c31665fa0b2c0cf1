"""Files in a run's directory that say what happens to it: events, heartbeat and order.

    events.jsonl    one line per event: submitted, started, stopped, failed, cancelled
    heartbeat.json  what the run's process is doing now, replaced every few seconds
    job.json        the order of a submitted run: what its job is to do, and with which source

No result depends on these files: a run is done when DONE says so. Where several processes train one
network, only the first writes them, but each of them notes its own failure.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from codepath.core.errors import LostProcessesError, UserError
from codepath.core.files import append_line, json_lines, read_json, sync, write_text
from codepath.core.machine import process_start
from codepath.core.plain import is_type
from codepath.core.provenance import is_time, now
from codepath.core.signals import InterruptedRun

EVENTS, HEARTBEAT, JOB = "events.jsonl", "heartbeat.json", "job.json"
BEAT_S = 10.0
"""Seconds between heartbeats within an epoch."""
ERROR_LINES = 6
"""How many of an error's last lines are kept."""

_VALUES: dict[str, Any] = {
    "event": str,
    "at": str,
    "job": str,
    "cluster": str,
    "host": str,
    "pid": int,
    "start": str,
    "process": dict[str, Any],
    "log": str,
    "why": str,
    "error": list[str],
    "rank": int,
    "follows_another": bool,
    "saved": list[list[str]],
    "phase": str,
    "done": float,
    "epoch": int,
    "eta_s": float,
    "folder": str,
    "source": str,
    "commit": str,
    "dirty": bool,
    "runs": str,
    "results": str,
    "data": str,
    "backend": str,
    "device_batch": int,
    "precision": str,
    "profile": str,
}
"""Key of an event, a heartbeat or an order -> its type. Other keys may hold anything."""
_JOB_ID = re.compile(r"[0-9A-Za-z_+.]*")
"""An id that Slurm's commands cannot take for an option."""
_ORDERED = ("cluster", "source", "runs", "results", "data", "backend", "profile")
"""What an order says for certain; those of earlier versions left the rest out."""

_started: set[Path] = set()
"""Runs whose start this process has noted."""
_last_beat: dict[Path, float] = {}


def process_rank() -> int:
    """This process's number within its job, as torchrun or srun set it; else 0."""
    in_step = "SLURM_STEP_ID" in os.environ or "SLURM_STEPID" in os.environ
    rank = os.environ.get("RANK") or (os.environ.get("SLURM_PROCID") if in_step else None) or "0"
    return int(rank) if rank.isdigit() else 0


def current_job() -> str:
    """The id of this process's job in submitit's spelling; empty where it belongs to none."""
    env = os.environ
    if env.get("SLURM_ARRAY_JOB_ID"):
        return f"{env['SLURM_ARRAY_JOB_ID']}_{env.get('SLURM_ARRAY_TASK_ID', '')}"
    return env.get("SLURM_JOB_ID") or env.get("SUBMITIT_LOCAL_JOB_ID") or ""


def current_cluster() -> str:
    """slurm or local where this process belongs to a job, else empty."""
    if "SLURM_JOB_ID" in os.environ:
        return "slurm"
    return "local" if "SUBMITIT_LOCAL_JOB_ID" in os.environ else ""


def process_facts(pid: int) -> dict[str, Any]:
    """What names a process of this machine for good: host, pid and start."""
    return {"host": socket.gethostname(), "pid": pid, "start": process_start(pid)}


def note(run_dir: Path, event: str, **details: Any) -> None:
    """Append an event, if the run's directory is there; it is on the disk on return.

    Bookkeeping never ends a run: an event that cannot be written (full disk) is dropped.
    """
    if process_rank() and event != "failed":
        return
    with contextlib.suppress(OSError):
        append_line(run_dir / EVENTS, json.dumps({"event": event, "at": now(), **details}))
        sync(run_dir / EVENTS)


def note_failure(run_dir: Path, error: BaseException) -> None:
    """Append that the run failed, with the last lines of the error.

    The event of a LostProcessesError says `follows_another`.
    """
    if isinstance(error, UserError):
        lines = str(error).splitlines()
    else:
        lines = "".join(traceback.format_exception(error)).splitlines()[-ERROR_LINES:]
    follows = {"follows_another": True} if isinstance(error, LostProcessesError) else {}
    note(run_dir, "failed", error=lines, job=current_job(), rank=process_rank(), **follows)


def events(run_dir: Path) -> list[dict[str, Any]]:
    """The events, oldest first; half-written and damaged lines are left out."""
    try:
        lines = json_lines(run_dir / EVENTS)
    except OSError:
        return []
    return [
        line
        for line in lines
        if "event" in line
        and _is_well_formed(line)
        and (line["event"] != "failed" or "error" in line)
    ]


def since(happened: list[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    """What happened from the last `event` on; everything where there is no such event."""
    found = [place for place, one in enumerate(happened) if one["event"] == event]
    return happened[found[-1] if found else 0 :]


def beat(run_dir: Path, phase: str, **progress: Any) -> None:
    """Write a heartbeat; this process's first one in a run also notes the event "started".

    Args:
        run_dir: the run's directory, which has to be there.
        phase: starting, training or evaluating.
        progress: while training: done (share of all steps), epoch, eta_s (seconds left).
    """
    if process_rank():
        return
    process = {
        **process_facts(os.getpid()),
        "job": current_job(),
        "cluster": current_cluster(),
    }
    run_dir = run_dir.absolute()
    if run_dir not in _started:
        _started.add(run_dir)
        log = os.environ.get("CODEPATH_LOG", "")
        note(run_dir, "started", **process, **({"log": log} if log else {}))
    _last_beat[run_dir] = time.monotonic()
    with contextlib.suppress(OSError):
        values = {"phase": phase, "at": now(), **process, **progress}
        write_text(run_dir / HEARTBEAT, json.dumps(values) + "\n")


def beat_is_due(run_dir: Path) -> bool:
    """Whether the last heartbeat is old enough for another one within an epoch."""
    return time.monotonic() - _last_beat.get(run_dir.absolute(), -BEAT_S) >= BEAT_S


@contextlib.contextmanager
def outcome_noted(run_dir: Path) -> Iterator[None]:
    """Note that work on a run stopped or failed, if this process has noted the run's start."""
    try:
        yield
    except (InterruptedRun, KeyboardInterrupt):
        if run_dir.absolute() in _started:
            note(run_dir, "stopped", job=current_job())
        raise
    except Exception as error:
        if run_dir.absolute() in _started:
            note_failure(run_dir, error)
        raise


def heartbeat(run_dir: Path) -> dict[str, Any]:
    """The last heartbeat; empty where there is none, or a damaged one."""
    found = _read(run_dir / HEARTBEAT)
    return found if "at" in found else {}


def write_order(run_dir: Path, order: dict[str, Any]) -> None:
    """Write the run's order: what its job is to do."""
    write_text(run_dir / JOB, json.dumps(order, indent=2) + "\n")


def read_order(run_dir: Path) -> dict[str, Any]:
    """The run's order; empty where the run was never submitted, or its order is damaged."""
    return _read(run_dir / JOB)


def order_to_do(run_dir: Path) -> dict[str, Any]:
    """The run's order with all that doing it needs; UserError where there is none."""
    order = read_order(run_dir)
    missing = [key for key in _ORDERED if key not in order]
    if missing:
        raise UserError(
            f"{run_dir / JOB} is absent or damaged (it says no {missing[0]}): submit the run, or "
            "repeat its command"
        )
    return {"device_batch": 0, "precision": "auto"} | order


def _read(path: Path) -> dict[str, Any]:
    try:
        value = read_json(path)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) and _is_well_formed(value) else {}


def _is_well_formed(values: dict[str, Any]) -> bool:
    """Whether every known key holds what it is read for.

    A process number of 0 or less would stand for a whole group of processes, and 1 for the system.
    """
    return (
        all(is_type(value, _VALUES.get(key, Any)) for key, value in values.items())
        and values.get("pid", 2) > 1
        and _JOB_ID.fullmatch(values.get("job", "")) is not None
        and ("at" not in values or is_time(values["at"]))
        and ("process" not in values or _is_well_formed(values["process"]))
    )
