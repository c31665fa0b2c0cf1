"""The state of runs, derived from their files and from what Slurm says (no torch)."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from codepath.core.durations import readable_duration
from codepath.core.errors import UserError, one_line
from codepath.core.machine import process_alive
from codepath.run.config import RunConfig
from codepath.run.directory import is_done, read_config
from codepath.run.events import ERROR_LINES, events, heartbeat, read_order, since
from codepath.run.slurm import RUNNING, WAITING, JobState, job_states

STATES = ("running", "waiting", "stopped", "failed", "cancelled", "done", "new")
_TAIL = 2**16
"""Bytes at a log's end that its last lines are looked for in."""
SILENT_S = 600
"""Seconds; `codepath status` remarks on an older heartbeat, and no submission takes longer."""
_CUT_OFF = "its submission was cut off before a job was noted (squeue shows it, if there is one)"


@dataclass(frozen=True)
class RunStatus:
    """A run as `codepath status` shows it."""

    run_dir: Path
    state: str
    """One of STATES. A stopped run goes on when its command is repeated; a new one never began."""
    progress: str = ""
    """Epoch and remaining time, or why the run waits or ended."""
    requeues: int = 0
    """How often the run's job was queued again."""
    cluster: str = ""
    """slurm or local; empty for a process that a person started."""
    job: str = ""
    slurm: str = ""
    """What Slurm says of the job, where it was asked and knows it."""
    error: tuple[str, ...] = ()
    """The last lines of a failure."""
    run_id: str = ""
    """The run_id of the configuration in `run_dir`."""

    @property
    def name(self) -> str:
        """SCALE/EXPERIMENT/RUN."""
        return "/".join(self.run_dir.parts[-3:])

    @property
    def is_under_way(self) -> bool:
        """Whether the run waits or runs."""
        return self.state in ("waiting", "running")

    @property
    def is_asked_about(self) -> bool:
        """Whether Slurm may know more than the run's files: by these its job has not ended."""
        return self.cluster == "slurm" and self.is_under_way

    def holds(self, config: RunConfig) -> bool:
        """Whether nothing has to be submitted for `config`: that run is done or under way.

        A run that waits without a job does not count: its submission goes on (then the next one
        waits for that to end, and looks again) or was killed.
        """
        has_work = self.state == "running" or (self.state == "waiting" and bool(self.job))
        return self.run_id == config.run_id and (self.state == "done" or has_work)


def find_runs(runs: Path) -> list[Path]:
    """The run directories below RUNS, by name."""
    return sorted(path.parent for path in runs.glob("*/*/*/config.json"))


def look_all(run_dirs: Iterable[Path]) -> list[RunStatus]:
    """The status of runs; Slurm is asked once, for all jobs that by the files have not ended."""
    first = [look(run_dir) for run_dir in run_dirs]
    asked = {status.job for status in first if status.is_asked_about}
    jobs = job_states(asked) if asked else {}
    if jobs is None:
        return [replace(s, slurm="no answer") if s.job in asked else s for s in first]
    return [look(s.run_dir, jobs) if s.job in asked else s for s in first]


def look(run_dir: Path, jobs: Mapping[str, JobState] | None = None) -> RunStatus:
    """The status of one run.

    Args:
        run_dir: a run directory, or one that is not there yet.
        jobs: what Slurm says of jobs; None: Slurm was not asked.
    """
    try:
        if not (run_dir / "config.json").exists():
            return RunStatus(run_dir, "new")
        config = read_config(run_dir)
        done = is_done(run_dir, config)
    except (UserError, OSError) as error:
        return RunStatus(run_dir, "failed", error=(str(error),))
    happened = since(events(run_dir), "submitted")
    starts = [event for event in happened if event["event"] == "started"]
    order = read_order(run_dir)
    origin: Mapping[str, Any] = starts[-1] if starts else order
    job, cluster = str(origin.get("job") or ""), str(origin.get("cluster") or "")
    restarts = sum(bool(job) and start.get("job") == job for start in starts) - 1
    status = RunStatus(run_dir, "done", "", max(restarts, 0), cluster, job, run_id=config.run_id)
    if done or not happened:
        return status if done else replace(status, state="new")
    last = happened[-1]
    match last["event"]:
        case "failed":
            first = _first_failure(happened)
            return replace(status, state="failed", error=tuple(first["error"]))
        case "cancelled":
            return replace(status, state="cancelled")
        case "stopped" if not job:
            return replace(status, state="stopped", progress="goes on when repeated")
        case "started":
            status = replace(status, state="running", progress=_progress(config, run_dir, last))
        case _:
            why = str(last.get("why", "")) if job else "not handed over yet"
            status = replace(status, state="waiting", progress=why)
    process = origin if status.state == "running" else order.get("process", {"pid": job})
    if cluster == "slurm" and not job:
        if _age(last) > SILENT_S or not _alive(process):
            status = replace(status, state="failed", error=(_CUT_OFF,))
    elif cluster == "slurm":
        status = _with_slurm(status, (jobs or {}).get(job), last)
    elif not _alive(process):
        status = _gone(status)
    requeued = status.state == "waiting" and bool(starts)
    return replace(status, requeues=status.requeues + 1) if requeued else status


def _first_failure(happened: list[dict[str, Any]]) -> dict[str, Any]:
    """The first failure of the last attempt; other processes' failures follow from it."""
    return next(event for event in since(happened, "started") if event["event"] == "failed")


def _with_slurm(status: RunStatus, job: JobState | None, last: Mapping[str, Any]) -> RunStatus:
    if job is None:
        return status
    status = replace(status, slurm=job.words)
    if job.state in WAITING:
        cure = f"held: scontrol release {status.job}" if job.is_held else ""
        return replace(status, state="waiting", progress=cure)
    if job.state in RUNNING:
        if last["event"] == "started":
            return status
        return replace(status, state="running", progress="starting")
    if job.state == "CANCELLED":
        why = "what it waits for failed" if "Dependency" in job.reason else "in Slurm"
        return replace(status, state="cancelled", progress=why)
    said = "ended without finishing" if job.state == "COMPLETED" else f"ended by {job.state}"
    tail = log_tail(status)
    return replace(status, state="failed", progress="", error=(f"Slurm: job {said}", *tail))


def _alive(process: Mapping[str, Any]) -> bool:
    """Whether a process lives, by its `process_facts`; True where another machine has it."""
    if process.get("host", socket.gethostname()) != socket.gethostname():
        return True
    pid = str(process.get("pid", ""))
    if not re.fullmatch(r"[0-9]{1,10}", pid):
        return False
    return process_alive(int(pid), str(process.get("start", "")))


def _age(event: Mapping[str, Any]) -> float:
    """Seconds since an event or a heartbeat."""
    return (datetime.now(UTC) - datetime.fromisoformat(event["at"])).total_seconds()


def _gone(status: RunStatus) -> RunStatus:
    if not status.job:
        return replace(status, state="stopped", progress="killed; goes on when repeated")
    error = ("its process is gone (killed?)", *log_tail(status))
    return replace(status, state="failed", progress="", error=error)


def log_path(status: RunStatus) -> Path | None:
    """The path of the log of a run's job; None where it is not known."""
    starts = [event for event in events(status.run_dir) if event["event"] == "started"]
    if starts and starts[-1].get("log"):
        return Path(starts[-1]["log"])
    order = read_order(status.run_dir)
    if not order.get("folder") or order.get("job") != status.job:
        return None
    return Path(order["folder"]) / f"{status.job}_0_log.out"


def log_tail(status: RunStatus) -> tuple[str, ...]:
    """The last lines of the log of a run's job."""
    path = log_path(status)
    try:
        if path is None or not path.is_file():  # a device may never end
            return ()
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - _TAIL, 0))
            lines = file.read(_TAIL).decode(errors="replace").splitlines()
    except (OSError, ValueError):
        return ()
    return tuple(line for line in lines if line.strip())[-ERROR_LINES:]


def _progress(config: RunConfig, run_dir: Path, started: Mapping[str, Any]) -> str:
    """Phase, epoch and remaining time, by the heartbeat of the process that started last."""
    beat = heartbeat(run_dir)
    if (beat.get("host"), beat.get("pid")) != (started.get("host"), started.get("pid")):
        return "starting"
    words = str(beat.get("phase", ""))
    age = _age(beat)
    if words == "training":
        words = f"epoch {beat['epoch']}/{config.train.epochs}" if beat.get("epoch") else "training"
        words += f", {beat['done']:.0%}" if "done" in beat else ""
        if "eta_s" in beat:
            words += f", ETA {readable_duration(max(0.0, beat['eta_s'] - age))}"
    if age > SILENT_S:
        words += f", silent for {readable_duration(age)}"
    return words


def table(statuses: Iterable[RunStatus]) -> list[str]:
    """Lines for a person: one per run, last lines of its failure, and a count of each state."""
    statuses = list(statuses)
    if not statuses:
        return ["no runs"]
    rows = [
        (
            status.state,
            status.name,
            status.progress,
            f"requeued {status.requeues} x" if status.requeues else "",
            f"{status.cluster} {status.job}".strip(),
            status.slurm,
        )
        for status in statuses
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for status, row in zip(statuses, rows, strict=True):
        cells = (c.ljust(w) for c, w in zip(row, widths, strict=True) if w)
        lines.append("  ".join(cells).rstrip())
        lines += [f"    {line}" for line in status.error]
    counts = {state: sum(s.state == state for s in statuses) for state in STATES}
    said = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
    return [one_line(line) for line in (*lines, said)]
