"""Submission without Slurm: the debug and local executors run the same tasks."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

import codepath.train
from codepath import store
from codepath.core.errors import UserError
from codepath.core.files import make_directory
from codepath.core.machine import process_alive
from codepath.core.provenance import REPO_ROOT, git_state
from codepath.experiments import find_experiment
from codepath.experiments.registry import override
from codepath.launch import snapshot
from codepath.launch.control import retry, statuses_of
from codepath.launch.plan import Destination, make_plan
from codepath.launch.requeue import ATTEMPTS
from codepath.launch.submit import Submission
from codepath.launch.task import REQUEUE_SIGNAL, RunTask
from codepath.run.config import RunConfig
from codepath.run.directory import claim, is_done
from codepath.run.events import events, note, read_order, write_order
from codepath.run.state import RunStatus, look
from tests.cli.test_cli import assert_one_clear_line, call

PATIENCE_S = 240


@pytest.fixture
def configs() -> list[RunConfig]:
    """Coded and baseline, for one epoch."""
    settings = ["train.epochs=1"]
    return [override(run, settings) for run in find_experiment("table2-digits").runs("demo", 0)]


@pytest.fixture
def destination(tmp_path: Path) -> Destination:
    return Destination(tmp_path / "runs")


def submit(configs: list[RunConfig], destination: Destination, cluster: str) -> list[str]:
    return Submission(make_plan(configs, destination), destination, cluster).submit()


def wait_for(run_dir: Path, *states: str) -> RunStatus:
    """The run's status once it is in one of the states."""
    deadline = time.monotonic() + PATIENCE_S
    while look(run_dir).state not in states:
        assert time.monotonic() < deadline, look(run_dir)
        time.sleep(0.1)
    return look(run_dir)


def test_submitted_in_this_process(configs: list[RunConfig], destination: Destination) -> None:
    baseline = configs[1:]
    assert submit(baseline, destination, "debug") == [
        f"{baseline[0].experiment} demo baseline-s0: done"
    ]
    run_dir = destination.run_dir(baseline[0])
    assert is_done(run_dir, baseline[0])
    results = destination.places("demo").results
    assert len(store.read_rows(results, "accuracy")) == 1
    assert (destination.pictures("demo") / "claims.md").exists()
    assert [event["event"] for event in events(run_dir)] == ["submitted", "started"]
    assert submit(baseline, destination, "debug") == ["nothing to submit"]


def test_a_failing_run_is_reported_and_does_not_stop_the_others(
    configs: list[RunConfig], destination: Destination
) -> None:
    coded, baseline = configs
    broken = make_directory(destination.run_dir(coded) / "ckpt")
    (broken / "step-00000001.pt").write_bytes(b"broken")
    with pytest.raises(UserError, match="damaged"):
        submit(configs, destination, "debug")
    assert look(destination.run_dir(baseline)).state == "done"
    failed = look(destination.run_dir(coded))
    assert failed.state == "failed"
    assert "damaged" in failed.error[0]
    shown = call("status", "--runs", str(destination.runs))
    assert shown.returncode == 1
    assert shown.stdout.splitlines()[-1] == "1 failed, 1 done"
    shutil.rmtree(broken)
    retry(statuses_of(destination.runs, ["coded-s0"]), None, None)
    assert look(destination.run_dir(coded)).state == "done"
    assert retry(statuses_of(destination.runs, []), None, None) == [
        "nothing failed or was cancelled"
    ]


def test_images_at_once_are_those_of_the_order(
    configs: list[RunConfig], destination: Destination
) -> None:
    """Submitted with a number that does not divide the batch, and again with one that does."""
    coded = configs[0]
    run_dir = destination.run_dir(coded)
    plan = make_plan([coded], destination)
    with pytest.raises(UserError, match="device_batch is 7, must divide"):
        Submission(plan, destination, "debug", device_batch=7).submit()
    again = statuses_of(destination.runs, ["coded-s0"])
    with pytest.raises(UserError, match="device_batch is 7, must divide"):
        retry(again, None, None)
    retry(again, None, None, coded.train.batch_size // 2)
    assert look(run_dir).state == "done"
    assert read_order(run_dir)["device_batch"] == coded.train.batch_size // 2


def test_the_precision_is_that_of_the_order(
    configs: list[RunConfig], destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept when the run is submitted again, unless another one is asked for."""
    trained = []

    def noting(*arguments: object) -> None:
        trained.append(arguments[-1].precision)  # type: ignore[attr-defined]
        raise UserError("broken")

    monkeypatch.setattr("codepath.pipeline.run.train_and_evaluate", noting)
    coded = override(configs[0], ["train.precision=bfloat16"])
    submission = Submission(make_plan([coded], destination), destination, "debug")
    for precision in ("auto", "float32"):
        with pytest.raises(UserError, match="broken"):
            dataclasses.replace(submission, precision=precision).submit()
    for asked in (None, "bfloat16", None):
        with pytest.raises(UserError, match="broken"):
            retry(statuses_of(destination.runs, ["coded-s0"]), None, None, precision=asked)
    assert trained == ["auto", "float32", "float32", "bfloat16", "bfloat16"]


def test_a_precision_that_is_not_allowed_submits_nothing(
    configs: list[RunConfig], destination: Destination
) -> None:
    plan = make_plan(configs, destination)
    for precision, message in (("half", "must be auto, float32"), ("bfloat16", "does not allow")):
        with pytest.raises(UserError, match=message):
            Submission(plan, destination, "debug", precision=precision).submit()
    assert not destination.runs.exists()


def test_local_jobs_are_done_cancelled_and_retried(
    configs: list[RunConfig], destination: Destination
) -> None:
    """In the background, one after the other, from a copy of the source."""
    long, short = override(configs[0], ["train.epochs=500"]), configs[1]
    lines = submit([long, short], destination, "local")
    assert "does them one after the other" in lines[0]
    first, second = destination.run_dir(long), destination.run_dir(short)
    assert look(second).state == "waiting"
    wait_for(first, "running", "failed")
    while "epoch" not in look(first).progress:
        assert look(first).state == "running", look(first)
        time.sleep(0.1)
    assert make_plan([long], destination).configs == []
    order = read_order(first)
    assert json.loads((Path(order["source"]) / "SNAPSHOT.json").read_text())["commit"] in (
        git_state()[0],
    )
    cancelled = call("cancel", "coded-s0", "--runs", str(destination.runs))
    assert cancelled.stdout == f"demo/{long.experiment}/coded-s0: cancelled\n"
    assert wait_for(second, "done", "failed").state == "done"
    assert look(first).state == "cancelled"
    env = json.loads((second / "env.json").read_text())
    assert env[0]["commit"] == git_state()[0]

    retry(statuses_of(destination.runs, ["coded-s0"]), None, None)
    assert wait_for(first, "running", "failed").state == "running"
    (begun,) = [e for e in events(first)[-1:] if e["event"] == "started"]
    os.kill(begun["pid"], signal.SIGKILL)
    assert wait_for(first, "failed").error[0].startswith("its process is gone")
    controller = int(read_order(first)["job"])
    deadline = time.monotonic() + 60
    while process_alive(controller):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_conflicting_run_directory_stops_a_submission(
    configs: list[RunConfig], destination: Destination
) -> None:
    other = find_experiment("table2-digits").runs("demo", 5)[0]
    run_dir = make_directory(destination.run_dir(configs[1]))
    claim(other, run_dir)
    with pytest.raises(UserError, match="another configuration"):
        submit(configs, destination, "debug")
    assert not destination.run_dir(configs[0]).exists()


def test_each_data_set_has_its_folder(destination: Destination, tmp_path: Path) -> None:
    (tmp_path / "imagenet").mkdir()
    empty = Submission(make_plan([], destination), destination, "debug", tmp_path)
    assert empty._data_of("imagenet") == tmp_path / "imagenet"
    assert empty._data_of("cifar10") == tmp_path
    assert Submission(empty.plan, destination, "debug")._data_of("cifar10") is None
    assert empty.submit() == ["nothing to submit"]


def test_clusters_that_are_not_here(
    configs: list[RunConfig],
    destination: Destination,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UserError, match="did you mean slurm"):
        submit(configs, destination, "slrum")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"no Slurm here.*--cluster local"):
        submit(configs, destination, "slurm")
    assert not destination.runs.exists()


def test_the_task_is_picklable_and_gives_up_without_progress(
    configs: list[RunConfig], destination: Destination
) -> None:
    run_dir = make_directory(destination.run_dir(configs[0]))
    task = RunTask(configs[0].experiment, run_dir)
    assert pickle.loads(pickle.dumps(task)) == task
    note(run_dir, "submitted")
    for _ in range(ATTEMPTS - 1):
        assert task.checkpoint().function == task
    (make_directory(run_dir / "ckpt") / "last.pt").write_text("progress")
    for _ in range(ATTEMPTS - 1):
        assert task.checkpoint().function == task
    assert task.checkpoint() is None
    assert "saved nothing" in events(run_dir)[-1]["error"][0]


def test_a_snapshot_is_what_was_submitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs from anywhere, knows its commit, and the same source gives the same copy."""
    first = snapshot.take_snapshot(tmp_path)
    assert snapshot.take_snapshot(tmp_path) == first
    assert first.name.startswith(git_state()[0])
    code = "import codepath.core.provenance as r; print(r.REPO_ROOT, *r.git_state())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPO_ROOT,
        env={"PYTHONPATH": str(first), "PYTHONSAFEPATH": "1", "PATH": os.environ["PATH"]},
    )
    assert done.stdout.split() == [str(first), git_state()[0], str(git_state()[1])]
    copied = {path.relative_to(first) for path in first.rglob("*") if path.is_file()}
    assert Path("codepath/cli/program.py") in copied
    assert Path("codepath/codes/tables/paper/10-10-5.csv") in copied
    edited = tmp_path / "edited.toml"
    edited.write_text("[project]\n")
    files = [*snapshot._files(), REPO_ROOT / "README.md"]
    monkeypatch.setattr(snapshot, "_files", lambda: files)
    assert snapshot.take_snapshot(tmp_path) != first


ORDER = {
    "cluster": "local", "runs": "runs", "results": "results", "data": "", "backend": "auto",
    "profile": "",
}  # fmt: skip


def test_a_job_refuses_other_source(
    configs: list[RunConfig], destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = make_directory(destination.run_dir(configs[0]))
    claim(configs[0], run_dir)
    write_order(run_dir, ORDER | {"source": "/elsewhere"})
    monkeypatch.setenv("SUBMITIT_LOCAL_JOB_ID", "5")
    with pytest.raises(UserError, match="PYTHONPATH was changed"):
        RunTask(configs[0].experiment, run_dir)()
    assert look(run_dir).state == "failed"


@pytest.mark.parametrize("raised_in", ["an import", "the first lines"])
def test_a_job_that_is_told_to_stop_while_it_starts(
    raised_in: str,
    configs: list[RunConfig],
    destination: Destination,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Module(types.ModuleType):
        """A module in whose import whatever is raised is caught."""

        def __getattr__(self, name: str) -> object:
            if name == "FitOptions":
                with contextlib.suppress(Exception):
                    signal.raise_signal(signal.SIGTERM)
            return getattr(codepath.train, name)

    def told_to_stop(_: str) -> None:
        signal.raise_signal(signal.SIGTERM)

    run_dir = make_directory(destination.run_dir(configs[0]))
    claim(configs[0], run_dir)
    write_order(run_dir, ORDER | {"source": ""})
    monkeypatch.setenv("SUBMITIT_LOCAL_JOB_ID", "5")
    if raised_in == "an import":
        monkeypatch.setitem(sys.modules, "codepath.train", Module("codepath.train"))
    else:
        monkeypatch.setattr("codepath.launch.task._require_snapshot", told_to_stop)
    requeued: list[int] = []
    before = signal.signal(REQUEUE_SIGNAL, lambda number, _: requeued.append(number))
    try:
        with pytest.raises(SystemExit) as stopped:
            RunTask(configs[0].experiment, run_dir)()
    finally:
        signal.signal(REQUEUE_SIGNAL, before)
    assert (stopped.value.code, requeued) == (0, [REQUEUE_SIGNAL])
    assert not list(run_dir.glob("ckpt/*"))


def test_submitting_where_nothing_may_be_written() -> None:
    done = call("submit", "table2-digits", "--cluster", "local", "--runs", "/proc/self/runs")
    assert_one_clear_line(done, "cannot create")
