"""On a real Slurm of three nodes, of which one fails: it dies, hangs, or has a full disk.

The nodes share this machine and its folders. A node's failure is that of its slurmd and of all
processes of jobs there.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from codepath import store
from tests.data.photographs import SMALL_IMAGENET, make_folders
from tests.slurm.real_slurm import (
    CODEPATH,
    RUN_NAMES,
    call,
    codepath,
    ended,
    freeze,
    freeze_at_random,
    log,
    same_weights,
    sbatch,
    start_now,
    starts,
    state,
    thaw,
    wait_until,
)

pytestmark = [pytest.mark.slow, pytest.mark.slurm]
NODES = 3


def node_of(job: str) -> str:
    """The node on which a job runs."""
    return call("squeue", "-h", "-o", "%N", "-j", job).strip()


def node_state(node: str) -> str:
    return call("sinfo", "-h", "-N", "-n", node, "-o", "%T").split()[0]


def signal_node(cluster: Path, node: str, number: int) -> list[int]:
    """Send a signal to all that runs on a node, its slurmd first; the processes."""
    daemon = int((cluster / "run" / f"slurmd-{node}.pid").read_text())
    jobs = [job for job in call("squeue", "-h", "-w", node, "-o", "%A").split() if job]
    others = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = path.read_bytes().split(b"\0")
            command = (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
        of_node = f"SLURMD_NODENAME={node}".encode() in variables
        stepd = any(f"slurmstepd: [{job}.".encode() in command for job in jobs)
        if of_node or stepd:
            others.append(int(path.parent.name))
    for pid in (daemon, *others):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    return [daemon, *others]


def start_node(node: str, runs: Path) -> None:
    """Start a node's slurmd again; Slurm takes the node back."""
    subprocess.run(["slurmd", "-N", node], check=True, env=os.environ | {"PATH": PATH})
    wait_until(lambda: node_state(node) == "idle", runs)


def let_state_be_saved(cluster: Path, job: str, runs: Path) -> None:
    """Wait until the controller has written what it knows now; it does so some seconds late."""
    asked = time.time()
    call("scontrol", "update", f"JobId={job}", "Comment=written")
    wait_until(lambda: (cluster / "state" / "job_state").stat().st_mtime > asked, runs)


PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"


def attempts(run: Path) -> int:
    return len(starts(run))


def test_a_node_that_dies_under_a_run(cluster: Path, undisturbed: Path, tmp_path: Path) -> None:
    """Slurm queues the job again; it goes on elsewhere and ends in the same weights."""
    job = sbatch(tmp_path)
    runs = tmp_path / "runs"
    coded, baseline = (runs / "demo" / undisturbed.name / name for name in RUN_NAMES)
    freeze_at_random(coded, 1, undisturbed)
    node = node_of(job)
    signal_node(cluster, node, signal.SIGKILL)
    wait_until(lambda: node_state(node).startswith("down"), runs)
    start_now(job, runs)
    wait_until(lambda: attempts(coded) == 2, runs)
    assert node_of(job) != node
    start_node(node, runs)
    wait_until(lambda: (runs / "demo" / "claims.md").exists(), runs)
    for run in (coded, baseline):
        assert (state(run).state, state(run).job) == ("done", job)
        assert same_weights(run, undisturbed / run.name)
    assert len(store.read_rows(runs / "demo" / "results", "accuracy")) == 2
    assert ended(job, runs) == "COMPLETED"
    accounted = call("sacct", "-X", "-n", "-D", "-P", "-o", "State", "-j", job).split()
    assert accounted == ["NODE_FAIL", "COMPLETED"]


def test_a_node_that_hangs_under_a_run(cluster: Path, undisturbed: Path, tmp_path: Path) -> None:
    """The next attempt says which process holds the run. Once that is gone, the run goes on."""
    job = sbatch(tmp_path)
    runs = tmp_path / "runs"
    coded, baseline = (runs / "demo" / undisturbed.name / name for name in RUN_NAMES)
    first = freeze(coded)
    node = node_of(job)
    hanging = signal_node(cluster, node, signal.SIGSTOP)
    wait_until(lambda: node_state(node).startswith("down"), runs)
    start_now(job, runs)
    assert ended(job, runs) == "FAILED"
    assert f"last heard of: process {first} on " in log(tmp_path, job)
    assert attempts(coded) == 1
    for pid in hanging:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    start_node(node, runs)
    sbatch(tmp_path)
    wait_until(lambda: (runs / "demo" / "claims.md").exists(), runs)
    for run in (coded, baseline):
        assert state(run).state == "done"
        assert same_weights(run, undisturbed / run.name)


def test_a_controller_that_dies_and_comes_back(
    cluster: Path, undisturbed: Path, tmp_path: Path
) -> None:
    """Runs go on meanwhile; what needs the controller says so in a line."""
    options = ("table2-digits", "--seeds", "1", "--set", "train.epochs=8", "--runs", str(tmp_path))
    codepath("submit", *options)
    coded, baseline = (tmp_path / "demo" / undisturbed.name / name for name in RUN_NAMES)
    frozen = [freeze(run) for run in (coded, baseline)]
    let_state_be_saved(cluster, state(coded).job, tmp_path)
    controller = int((cluster / "run" / "slurmctld.pid").read_text())
    os.kill(controller, signal.SIGKILL)
    other = subprocess.run(
        [*CODEPATH.split(), "submit", *options[:-1], str(tmp_path / "other")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert other.returncode == 1
    (line,) = other.stderr.splitlines()
    assert line.startswith("error: sbatch refused the job:")
    for pid in frozen:
        thaw(pid)
    subprocess.run(["slurmctld"], check=True, env=os.environ | {"PATH": PATH})
    wait_until(lambda: all(state(run).state == "done" for run in (coded, baseline)), tmp_path)
    wait_until((tmp_path / "demo" / "claims.md").exists, tmp_path)
    for run in (coded, baseline):
        assert attempts(run) == 1
        assert same_weights(run, undisturbed / run.name)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A node's own disk with room for 100 kB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_on_a_node(cluster: Path, small_disk: Path, tmp_path: Path) -> None:
    """Data that do not fit there: a line that says so, and nothing is begun."""
    del cluster
    data = make_folders(tmp_path / "data", tuple(f"n{k:08d}" for k in range(10)))
    (data / "more").write_bytes(bytes(200_000))
    options = " ".join(f"--set {one}" for one in (*SMALL_IMAGENET, "data.subset=true"))
    own = {"EXPERIMENT": "table2-imagenet", "SCALE": "paper", "OPTIONS": options}
    own |= {"DATA": str(data)}
    full = sbatch(tmp_path, name="imagenet", **own, STAGE=str(small_disk))
    runs = tmp_path / "runs"
    assert ended(full, runs) == "FAILED"
    last = log(tmp_path, full, "imagenet").splitlines()[-1]
    assert last.startswith("error: the data could not be copied to ")
    assert last.endswith("is there room?")
    assert not runs.exists()
    assert ended(sbatch(tmp_path, name="imagenet", **own), runs) == "COMPLETED"


def test_a_full_disk_under_the_runs(cluster: Path, small_disk: Path, tmp_path: Path) -> None:
    """Training ends in a line; with room again the same command goes on."""
    del cluster
    full = sbatch(tmp_path, RUNS=str(small_disk / "runs"), OPTIONS="--set train.epochs=1")
    assert ended(full, small_disk) == "FAILED"
    lines = [one for one in log(tmp_path, full).splitlines() if one.startswith("error: ")]
    assert "No space left on device" in lines[0]
    assert "Traceback" not in log(tmp_path, full)
    subprocess.run(["mount", "-o", "remount,size=100M", str(small_disk)], check=True)
    again = sbatch(tmp_path, RUNS=str(small_disk / "runs"), OPTIONS="--set train.epochs=1")
    assert ended(again, small_disk) == "COMPLETED"
    assert len(store.read_rows(small_disk / "runs" / "demo" / "results", "accuracy")) == 2
