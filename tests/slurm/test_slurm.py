"""On a real Slurm of one node, or two, with accounting."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from codepath import store
from codepath.core.files import make_directory
from codepath.core.provenance import REPO_ROOT
from codepath.data import ArrayDataSet
from codepath.experiments import find_experiment
from codepath.run.config import RunConfig
from codepath.run.directory import claim
from codepath.run.events import events
from codepath.train.distributed import Placement, World
from tests.data.photographs import SMALL_IMAGENET, make_folders
from tests.slurm.real_slurm import (
    CODEPATH,
    LONG,
    RUN_NAMES,
    SCRIPT,
    call,
    cluster_of,
    codepath,
    ended,
    freeze,
    freeze_at_random,
    log,
    requeued,
    same_weights,
    sbatch,
    start_now,
    starts,
    state,
    status,
    thaw,
    wait_until,
)
from tests.train.runs import CPU
from tests.train.test_distributed import (
    IN_FLOAT64,
    assert_close,
    in_float64,
    with_train,
    write_job,
)

pytestmark = [pytest.mark.slow, pytest.mark.slurm]


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


def test_another_configuration_under_a_run_is_refused(cluster: Path, tmp_path: Path) -> None:
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


def test_failures_are_reported_with_their_last_lines(cluster: Path, tmp_path: Path) -> None:
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


def test_imagenet_by_its_sbatch_file(cluster: Path, tmp_path: Path) -> None:
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


def test_an_sbatch_file_without_its_variables(cluster: Path, tmp_path: Path) -> None:
    del cluster
    job = sbatch(tmp_path, EXPERIMENT="table2-cifar10")
    assert ended(job, tmp_path) == "FAILED"
    (line,) = log(tmp_path, job).splitlines()
    assert line.startswith("error: DATA is not set")


def test_two_processes_of_a_step_train_as_one(
    cluster: Path, tiny_config: RunConfig, tiny_images: ArrayDataSet, tmp_path: Path
) -> None:
    """Placed and met by Slurm's variables alone; equal up to roundings of double precision."""
    del cluster
    config = with_train(tiny_config, bn_batch=16)
    write_job(tmp_path / "two", config, tiny_images)
    step = ("srun", "--ntasks=2", "--cpus-per-task=1", "--mem=8G", "--kill-on-bad-exit=1")
    call(*step, sys.executable, "-c", IN_FLOAT64, str(tmp_path / "two"), cwd=REPO_ROOT)
    one = in_float64(config, tiny_images, World(Placement(), CPU))
    for rank in (0, 1):
        assert_close(one, torch.load(tmp_path / "two" / f"state{rank}.pt", weights_only=True))


def test_several_processes_train_one_network(cluster: Path, tmp_path: Path) -> None:
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


def test_two_nodes(tmp_path: Path) -> None:
    """The same over two nodes, on a cluster of its own beside the other."""
    with cluster_of(2) as folder:
        again = subprocess.run([SCRIPT, "up"], capture_output=True, text=True, check=False)
        assert (again.returncode, again.stderr) == (0, f"running already in {folder}\n")
        sbatch(tmp_path, "--nodes=2", OPTIONS="--set train.epochs=1")
        runs = tmp_path / "runs"
        wait_until(lambda: (runs / "demo" / "claims.md").exists(), runs)
        run = runs / "demo" / "table2-digits+train.epochs=1" / "coded-s0"
        assert state(run).state == "done"
    assert str(folder) not in call("ps", "-eo", "args")
