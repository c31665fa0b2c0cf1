"""Choosing runs by name, cancelling them, and submitting them again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from codepath.core.errors import UserError, unknown_name
from codepath.core.machine import process_alive
from codepath.launch.cluster import check_profiles
from codepath.launch.plan import ALL, Destination, make_plan
from codepath.launch.submit import Submission
from codepath.run.directory import read_config
from codepath.run.events import events, note, order_to_do
from codepath.run.state import RunStatus, find_runs, look_all


def choose_runs(runs: Path, names: Sequence[str]) -> list[Path]:
    """Run directories below RUNS, by name.

    A name is a run's directory, a part of SCALE/EXPERIMENT/RUN between slashes (such as an
    experiment, a scale or coded-s0), or all. UserError where a name means no run.
    """
    present = find_runs(runs)
    if not names or ALL in names:
        return present
    chosen: list[Path] = []
    for name in names:
        wanted = Path(name).parts
        matching = [
            run
            for run in present
            if run.resolve() == Path(name).resolve() or _contains(run.parts[-3:], wanted)
        ]
        if not matching:
            known = {part for run in present for part in run.parts[-3:]}
            raise unknown_name(f"run below {runs}:", name, known)
        chosen += [run for run in matching if run not in chosen]
    return chosen


def _contains(parts: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    size = len(wanted)
    return any(parts[k : k + size] == wanted for k in range(len(parts) - size + 1))


def cancel(statuses: Sequence[RunStatus]) -> list[str]:
    """Cancel the runs that wait or run, and return a line for each of `statuses`.

    What a run has saved stays. UserError where a run works on another machine outside Slurm, since
    it cannot be reached from here.
    """
    lines = []
    for status in statuses:
        if not status.is_under_way:
            lines.append(f"{status.name}: {status.state}, nothing to cancel")
            continue
        if status.cluster != "slurm" and status.state == "running":
            _require_here(status)
        note(status.run_dir, "cancelled")
        if status.cluster == "slurm":
            if status.job:  # else its submission was killed before it knew the job
                _scancel(status.job)
        elif status.state == "running":
            _interrupt(status)
        lines.append(f"{status.name}: cancelled")
    return lines


def _scancel(job: str) -> None:
    try:
        done = subprocess.run(["scancel", job], capture_output=True, text=True, check=False)
    except OSError as error:
        raise UserError(f"cannot cancel job {job}: {error.strerror} (scancel)") from None
    if done.returncode:
        raise UserError(f"cannot cancel job {job}: {done.stderr.strip()}")


def _started(status: RunStatus) -> dict[str, object]:
    return next(e for e in reversed(events(status.run_dir)) if e["event"] == "started")


def _require_here(status: RunStatus) -> None:
    host = _started(status).get("host")
    if host != socket.gethostname():
        raise UserError(f"{status.name} runs on {host}: cancel it there")


def _interrupt(status: RunStatus) -> None:
    """Send SIGINT to a run's process, which saves and then stops or goes on with its next run."""
    started = _started(status)
    pid = int(str(started["pid"]))
    if process_alive(pid, str(started.get("start", ""))):
        os.kill(pid, signal.SIGINT)


@dataclass(frozen=True)
class Retry:
    """What runs have to have in common to be submitted again together."""

    cluster: str
    runs: str
    results: str
    data: str
    backend: str
    device_batch: int
    precision: str
    profile: str


def retry(
    statuses: Sequence[RunStatus],
    profile: str | None,
    cluster: str | None,
    device_batch: int | None = None,
    precision: str | None = None,
) -> list[str]:
    """Submit failed and cancelled runs again, with the present source; return a line for each job.

    Args:
        statuses: the runs' status; only those that failed or were cancelled are submitted.
        profile: the profile for all of them; None: the one that each run had.
        cluster: the cluster for all of them; None: the one that each run was submitted to.
        device_batch: the device batch for all of them; None: the one that each run had.
        precision: the precision for all of them; None: the one that each run had.

    Raises UserError where a run was never submitted.
    """
    check_profiles()
    groups: dict[Retry, list[Path]] = {}
    for status in statuses:
        if status.state not in ("failed", "cancelled"):
            continue
        order = order_to_do(status.run_dir)
        alike = Retry(
            cluster=cluster or order["cluster"],
            runs=order["runs"],
            results=order["results"],
            data=order["data"],
            backend=order["backend"],
            device_batch=order["device_batch"] if device_batch is None else device_batch,
            precision=precision or order["precision"],
            profile=profile or order["profile"],
        )
        groups.setdefault(alike, []).append(status.run_dir)
    lines = []
    for alike, run_dirs in groups.items():
        configs = [read_config(run_dir) for run_dir in run_dirs]
        destination = Destination(Path(alike.runs), Path(alike.results))
        plan = make_plan(configs, destination, alike.profile)
        data = Path(alike.data) if alike.data else None
        lines += Submission(
            plan,
            destination,
            alike.cluster,
            data,
            alike.backend,
            alike.device_batch,
            alike.precision,
        ).submit()
    return lines or ["nothing failed or was cancelled"]


def statuses_of(runs: Path, names: Sequence[str]) -> list[RunStatus]:
    """The status of the runs that `choose_runs` finds."""
    return look_all(choose_runs(runs, names))
