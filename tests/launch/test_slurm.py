"""On a real Slurm: one node with accounting, brought up for these tests and taken down after them.

Digits at demo scale. Needs root, and Debian's packages or the right to install them.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
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

from codepath import store
from codepath.core.files import make_directory
from codepath.core.provenance import REPO_ROOT
from codepath.data import ArrayDataSet
from codepath.experiments import find_experiment
from codepath.run.config import RunConfig
from codepath.run.directory import claim
from codepath.run.events import events
from codepath.run.state import RunStatus, look_all
from codepath.train.distributed import Placement, World
from tests.data.photographs import SMALL_IMAGENET, make_folders
from tests.train.runs import CPU
from tests.train.test_distributed import (
    IN_FLOAT64,
    assert_close,
    in_float64,
    with_train,
    write_job,
)

pytestmark = [pytest.mark.slow, pytest.mark.slurm]

SCRIPT = str(REPO_ROOT / "slurm" / "local-cluster")
CODEPATH = f"{sys.executable} -m codepath.cli"
PATIENCE_S = 600
LONG = "train.epochs=8"
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


def submit(runs: Path, *more: str, seeds: int = 1) -> str:
    options = ("--seeds", str(seeds), "--set", LONG, "--runs", str(runs))
    return codepath("submit", "table2-digits", *options, *more)


def test_disturbed_runs_end_as_undisturbed_ones(undisturbed: Path, tmp_path: Path) -> None:
    """kill -9 and USR2 for one, a time limit and scontrol requeue for the other."""
    lines = submit(tmp_path).splitlines()
    assert "training and evaluation: array of 2 jobs, profile small:" in lines
    coded, baseline = (tmp_path / "demo" / undisturbed.name / name for name in RUN_NAMES)
    assert status(tmp_path).returncode == 0
    freeze(coded)
    freeze_at_random(baseline, 1, undisturbed)  # until Slurm's signal
    # Slurm gives its signal 120 s before the end, and looks every 30 s: within that time.
    call("scontrol", "update", f"jobid={state(baseline).job}", "timelimit=2")
    # As the kernel does without memory.
    os.kill(freeze_at_random(coded, 1, undisturbed), signal.SIGKILL)
    wait_until(lambda: state(coded).state == "waiting", tmp_path)
    shown = status(tmp_path).stdout
    assert re.search(r"waiting  demo/\S+/coded-s0 .*requeued 1 x", shown)
    assert submit(tmp_path).count("left out, ") == 2
    requeued(coded, 1)
    told = freeze_at_random(coded, 2, undisturbed)
    call("scancel", "--signal=USR2", state(coded).job)
    thaw(told)
    requeued(coded, 2)
    requeued(baseline, 1)
    taken = freeze_at_random(baseline, 2, undisturbed)
    call("scontrol", "requeue", state(baseline).job)
    requeued(baseline, 2)
    assert not Path("/proc", str(taken)).exists()
    wait_until(lambda: all(state(r).state == "done" for r in (coded, baseline)), tmp_path)
    for run in (coded, baseline):
        assert state(run).requeues == 2
        assert same_weights(run, undisturbed / run.name)
    accounted = call("sacct", "-X", "-n", "-D", "-P", "-o", "State", "-j", state(coded).job)
    assert accounted.split().count("REQUEUED") == 2

    wait_until((tmp_path / "demo" / "claims.md").exists, tmp_path)
    accuracy = store.read_rows(tmp_path / "demo" / "results", "accuracy")
    assert sorted(accuracy["model"]) == ["baseline", "coded"]
    commit = store.read_rows(coded / "rows", "accuracy")["commit"].iloc[0]
    assert set(accuracy["commit"]) == {commit}


def test_another_configuration_under_a_run_is_refused(cluster: None, tmp_path: Path) -> None:
    del cluster
    other = find_experiment("table2-digits").runs("demo", 5)[0]
    run = find_experiment("table2-digits").runs("demo", 0)[0]
    claim(other, make_directory(tmp_path / "demo" / run.experiment / run.name))
    refused = subprocess.run(
        [*CODEPATH.split(), "submit", "table2-digits", "--seeds", "1", "--runs", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    assert "holds a run with another configuration (seed" in refused.stderr
    assert not call("squeue", "-h").strip()
    assert not (tmp_path / "jobs").exists()


def test_cancel_and_retry(undisturbed: Path, tmp_path: Path) -> None:
    submit(tmp_path)
    coded, baseline = (tmp_path / "demo" / undisturbed.name / name for name in RUN_NAMES)
    for run in (coded, baseline):
        freeze(run)
    shown = status(tmp_path).stdout
    assert len(re.findall(r"running  demo/\S+/(?:coded|baseline)-s0 ", shown)) == 2
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
    """A damaged checkpoint (it is not tried again), data that are not there, and a refused job."""
    del cluster
    runs = tmp_path / "runs"
    folder = runs / "demo" / f"table2-digits+{LONG}"
    broken = folder / "coded-s0" / "ckpt" / "step-00000001.pt"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"broken")
    submit(runs)
    codepath("cancel", "baseline-s0", "--runs", str(runs))
    failed = folder / "coded-s0"
    wait_until(lambda: state(failed).state == "failed", runs)
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
    before = events(waits), sorted((runs / "jobs").iterdir())
    refused = subprocess.run(
        [*CODEPATH.split(), *cifar, "--profile", "impossible"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert line.startswith("error: sbatch refused the job:")
    assert (events(waits), sorted((runs / "jobs").iterdir())) == before
    wait_until(lambda: not call("squeue", "-h").strip(), runs)
    assert len(starts(failed)) == 1
    accounted = call("sacct", "-X", "-n", "-D", "-P", "-o", "State", "-j", state(failed).job)
    assert accounted.split() == ["FAILED"]


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


def test_an_sbatch_file_at_its_time_limit_and_killed(undisturbed: Path, tmp_path: Path) -> None:
    """A limit of a minute, for which a process is held; then kill -9 of one."""
    job = sbatch(tmp_path, "--time=1", "--signal=B:USR2@20", SIGNAL_S="20")
    runs = tmp_path / "runs"
    coded, baseline = (runs / "demo" / undisturbed.name / name for name in RUN_NAMES)
    limited = freeze_at_random(coded, 1, undisturbed)
    wait_until(lambda: "time limit is near" in log(tmp_path, job), runs)
    thaw(limited)
    start_now(job, runs)
    os.kill(freeze_at_random(coded, 2, undisturbed), signal.SIGKILL)
    start_now(job, runs)
    wait_until(lambda: (runs / "demo" / "claims.md").exists(), runs)
    for run in (coded, baseline):
        assert (state(run).state, state(run).job) == ("done", job)
        assert same_weights(run, undisturbed / run.name)
    assert len(store.read_rows(runs / "demo" / "results", "accuracy")) == 2
    accounted = call("sacct", "-X", "-n", "-D", "-P", "-o", "State", "-j", job)
    assert accounted.split().count("REQUEUED") == 2


def ended(job: str, runs: Path) -> str:
    """How a job ended, by sacct."""

    def said() -> str:
        return call("sacct", "-X", "-n", "-P", "-o", "State", "-j", job).strip()

    wait_until(lambda: said() in ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED"), runs)
    return said()


def test_imagenet_by_its_sbatch_file(cluster: None, tmp_path: Path) -> None:
    """Ten classes of small JPEG files, staged: an error unless a subset is what is meant."""
    del cluster
    data = make_folders(tmp_path / "data", tuple(f"n{k:08d}" for k in range(10)))
    runs = tmp_path / "runs"

    def imagenet(*more: str) -> str:
        options = " ".join(f"--set {setting}" for setting in (*SMALL_IMAGENET, *more))
        own = {"EXPERIMENT": "table2-imagenet", "SCALE": "paper", "OPTIONS": options}
        own |= {"DATA": str(data), "STAGE": str(tmp_path / "local")}
        return sbatch(tmp_path, name="imagenet", **own)

    whole = imagenet()
    assert ended(whole, runs) == "FAILED"
    assert re.search(
        r"error: .*train holds 50 images of 10 classes.*data.subset=true",
        log(tmp_path, whole, "imagenet"),
    )
    assert ended(imagenet("data.subset=true"), runs) == "COMPLETED"
    accuracy = store.read_rows(runs / "paper" / "results", "accuracy")
    assert sorted(accuracy["model"]) == ["baseline", "coded"]
    assert (accuracy["n"] == 20).all()
    assert accuracy["source"].iloc[0].startswith("ImageNet subset from folders")
    copied, images = (
        sorted(str(path.relative_to(folder)) for path in folder.rglob("*.JPEG"))
        for folder in (tmp_path / "local" / "codepath-data", data)
    )
    assert copied == images != []


def test_an_sbatch_file_without_its_variables(cluster: None, tmp_path: Path) -> None:
    del cluster
    job = sbatch(tmp_path, EXPERIMENT="table2-cifar10")
    assert ended(job, tmp_path) == "FAILED"
    (line,) = log(tmp_path, job).splitlines()
    assert line.startswith("error: DATA is not set")


def test_two_processes_of_a_step_train_as_one(
    cluster: None, tiny_config: RunConfig, tiny_images: ArrayDataSet, tmp_path: Path
) -> None:
    """Placed and met by Slurm's variables alone; equal up to roundings of double precision."""
    del cluster
    config = with_train(tiny_config, bn_batch=16)
    write_job(tmp_path / "two", config, tiny_images)
    step = ("srun", "--ntasks=2", "--cpus-per-task=1", "--mem=8G", "--kill-on-bad-exit=1")
    call(*step, sys.executable, "-c", IN_FLOAT64, str(tmp_path / "two"), cwd=REPO_ROOT)
    one = in_float64(config, tiny_images, World(Placement(), CPU))
    for rank in (0, 1):
        assert_close(one, torch.load(tmp_path / "two" / f"state{rank}.pt"))


def test_several_processes_train_one_network(cluster: None, tmp_path: Path) -> None:
    """By sbatch; and by submit, where one of them is killed and then both are told to give way."""
    del cluster
    short = "train.epochs=8"
    sbatch(tmp_path, "--ntasks-per-node=2", "--mem=8G", OPTIONS=f"--set {short}")
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
    first = freeze(run)
    second = second_process(state(run).job)
    codepath("cancel", "baseline-s0", "--runs", str(submitted))  # it would hold both processors
    os.kill(second, signal.SIGKILL)
    thaw(first)
    requeued(run, 1)
    wait_until(lambda: any((run / "ckpt").glob("step-*.pt")), submitted)  # both heed signals then
    told = freeze(run, 2)
    call("scancel", "--signal=USR2", state(run).job)
    thaw(told)
    requeued(run, 2)
    wait_until(lambda: state(run).state == "done", submitted)
    assert same_weights(run, whole / run.name)


def second_process(job: str) -> int:
    """The process number of the second task of a job's step."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = path.read_bytes().split(b"\0")
            called = (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
        array, _, index = job.partition("_")
        of_job = f"SLURM_ARRAY_JOB_ID={array}".encode() in variables
        of_job = of_job and f"SLURM_ARRAY_TASK_ID={index}".encode() in variables
        if of_job and b"SLURM_PROCID=1" in variables and b"submitit.core._submit" in called:
            return int(path.parent.name)
    raise AssertionError(f"job {job} has no second process")


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
        again = subprocess.run(
            [SCRIPT, "up"], capture_output=True, text=True, env=os.environ | variables
        )
        assert (again.returncode, again.stderr) == (0, f"running already in {folder}\n")
        variables["SLURM_CONF"] = f"{folder}/slurm.conf"
        with pytest.MonkeyPatch.context() as patch:
            for key, value in variables.items():
                patch.setenv(key, value)
            sbatch(tmp_path, "--nodes=2", OPTIONS="--set train.epochs=1")
            runs = tmp_path / "runs"
            wait_until(lambda: (runs / "demo" / "claims.md").exists(), runs)
            run = runs / "demo" / "table2-digits+train.epochs=1" / "coded-s0"
            assert state(run).state == "done"
    finally:
        call(SCRIPT, "down", **variables)
    assert not Path(folder).exists()
    assert folder not in call("ps", "-eo", "args")
