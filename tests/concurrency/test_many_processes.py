"""Many processes on the same folders: nothing is lost, nothing is there twice, nothing hangs."""

from __future__ import annotations

import filecmp
import json
import multiprocessing
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from codepath import store
from codepath.core.errors import InUseError
from codepath.core.files import atomic_directory, make_directory
from codepath.core.provenance import REPO_ROOT
from codepath.data import ArrayDataSet, ArraySplit
from codepath.data.beton import Beton
from codepath.data.beton_writer import ensure_beton
from codepath.experiments import find_experiment
from codepath.launch.plan import Destination, make_plan
from codepath.launch.requeue import is_cancelled
from codepath.launch.submit import Submission
from codepath.launch.task import RunTask
from codepath.models.shipped import BEST, FOLDER
from codepath.parts.trained_run import UNPACKED, find_run
from codepath.pipeline import run as pipeline
from codepath.pipeline.measure import evaluate_run
from codepath.run.config import RunConfig
from codepath.run.directory import Places, claim, working_in
from codepath.run.events import EVENTS, events, note, write_order
from codepath.run.state import look
from codepath.train import fit
from tests.launch.test_quoting import stand_ins
from tests.train.runs import CPU, QUIET


def storm(folder: Path, processes: int, seconds: float, seed: int) -> dict[str, int]:
    arguments = [str(folder), str(processes), str(seconds), str(seed)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.concurrency.storm", *arguments],
        cwd=REPO_ROOT,
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    did: dict[str, int] = json.loads(done.stdout)
    return did


def test_eight_processes_for_seconds(tmp_path: Path) -> None:
    """Rows appended and collected, benchmarks put, runs measured, jobs submitted and cancelled."""
    did = storm(tmp_path, 8, 5, 0)
    assert did["kills"] >= 3
    assert did["append"] + did["bench"] > 3


@pytest.mark.slow
def test_forty_processes_for_two_minutes(tmp_path: Path) -> None:
    did = storm(tmp_path, 40, 120, 1)
    assert did["kills"] >= 20
    assert min(did[what] for what in ("append", "measure", "collect", "bench", "look")) > 5
    assert min(did[what] for what in ("submit", "cancel")) > 0


def at_once(work: Callable[[int], object], processes: int = 4) -> list[int]:
    """Exit codes of processes that begin some work together."""
    context = multiprocessing.get_context("fork")
    start = context.Barrier(processes)

    def begin(number: int) -> None:
        start.wait(60)
        work(number)

    children = [context.Process(target=begin, args=(k,)) for k in range(processes)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    return [child.exitcode or 0 for child in children]


def test_benchmarks_of_several_processes_are_all_kept(tmp_path: Path) -> None:
    """Each of them reads the file, adds its row and writes it again."""
    path = tmp_path / "redraw.csv"
    _, numbers = store.schema.benchmark_columns("redraw")
    origin = {"device": "none", "commit": "abc", "dirty": False, "created": "2026"}

    def put(number: int) -> None:
        for turn in range(5):
            line = {"what": f"{number}-{turn}", **dict.fromkeys(numbers, 1.0), **origin}
            store.put_benchmark(path, pd.DataFrame([line]), ("what",))

    assert at_once(put) == [0] * 4
    assert len(set(store.read_benchmark(path)["what"])) == 20


def test_one_of_two_submissions_at_once_does_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one names the runs that it left out; each has one job."""
    slurm = stand_ins(make_directory(tmp_path / "slurm"))
    monkeypatch.setenv("PATH", str(slurm), prepend=":")
    destination = Destination(tmp_path / "runs")
    runs = find_experiment("table2-digits").runs("demo", 0)
    plan = make_plan(runs, destination)  # both have planned before either submits

    def submit(number: int) -> None:
        lines = Submission(plan, destination, "slurm").submit()
        (tmp_path / f"said-{number}").write_text("\n".join(lines))

    assert at_once(submit, 2) == [0, 0]
    one, other = sorted(((tmp_path / f"said-{k}").read_text() for k in (0, 1)), key=len)
    titles = ["table2-digits demo coded-s0", "table2-digits demo baseline-s0"]
    assert one.splitlines() == [f"left out, waiting already: {title}" for title in titles]
    assert all(title in other for title in titles)
    assert len(list(slurm.glob("text-*"))) == 3  # data, runs, collecting
    for run in runs:
        happened = [event["event"] for event in events(destination.run_dir(run))]
        assert happened == ["submitted"]


def test_a_job_that_its_order_does_not_name_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its submission was killed before it noted the job, and the run was submitted again."""
    (config, _) = find_experiment("table2-digits").runs("demo", 0)
    run_dir = make_directory(tmp_path / "demo" / "table2-digits" / "coded-s0")
    claim(config, run_dir)
    write_order(run_dir, {"cluster": "slurm", "job": "8"})
    note(run_dir, "submitted")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert RunTask("table2-digits", run_dir)() == ""
    assert "was given to job 8" in capsys.readouterr().out
    note(run_dir, "cancelled")
    assert is_cancelled(run_dir)
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    assert RunTask("table2-digits", run_dir)() == ""
    assert "was cancelled" in capsys.readouterr().out
    assert [event["event"] for event in events(run_dir)] == ["submitted", "cancelled"]


def test_a_killed_submission_does_not_block_the_next(tmp_path: Path) -> None:
    """It wrote the run's order and was killed before it knew a job."""
    (config, _) = find_experiment("table2-digits").runs("demo", 0)
    destination = Destination(tmp_path)
    run_dir = make_directory(destination.run_dir(config))
    claim(config, run_dir)
    write_order(run_dir, {"cluster": "slurm", "job": ""})
    note(run_dir, "submitted")
    assert look(run_dir).progress == "not handed over yet"
    assert make_plan([config], destination).configs == [config]


class Other:
    """A process that does something once it is let, and says how it ended.

    It begins before this one takes a lock: a forked process would share it with some of filelock's
    versions.
    """

    def __init__(self, work: Callable[[], object]) -> None:
        context = multiprocessing.get_context("fork")
        self.go = context.Event()
        self.process = context.Process(target=lambda: (self.go.wait(120), work()))
        self.process.start()

    def code(self) -> int | None:
        self.go.set()
        self.process.join(120)
        return self.process.exitcode


def test_a_second_process_says_that_a_run_is_taken(
    tiny_config: RunConfig, tiny_images: ArrayDataSet, tmp_path: Path
) -> None:
    """In training and in measuring; nothing is noted of it in the run."""
    run_dir = make_directory(tmp_path / "run")
    claim(tiny_config, run_dir)

    def work() -> None:
        for doing in (
            lambda: fit(tiny_config, tiny_images, run_dir, CPU, QUIET),
            lambda: evaluate_run(run_dir, tiny_images, CPU),
        ):
            with pytest.raises(InUseError, match=r"another process is training in .*; wait for it"):
                doing()

    other = Other(work)
    with working_in(run_dir), working_in(run_dir):  # a process may take it again
        assert other.code() == 0
    assert events(run_dir) == []


def test_a_run_is_held_until_it_is_measured(
    one_epoch: RunConfig,
    tiny_images: ArrayDataSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    places = Places(tmp_path / "runs", tmp_path / "results")
    run_dir = places.run_dir(one_epoch)

    def enter() -> None:
        with working_in(run_dir):
            pass

    meanwhile, afterwards = Other(enter), Other(enter)
    codes: list[int | None] = []
    monkeypatch.setattr(pipeline, "load_images", lambda *_: tiny_images)
    monkeypatch.setattr(pipeline, "evaluate_run", lambda *_: codes.append(meanwhile.code()))
    pipeline.train_and_evaluate(one_epoch, places, Console(quiet=True))
    assert codes == [1]
    assert afterwards.code() == 0


def test_one_beton_for_several_processes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    split = ArraySplit(rng.integers(0, 256, (500, 32, 32, 3), np.uint8), np.arange(500) % 10)
    names = tuple(f"class{k}" for k in range(10))
    images = ArrayDataSet("noise", "made up", split, split, names, (0.5,) * 3, (0.3,) * 3)
    assert at_once(lambda _: ensure_beton(images, "train", tmp_path)) == [0] * 4
    (path,) = tmp_path.glob("*.beton")
    assert list(Beton(path).damages()) == []
    assert not list(tmp_path.glob("*.part"))


def test_a_network_that_comes_along_is_copied_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several commands that write into it begin at once in a folder without it."""
    monkeypatch.chdir(tmp_path)
    assert at_once(lambda _: find_run(BEST, writes=True)) == [0] * 4
    compared = filecmp.dircmp(FOLDER / BEST, UNPACKED / BEST)
    assert compared.left_only == compared.right_only == compared.diff_files == []
    assert compared.subdirs["predictions"].left_only == []
    assert [path.name for path in UNPACKED.iterdir()] == [BEST]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic_directory(tmp_path / "a") as half:
            (half / "file").write_text("x")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []
    for text in ("first", "second"):
        with atomic_directory(tmp_path / "a") as half:
            (half / "file").write_text(text)
    assert (tmp_path / "a" / "file").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_cut_event_costs_no_other_event(tmp_path: Path) -> None:
    """A full disk, or a kill, may cut a line; the next event begins one of its own."""
    (tmp_path / EVENTS).write_text('{"event": "submitted"}\n{"event": "sta')
    note(tmp_path, "started")
    assert [event["event"] for event in events(tmp_path)] == ["submitted", "started"]
