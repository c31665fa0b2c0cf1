"""A real Slurm for tests: brought up for a module and taken down after it; jobs disturbed there.

Digits at demo scale. Needs root, and Debian's packages or the right to install them.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
import safetensors.torch
import torch

from codepath.core.provenance import REPO_ROOT
from codepath.run.events import events
from codepath.run.state import RunStatus, look_all

SCRIPT = str(REPO_ROOT / "slurm" / "local-cluster")
CODEPATH = f"{sys.executable} -m codepath.cli"
PATIENCE_S = 600
SILENCE_S = 30
"""So long may a node be silent before Slurm takes it for lost."""
LONG = "train.epochs=8"
RUN_NAMES = ("coded-s0", "baseline-s0")
SEED = int(os.environ.get("CODEPATH_MOMENTS") or time.time_ns() % 10**6)
MOMENTS = random.Random(SEED)
"""When runs are disturbed; CODEPATH_MOMENTS repeats the draws of another time."""
PROFILES = """
[use]
demo = "small"
cpu = "small"
service = "small"
[small]
cpus = 1
memory = "4G"
time = "30:00"
parallel = 2
[pair]
cpus = 1
tasks = 2
memory = "8G"
time = "30:00"
[impossible]
partition = "nowhere"
time = "30:00"
"""


def free_ports() -> int:
    """The first of some ports that are free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return min(int(probe.getsockname()[1]), 60_000)


@contextlib.contextmanager
def cluster_of(nodes: int, **variables: str) -> Iterator[Path]:
    """A cluster of so many nodes, which this process's environment points at; its folder."""
    folder = Path(f"/tmp/codepath-slurm-{os.getpid()}-{nodes}")
    settings = {
        "CODEPATH_CLUSTER": str(folder),
        "CODEPATH_CLUSTER_PORT": str(free_ports()),
        "CODEPATH_CLUSTER_NODES": str(nodes),
        "CODEPATH_CLUSTER_CPUS": str(max(nodes, 2)),
        "CODEPATH_CLUSTER_TIMEOUT": str(SILENCE_S),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(REPO_ROOT),
    } | variables
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        up = subprocess.run([SCRIPT, "up"], capture_output=True, text=True, check=False)
        if up.returncode and "could not be installed" in up.stderr:
            pytest.skip(f"Slurm cannot be installed here: {up.stderr.strip().splitlines()[-1]}")
        assert up.returncode == 0, up.stderr
        try:
            found = subprocess.run([SCRIPT, "env"], capture_output=True, text=True, check=True)
            patch.setenv("SLURM_CONF", found.stdout.strip().partition("=")[2])
            yield folder
        finally:
            subprocess.run([SCRIPT, "down"], check=True)
            assert not folder.exists()


def call(*command: str, cwd: Path | None = None, **variables: str) -> str:
    """The output of a command that succeeds."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=dict(os.environ, **variables),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def codepath(*arguments: str) -> str:
    return call(*CODEPATH.split(), *arguments)


def status(runs: Path) -> subprocess.CompletedProcess[str]:
    """What `codepath status` says."""
    return subprocess.run(
        [*CODEPATH.split(), "status", "--runs", str(runs)],
        capture_output=True,
        text=True,
        check=False,
    )


def wait_until(condition: Callable[[], bool], runs: Path) -> None:
    """Wait for what is to come; the states of the runs explain a failure."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, status(runs).stdout + call("squeue")
        time.sleep(0.3)


def state(run: Path) -> RunStatus:
    return look_all([run])[0]


def start_now(job: str, runs: Path) -> None:
    """Do not wait two minutes for a requeued job: its batch script needs a moment to end."""
    wait_until(lambda: "PENDING" in call("squeue", "-h", "-o", "%T", "-j", job), runs)
    call("scontrol", "update", f"jobid={job}", "timelimit=30", "starttime=now+3")


def starts(run: Path) -> list[dict]:
    return [event for event in events(run) if event["event"] == "started"]


def seconds_of(run: Path) -> float:
    """From the start of a finished run to its end."""
    done = json.loads((run / "DONE").read_text())["at"]
    begun = starts(run)[0]["at"]
    return (datetime.fromisoformat(done) - datetime.fromisoformat(begun)).total_seconds()


def freeze(run: Path, attempt: int = 1) -> int:
    """Stop the first process of an attempt where it is, so that no machine is too fast; its id."""
    wait_until(lambda: len(starts(run)) == attempt, run.parents[2])
    pid = int(starts(run)[-1]["pid"])
    os.kill(pid, signal.SIGSTOP)
    return pid


def thaw(pid: int) -> None:
    """Let a frozen process go on, unless Slurm, whose signals do so too, was first."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def freeze_at_random(run: Path, attempt: int, undisturbed: Path) -> int:
    """Stop an attempt at a random moment in the first third of what a whole run takes; its id.

    Later attempts, which have less before them, get a third of that.
    """
    pid = freeze(run, attempt)
    whole = seconds_of(undisturbed / run.name)
    moment = MOMENTS.uniform(0, whole * (0.3 if attempt == 1 else 0.1))
    print(f"CODEPATH_MOMENTS={SEED}: {run.name}, attempt {attempt}, after {moment:.2f} s")
    thaw(pid)
    time.sleep(moment)
    os.kill(pid, signal.SIGSTOP)
    assert not (run / "DONE").exists()
    return pid


def requeued(run: Path, attempt: int) -> None:
    """Wait until a run's job is queued again after an attempt, and let it start at once."""
    runs = run.parents[2]
    wait_until(lambda: state(run).state == "waiting", runs)
    assert state(run).requeues == attempt
    assert not (run / "DONE").exists()
    start_now(state(run).job, runs)


def same_weights(one: Path, other: Path) -> bool:
    mine, theirs = (safetensors.torch.load_file(p / "model.safetensors") for p in (one, other))
    return mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)


def sbatch(folder: Path, *options: str, name: str = "cifar10", **variables: str) -> str:
    """Submit an sbatch file for the digits, small enough for this machine; the job's id."""
    small = (
        "--gpus-per-node=0",
        "--ntasks-per-node=1",
        "--mem=4G",
        "--cpus-per-task=1",
        "--time=30",
    )
    demo = {"REPO": str(REPO_ROOT), "CODEPATH": CODEPATH, "RUNS": str(folder / "runs")}
    demo |= {"EXPERIMENT": "table2-digits", "SCALE": "demo", "OPTIONS": f"--set {LONG}"}
    file = str(REPO_ROOT / "slurm" / f"{name}.sbatch")
    return call(
        "sbatch", "--parsable", *small, *options, file, cwd=folder, **(demo | variables)
    ).strip()


def log(folder: Path, job: str, name: str = "cifar10") -> str:
    path = folder / f"slurm-codepath-{name}-{job}.out"
    return path.read_text() if path.exists() else ""


def ended(job: str, runs: Path) -> str:
    """How a job ended, by sacct."""

    def said() -> str:
        return call("sacct", "-X", "-n", "-P", "-o", "State", "-j", job).strip()

    wait_until(lambda: said() in ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED"), runs)
    return said()
