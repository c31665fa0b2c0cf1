"""On a real Slurm: one node with accounting, brought up for these tests and taken down after them.

Digits at demo scale. Needs root, and Debian's packages or the right to install them.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch

from codepath import store
from codepath.launch.status import RunStatus, look_all
from codepath.runstate import events
from codepath.runtime import REPO_ROOT

pytestmark = [pytest.mark.slow, pytest.mark.slurm]

SCRIPT = str(REPO_ROOT / "slurm" / "local-cluster")
CODEPATH = f"{sys.executable} -m codepath.cli"
PATIENCE_S = 600
LONG = "train.epochs=20"
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
environment = { MASTER_ADDR = "127.0.0.1" }
[impossible]
partition = "nowhere"
time = "30:00"
"""


def free_ports() -> int:
    """The first of some ports that are free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return min(int(probe.getsockname()[1]), 60_000)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A running cluster, which this process's environment points at."""
    if os.geteuid() != 0:
        pytest.skip("Slurm's daemons need root")
    installed = all(map(shutil.which, ("slurmctld", "sbatch"))) or shutil.which(
        "slurmctld", path="/usr/sbin"
    )
    if not installed and not shutil.which("apt-get"):
        pytest.skip("no Slurm here, and no apt-get to install it")
    profiles = tmp_path_factory.mktemp("profiles") / "profiles.toml"
    profiles.write_text(PROFILES)
    settings = {
        "CODEPATH_CLUSTER": f"/tmp/codepath-slurm-{os.getpid()}",
        "CODEPATH_CLUSTER_PORT": str(free_ports()),
        "CODEPATH_PROFILES": str(profiles),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(REPO_ROOT),
    }
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
            yield
        finally:
            subprocess.run([SCRIPT, "down"], check=True)
            assert not Path(settings["CODEPATH_CLUSTER"]).exists()


@pytest.fixture(autouse=True)
def no_jobs_left(cluster: None) -> Iterator[None]:
    """What a failed test leaves behind does not slow down the others."""
    yield
    del cluster
    call("scancel", f"--user={os.getuid()}")
    deadline = time.monotonic() + PATIENCE_S
    while call("squeue", "--noheader").strip():
        assert time.monotonic() < deadline
        time.sleep(0.3)


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


def trained(run: Path, epochs: int = 2) -> bool:
    """Whether it runs, and some epochs are behind it."""
    now = state(run)
    assert now.state in ("new", "waiting", "running"), now
    found = re.match(r"epoch (\d+)/", now.progress)
    return found is not None and int(found[1]) > epochs


def start_now(job: str) -> None:
    """Do not wait two minutes for a requeued job."""
    call("scontrol", "update", f"jobid={job}", "starttime=now")


def same_weights(one: Path, other: Path) -> bool:
    mine, theirs = (safetensors.torch.load_file(p / "model.safetensors") for p in (one, other))
    return mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)


@pytest.fixture(scope="module")
def undisturbed(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both runs of an experiment that nothing disturbs, as jobs of Slurm."""
    del cluster
    runs = tmp_path_factory.mktemp("undisturbed")
    codepath("submit", "table2-digits", "--seeds", "1", "--set", LONG, "--runs", str(runs))
    folder = runs / "demo" / f"table2-digits+{LONG}"
    wait_until(lambda: all(state(folder / r).state == "done" for r in RUN_NAMES), runs)
    return folder


RUN_NAMES = ("coded-s0", "baseline-s0")


def test_preempted_runs_end_as_undisturbed_ones(undisturbed: Path, tmp_path: Path) -> None:
    """One told to save and requeue (USR2), one taken off its node (scontrol requeue)."""
    lines = codepath(
        "submit", "table2-digits", "--seeds", "1", "--set", LONG, "--runs", str(tmp_path)
    ).splitlines()
    assert "training and evaluation: array of 2 jobs, profile small:" in lines
    coded, baseline = (tmp_path / "demo" / undisturbed.name / name for name in RUN_NAMES)
    waiting = status(tmp_path)
    assert waiting.returncode == 0
    assert waiting.stdout.splitlines()[-1] in ("2 waiting", "1 running, 1 waiting", "2 running")
    wait_until(lambda: trained(coded) and trained(baseline), tmp_path)
    shown = status(tmp_path).stdout
    assert re.search(
        r"running  demo/\S+/coded-s0 +epoch \d+/20, \d+%, ETA \d+ (s|min) +slurm", shown
    )
    jobs = {run: state(run).job for run in (coded, baseline)}

    call("scancel", "--signal=USR2", jobs[coded])
    call("scontrol", "requeue", jobs[baseline])
    for run in (coded, baseline):
        wait_until(lambda run=run: state(run).state == "waiting", tmp_path)  # type: ignore[misc]
        assert state(run).requeues == 1
        assert not (run / "DONE").exists()
    assert len(re.findall("requeued 1 x", status(tmp_path).stdout)) == 2
    again = codepath(
        "submit", "table2-digits", "--seeds", "1", "--set", LONG, "--runs", str(tmp_path)
    )
    assert again.count("left out, waiting already") == 2
    for job in jobs.values():
        start_now(job)
    wait_until(lambda: all(state(r).state == "done" for r in (coded, baseline)), tmp_path)
    for run in (coded, baseline):
        assert state(run).requeues == 1
        assert state(run).job == jobs[run]
        assert same_weights(run, undisturbed / run.name)
    requeued = call("sacct", "-X", "-n", "-D", "-P", "-o", "State", "-j", jobs[coded]).split()
    assert "REQUEUED" in requeued

    collected = tmp_path / "demo" / "claims.md"
    wait_until(collected.exists, tmp_path)
    accuracy = store.read_rows(tmp_path / "demo" / "results", "accuracy")
    assert sorted(accuracy["model"]) == ["baseline", "coded"]
    assert set(accuracy["commit"]) == {
        store.read_rows(coded / "rows", "accuracy")["commit"].iloc[0]
    }


def test_cancel_and_retry(undisturbed: Path, tmp_path: Path) -> None:
    codepath("submit", "table2-digits", "--seeds", "1", "--set", LONG, "--runs", str(tmp_path))
    coded, baseline = (tmp_path / "demo" / undisturbed.name / name for name in RUN_NAMES)
    wait_until(lambda: trained(baseline), tmp_path)
    jobs = [state(run).job for run in (coded, baseline)]
    assert codepath("cancel", "all", "--runs", str(tmp_path)).count(": cancelled") == 2
    assert [state(run).state for run in (coded, baseline)] == ["cancelled", "cancelled"]
    for job in jobs:
        wait_until(
            lambda job=job: not call("squeue", "-h", "-j", job.split("_")[0]).strip(),  # type: ignore[misc]
            tmp_path,
        )
    assert status(tmp_path).stdout.splitlines()[-1] == "2 cancelled"
    assert "baseline-s0" in codepath("retry", "baseline-s0", "--runs", str(tmp_path))
    wait_until(lambda: state(baseline).state == "done", tmp_path)
    assert state(coded).state == "cancelled"
    assert state(baseline).job not in jobs
    assert same_weights(baseline, undisturbed / "baseline-s0")


def test_failures_are_reported_with_their_last_lines(cluster: None, tmp_path: Path) -> None:
    """A damaged checkpoint, a killed process, data that are not there, and a refused job."""
    del cluster
    runs = tmp_path / "runs"
    folder = runs / "demo" / f"table2-digits+{LONG}"
    broken = folder / "coded-s0" / "ckpt" / "step-00000001.pt"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"broken")
    codepath("submit", "table2-digits", "--seeds", "1", "--set", LONG, "--runs", str(runs))
    killed = folder / "baseline-s0"
    wait_until(lambda: trained(killed), runs)
    os.kill(events(killed)[-1]["pid"], signal.SIGKILL)  # as the kernel does when memory runs out
    wait_until(lambda: state(killed).state == "failed", runs)
    assert state(killed).error[0] == "Slurm: job ended by FAILED"
    assert any("epoch" in line for line in state(killed).error)
    wait_until(lambda: state(folder / "coded-s0").state == "failed", runs)
    shown = status(runs)
    assert shown.returncode == 1
    assert re.search(r"\n    every checkpoint in \S+ is damaged", shown.stdout)

    data = tmp_path / "data"
    (data / "train" / "unicorn").mkdir(parents=True)
    cifar = ("submit", "table2-cifar10", "--scale", "cpu", "--seeds", "1", "--runs", str(runs))
    codepath(*cifar, "--data", str(data))
    waits = runs / "cpu" / "table2-cifar10" / "coded-s0"
    wait_until(lambda: state(waits).state == "failed", runs)
    assert "expected train/CLASS/" in state(waits).error[0]
    refused = subprocess.run(
        [*CODEPATH.split(), *cifar, "--profile", "impossible"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert line.startswith("error: sbatch refused the job:")
    assert "not submitted" in state(waits).error[0]
    wait_until(lambda: not call("squeue", "-h").strip(), runs)


def sbatch(folder: Path, *options: str, **variables: str) -> str:
    """Submit cifar10.sbatch for the digits, small enough for this machine; the job's id."""
    small = (
        "--gpus-per-node=0",
        "--ntasks-per-node=1",
        "--mem=4G",
        "--cpus-per-task=1",
        "--time=30",
    )
    demo = {"REPO": str(REPO_ROOT), "CODEPATH": CODEPATH, "RUNS": str(folder / "runs")}
    demo |= {"EXPERIMENT": "table2-digits", "SCALE": "demo", "OPTIONS": f"--set {LONG}"}
    file = str(REPO_ROOT / "slurm" / "cifar10.sbatch")
    return call(
        "sbatch", "--parsable", *small, *options, file, cwd=folder, **(demo | variables)
    ).strip()


def log(folder: Path, job: str) -> str:
    path = folder / f"slurm-codepath-cifar10-{job}.out"
    return path.read_text() if path.exists() else ""


def test_an_sbatch_file_trains_requeues_and_collects(undisturbed: Path, tmp_path: Path) -> None:
    data = tmp_path / "shared"
    data.mkdir()
    (data / "images").write_text("pixels")
    job = sbatch(tmp_path, DATA=str(data), STAGE=str(tmp_path / "local"))
    runs = tmp_path / "runs"
    coded, baseline = (runs / "demo" / undisturbed.name / name for name in RUN_NAMES)
    wait_until((coded / "heartbeat.json").exists, runs)
    assert (tmp_path / "local" / "codepath-shared" / "images").read_text() == "pixels"
    wait_until(lambda: trained(coded), runs)
    call("scancel", "--batch", "--signal=USR2", job)  # as before the time limit
    wait_until(lambda: state(coded).state == "waiting", runs)
    assert "queueing the job again" in log(tmp_path, job)
    start_now(job)
    wait_until(lambda: (runs / "demo" / "claims.md").exists(), runs)
    for run in (coded, baseline):
        assert (state(run).state, state(run).job) == ("done", job)
        assert same_weights(run, undisturbed / run.name)
    assert len([e for e in events(coded) if e["event"] == "started"]) == 2
    assert len(store.read_rows(runs / "demo" / "results", "accuracy")) == 2


def test_an_sbatch_file_without_its_variables(cluster: None, tmp_path: Path) -> None:
    del cluster
    job = sbatch(tmp_path)

    def ended() -> bool:
        return "FAILED" in call("sacct", "-X", "-n", "-P", "-o", "State", "-j", job)

    wait_until(ended, tmp_path)
    (line,) = log(tmp_path, job).splitlines()
    assert line.startswith("error: DATA is not set")


def test_several_processes_train_one_network(cluster: None, tmp_path: Path) -> None:
    """By sbatch, and by submit with a signal that both processes save on: the same weights."""
    del cluster
    short = "train.epochs=2"
    sbatch(
        tmp_path,
        "--ntasks-per-node=2",
        "--mem=8G",
        DATA=str(tmp_path),
        OPTIONS=f"--set {short}",
        MASTER_ADDR="127.0.0.1",
    )
    runs = tmp_path / "runs"
    wait_until(lambda: (runs / "demo" / "claims.md").exists(), runs)
    accuracy = store.read_rows(runs / "demo" / "results", "accuracy")
    assert accuracy["n"].tolist() == [500, 500]
    whole = runs / "demo" / f"table2-digits+{short}"
    assert [len(events(whole / name)) for name in RUN_NAMES] == [1, 1]

    submitted = tmp_path / "submitted"
    arguments = ("submit", "table2-digits", "--seeds", "1", "--profile", "pair")
    codepath(*arguments, "--set", short, "--runs", str(submitted))
    run = submitted / "demo" / whole.name / "coded-s0"
    wait_until(lambda: trained(run, 0), submitted)
    job = state(run).job
    call("scancel", "--signal=USR2", job)
    wait_until(lambda: state(run).state == "waiting", submitted)
    assert state(run).requeues == 1
    assert [event["event"] for event in events(run)] == ["submitted", "started", "stopped"]
    codepath("cancel", "baseline-s0", "--runs", str(submitted))  # it would hold both processors
    start_now(job)
    wait_until(lambda: state(run).state == "done", submitted)
    assert same_weights(run, whole / run.name)


def test_two_nodes(cluster: None, tmp_path: Path) -> None:
    """The same over two nodes, on a cluster of its own beside the other."""
    del cluster
    folder = f"/tmp/codepath-slurm-{os.getpid()}-two"
    variables = {
        "CODEPATH_CLUSTER": folder,
        "CODEPATH_CLUSTER_PORT": str(free_ports()),
        "CODEPATH_CLUSTER_NODES": "2",
    }
    call(SCRIPT, "up", **variables)
    try:
        variables["SLURM_CONF"] = f"{folder}/slurm.conf"
        with pytest.MonkeyPatch.context() as patch:
            for key, value in variables.items():
                patch.setenv(key, value)
            sbatch(
                tmp_path,
                "--nodes=2",
                DATA=str(tmp_path),
                OPTIONS="--set train.epochs=1",
                MASTER_ADDR="127.0.0.1",
            )
            runs = tmp_path / "runs"
            wait_until(lambda: (runs / "demo" / "claims.md").exists(), runs)
            run = runs / "demo" / "table2-digits+train.epochs=1" / "coded-s0"
            assert state(run).state == "done"
    finally:
        call(SCRIPT, "down", **variables)
