"""The files of a run's directory: its configuration, what happened to it, its order, its metrics.

None of them carries a checksum: another number of the same type reads as valid. What is held here
is their form, and that no file of one run keeps `codepath status` from showing the others.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from rich.console import Console

from codepath.core.files import make_directory
from codepath.core.signals import Interruption
from codepath.launch import control, task
from codepath.launch.requeue import job_goes_on, since_submission
from codepath.launch.task import RunTask
from codepath.lease.parts import _training_by_metrics
from codepath.pipeline import run as pipeline
from codepath.run.config import RunConfig, to_dict
from codepath.run.directory import Places, images_of, is_done, read_config
from codepath.run.metrics_file import METRICS, loader_verdict, metrics_lines
from codepath.run.slurm import JobState
from codepath.run.state import STATES, find_runs, log_tail, look, look_all, table
from codepath.run.watch import report
from codepath.train.card import _numbers_of
from codepath.train.metrics import MetricsFile
from codepath.train.precision import trained_precision
from tests.fuzz.documents import json_files, json_lines_files
from tests.fuzz.harness import REFUSED, counted, fuzz, outcome

NO_PROCESS = 2**22 + 1
"""Above the largest process number of Linux."""
AT = "2026-01-02T03:04:05.000006+00:00"
STARTED = {"event": "started", "at": AT, "host": socket.gethostname(), "pid": NO_PROCESS,
           "job": "12_0", "cluster": "local", "log": "jobs/12_0_0_log.out"}  # fmt: skip
EVENTS = (
    {"event": "submitted", "at": AT},
    STARTED,
    {"event": "stopped", "at": AT, "job": "12_0", "saved": [["step-3.pt", "17"]], "why": "time"},
    {"event": "failed", "at": AT, "error": ["a", "b"], "job": "12_0", "rank": 1,
     "follows_another": True},
    {"event": "cancelled", "at": AT},
    STARTED | {"job": "", "cluster": ""},
)  # fmt: skip
HEARTBEAT = {"phase": "training", "at": AT, "host": socket.gethostname(), "pid": NO_PROCESS,
             "job": "12_0", "cluster": "local", "done": 0.5, "epoch": 2, "eta_s": 60}  # fmt: skip
ORDER = {"cluster": "slurm", "job": "12_0", "folder": "jobs", "source": "", "commit": "abc",
         "dirty": False, "runs": "runs", "results": "results", "data": "", "backend": "auto",
         "device_batch": 0, "precision": "auto", "profile": "cpu"}  # fmt: skip
LINE = {"kind": "steps", "step": 3, "epoch": 1, "loss": 0.5, "cross_entropy": 0.4,
        "train_top1": 0.9, "coding_loss/block3": 0.1, "energy_active/block3": 1.5,
        "energy_inactive/block3": 0.2, "lr": 0.05, "images_per_second": 900.5, "data_wait": 0.3,
        "memory_mib": 800.5, "time": AT}  # fmt: skip
LINES = (LINE, LINE | {"kind": "epoch", "test_top1": 0.8}, LINE | {"step": 6, "epoch": 2})
DIVERGED = {"step": 9, "first": "loss"}
DONE = {"run_id": "x", "at": AT, "images": "96 images 01234567"}
ENVIRONMENT = [{"step": 0, "precision": "float32"}, {"step": 3, "precision": "bfloat16"}]


@pytest.fixture
def run_dir(tiny_config: RunConfig, tmp_path: Path, outside_jobs: None) -> Path:
    del outside_jobs
    return make_directory(tmp_path / "runs" / "demo" / "table2-tiny" / tiny_config.name)


def put_down(run_dir: Path, config: RunConfig, name: str, data: bytes) -> None:
    """A run's files as they should be, but for one."""
    whole: dict[str, str] = {
        "config.json": json.dumps(to_dict(config)),
        "events.jsonl": "".join(json.dumps(event) + "\n" for event in EVENTS[:2]),
        "heartbeat.json": json.dumps(HEARTBEAT),
        "job.json": json.dumps(ORDER),
        METRICS: "".join(json.dumps(line) + "\n" for line in LINES),
        "env.json": json.dumps(ENVIRONMENT),
    }
    for path in run_dir.iterdir():
        path.unlink()
    for file, text in whole.items():
        (run_dir / file).write_text(text)
    (run_dir / name).write_bytes(data)


@counted
def test_a_configuration_is_what_its_file_says(
    inputs: int, run_dir: Path, tiny_config: RunConfig
) -> None:
    """No key is dropped, no value changed, and the run's directory lies below its folder."""

    def check(data: bytes) -> None:
        put_down(run_dir, tiny_config, "config.json", data)
        config = outcome(lambda: read_config(run_dir), len(data))
        if config is REFUSED:
            return
        assert _holds(to_dict(config), json.loads(data))
        assert config.run_id
        assert config.data.words()
        place = Places(Path("/runs"), Path("/results")).run_dir(config)
        assert place.parts[:2] == ("/", "runs")
        assert len(place.parts) == 5
        assert ".." not in place.parts

    fuzz(check, inputs, json_files(to_dict(tiny_config), indent=True))


def _holds(values: Any, said: Any) -> bool:
    """Whether a configuration has every value that a file says."""
    if isinstance(said, dict):
        return isinstance(values, dict) and all(_holds(values.get(k), v) for k, v in said.items())
    return type(values) is type(said) and values == said


FILES = {
    "events.jsonl": json_lines_files(*EVENTS),
    "heartbeat.json": json_files(HEARTBEAT),
    "job.json": json_files(ORDER),
    "DONE": json_files(DONE),
}
"""File of a run -> almost such a file."""
JOBS = st.sampled_from(
    [None, {}, {"12_0": JobState("PENDING", "Dependency")}, {"12_0": JobState("RUNNING")},
     {"12_0": JobState("OUT_OF_MEMORY")}]
)  # fmt: skip


@counted
@pytest.mark.parametrize("name", ["config.json", *FILES])
def test_every_run_has_a_state(
    inputs: int, name: str, run_dir: Path, tiny_config: RunConfig
) -> None:
    """Whatever stands in its files: `status` shows a run, and with it the others."""
    almost = FILES.get(name, json_files(to_dict(tiny_config)))

    def check(data: bytes, jobs: dict[str, JobState] | None) -> None:
        put_down(run_dir, tiny_config, name, data)
        status = outcome(lambda: look(run_dir, jobs), len(data))
        assert status is not REFUSED
        assert status.state in STATES
        assert all(line.isprintable() for line in table([status]))
        assert outcome(lambda: log_tail(status), len(data)) is not REFUSED
        assert outcome(lambda: job_goes_on(run_dir.parents[2]), len(data)) is not REFUSED
        assert all(isinstance(event["event"], str) for event in since_submission(run_dir))
        shown = outcome(lambda: report(status), len(data))
        assert (shown is REFUSED) <= (name == "config.json")

    fuzz(check, inputs, almost, JOBS)


@counted
def test_done_is_said_of_the_very_run(inputs: int, run_dir: Path, tiny_config: RunConfig) -> None:
    def check(data: bytes) -> None:
        put_down(run_dir, tiny_config, "DONE", data)
        done = outcome(lambda: is_done(run_dir, tiny_config), len(data))
        if done is not REFUSED and done:
            assert json.loads(data)["run_id"] == tiny_config.run_id
            images = outcome(lambda: images_of(run_dir), len(data))
            assert images is REFUSED or images is None or isinstance(images, str)

    fuzz(check, inputs, json_files(DONE | {"run_id": tiny_config.run_id}))


@counted
def test_only_the_process_that_started_is_interrupted(
    inputs: int, run_dir: Path, tiny_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`codepath cancel` never signals a group of processes (0, -1, -n) or the machine's first.

    Nor does it give scancel an option in place of a job.
    """
    signalled: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: signalled.append(pid) if number else None)
    asked: list[list[str]] = []
    refusal = subprocess.CompletedProcess([], 1, "", "no")
    monkeypatch.setattr(control.subprocess, "run", lambda of, **_: (asked.append(of), refusal)[1])

    def check(data: bytes) -> None:
        put_down(run_dir, tiny_config, "events.jsonl", data)
        signalled.clear()
        asked.clear()
        status = look(run_dir)
        outcome(lambda: control.cancel([status]), len(data))
        assert all(re.fullmatch(r"[\w.+]*", job) for _, job in asked)
        assert all(pid > 1 for pid in signalled)
        assert len(signalled) <= 1
        if signalled:
            assert str(signalled[0]).encode() in data

    fuzz(check, inputs, json_lines_files(*EVENTS[:2]))


@counted
def test_an_order_is_carried_out_as_it_is_or_refused(
    inputs: int, run_dir: Path, tiny_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the job itself, and by `codepath retry`."""
    done: list[tuple[Any, ...]] = []
    monkeypatch.setattr(pipeline, "train_and_evaluate", lambda *given: done.append(given))
    monkeypatch.setattr(task, "beat", lambda *_, **__: None)
    monkeypatch.setattr(control.Submission, "submit", lambda self: [self.cluster])

    def check(data: bytes) -> None:
        put_down(run_dir, tiny_config, "job.json", data)
        done.clear()
        with Interruption() as interruption:
            code = outcome(lambda: RunTask("x", run_dir)._run(interruption), len(data))
        if code is not REFUSED:
            said = json.loads(data)
            if said["cluster"] == "" and said["job"]:
                assert done == []  # this process has no cluster either, and is another job
                return
            (given,) = done
            assert given[1] == Places(Path(said["runs"]), Path(said["results"]))
            assert given[4] == said["backend"]
        failed = dataclasses.replace(look(run_dir), state="failed")
        lines = outcome(lambda: control.retry([failed], None, "local"), len(data))
        assert lines is REFUSED or lines == ["local"]

    fuzz(check, inputs, json_files(ORDER))


@counted
def test_metrics_are_shown_and_cut_back(inputs: int, run_dir: Path, tiny_config: RunConfig) -> None:
    """Lines that are not a run's lines are left out wherever metrics are read."""
    out = io.StringIO()

    def check(data: bytes, step: int) -> None:
        put_down(run_dir, tiny_config, METRICS, data)
        lines = outcome(lambda: metrics_lines(run_dir / METRICS), len(data))
        assert lines is not REFUSED
        (status,) = look_all([run_dir])
        for use in (
            lambda: Console(file=out).print(report(status)),
            lambda: _training_by_metrics(run_dir, tiny_config),
            lambda: _numbers_of(run_dir, None),
            lambda: trained_precision(run_dir),
            lambda: [loader_verdict(line) for line in lines],
            lambda: MetricsFile(run_dir, writes=True).rewind(step),
        ):
            assert outcome(use, len(data)) is not REFUSED
        kept = [
            line
            for line in lines
            if line["step"] < step or (line["kind"] == "steps" and line["step"] == step)
        ]
        assert json.dumps(metrics_lines(run_dir / METRICS)) == json.dumps(kept)

    fuzz(check, inputs, json_lines_files(*LINES), st.integers(0, 7))


@counted
@pytest.mark.parametrize(
    ("name", "document"), [("env.json", ENVIRONMENT), ("divergence.json", DIVERGED)]
)
def test_notes_beside_the_metrics(
    inputs: int, name: str, document: Any, run_dir: Path, tiny_config: RunConfig
) -> None:
    def check(data: bytes) -> None:
        put_down(run_dir, tiny_config, name, data)
        (status,) = look_all([run_dir])
        assert outcome(lambda: report(status), len(data)) is not REFUSED
        assert outcome(lambda: trained_precision(run_dir), len(data)) is not REFUSED

    fuzz(check, inputs, json_files(document))


def test_these_files_are_a_run(run_dir: Path, tiny_config: RunConfig) -> None:
    """What is mutated above is valid before."""
    put_down(
        run_dir, tiny_config, METRICS, "".join(map("{}\n".format, map(json.dumps, LINES))).encode()
    )
    assert find_runs(run_dir.parents[2]) == [run_dir]
    assert read_config(run_dir) == tiny_config
    assert look(run_dir, {"12_0": JobState("RUNNING")}).state == "failed"  # its process is gone
    assert len(metrics_lines(run_dir / METRICS)) == 3
    assert trained_precision(run_dir) == "float32, then bfloat16"
