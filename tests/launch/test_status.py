"""States of runs from their files and from Slurm's word, without Slurm."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from codepath.core.errors import UserError
from codepath.core.files import make_directory, write_text
from codepath.core.provenance import now
from codepath.launch.control import cancel, choose_runs, retry
from codepath.launch.task import RunTask
from codepath.run import events as runstate
from codepath.run.config import RunConfig
from codepath.run.directory import claim, mark_done
from codepath.run.events import (
    beat,
    events,
    note,
    note_failure,
    process_facts,
    read_order,
    write_order,
)
from codepath.run.slurm import JobState
from codepath.run.state import find_runs, log_tail, look, look_all, table
from tests.cli.test_cli import call

NO_PROCESS = 2**22 + 1
"""Above the largest process number of Linux."""


@pytest.fixture
def run_dir(tiny_config: RunConfig, tmp_path: Path, outside_jobs: None) -> Path:
    """A run that was submitted to Slurm as job 12_0."""
    del outside_jobs
    return submitted(tmp_path, tiny_config)


def submitted(runs: Path, config: RunConfig, cluster: str = "slurm", job: str = "12_0") -> Path:
    path = make_directory(runs / config.scale / config.experiment / config.name)
    claim(config, path)
    order = {"cluster": cluster, "job": job, "folder": str(runs / "jobs")}
    write_order(path, order)
    note(path, "submitted")
    return path


def started(run_dir: Path, job: str = "12_0", pid: int = NO_PROCESS, **more: object) -> None:
    place = {
        "host": socket.gethostname(),
        "pid": pid,
        "job": job,
        "cluster": "slurm" if job else "",
    }
    note(run_dir, "started", **place | more)
    beaten = {"phase": "training", "epoch": 2, "done": 0.5, "eta_s": 600, "at": now()}
    write_text(run_dir / "heartbeat.json", json.dumps(place | beaten | more))


def test_waiting_running_and_requeued(run_dir: Path) -> None:
    assert look(run_dir).state == "waiting"
    waiting = look(run_dir, {"12_0": JobState("PENDING", "Dependency")})
    assert (waiting.state, waiting.slurm) == ("waiting", "PENDING (Dependency)")
    assert look(run_dir, {"12_0": JobState("RUNNING")}).progress == "starting"
    started(run_dir)
    running = look(run_dir, {"12_0": JobState("RUNNING")})
    assert (running.state, running.progress) == ("running", "epoch 2/3, 50%, ETA 10 min")
    assert running.requeues == 0
    note(run_dir, "stopped", job="12_0")
    again = look(run_dir, {"12_0": JobState("PENDING", "BeginTime")})
    assert (again.state, again.requeues) == ("waiting", 1)
    started(run_dir)
    assert (look(run_dir).state, look(run_dir).requeues) == ("running", 1)
    # scontrol requeue leaves no event: Slurm says it
    assert look(run_dir, {"12_0": JobState("PENDING")}).requeues == 2


def test_another_submission_starts_the_count_again(run_dir: Path) -> None:
    started(run_dir)
    started(run_dir)
    note(run_dir, "submitted")
    assert (look(run_dir).state, look(run_dir).requeues) == ("waiting", 0)


def test_failures(run_dir: Path, tmp_path: Path) -> None:
    started(run_dir)
    log = tmp_path / "jobs" / "12_0_0_log.out"
    make_directory(log.parent)
    log.write_text("\n".join(f"line {k}" for k in range(20)) + "\n\n")
    killed = look(run_dir, {"12_0": JobState("OUT_OF_MEMORY")})
    assert killed.state == "failed"
    assert killed.error[0] == "Slurm: job ended by OUT_OF_MEMORY"
    assert killed.error[-1] == "line 19"
    try:
        raise ValueError("the disk is full")
    except ValueError as error:
        note_failure(run_dir, error)
    failed = look(run_dir)
    assert failed.state == "failed"
    assert failed.error[-1] == "ValueError: the disk is full"
    note_failure(run_dir, UserError("follows from the first"))
    assert look(run_dir).error[-1] == "ValueError: the disk is full"
    lines = table([failed])
    assert lines[0].startswith("failed")
    assert "    ValueError: the disk is full" in lines
    assert lines[-1] == "1 failed"


def test_cancelled_in_slurm_and_done(run_dir: Path, tiny_config: RunConfig) -> None:
    by_hand = look(run_dir, {"12_0": JobState("CANCELLED", "by 0")})
    assert (by_hand.state, by_hand.progress) == ("cancelled", "in Slurm")
    note(run_dir, "cancelled")
    assert look(run_dir).state == "cancelled"
    mark_done(run_dir, tiny_config)
    assert look(run_dir).state == "done"


def test_a_killed_process(tmp_path: Path, tiny_config: RunConfig, run_dir: Path) -> None:
    started(run_dir, job="")
    assert (look(run_dir).state, look(run_dir).job) == ("stopped", "")
    other = dataclasses.replace(tiny_config, seed=8)
    local = submitted(tmp_path, other, "local", str(NO_PROCESS))
    assert look(local).state == "failed"
    assert look(local).error[0].startswith("its process is gone")
    here = submitted(tmp_path, dataclasses.replace(other, seed=9), "local", str(os.getpid()))
    assert look(here).state == "waiting"


def test_another_process_with_the_number_of_the_runs_process(
    tmp_path: Path, tiny_config: RunConfig, run_dir: Path
) -> None:
    """After a reboot the numbers of processes are given again."""
    beat(run_dir, "starting")
    own = process_facts(os.getpid())
    assert look(run_dir).state == "running"
    started(run_dir, job="", **own | {"start": "7"})
    assert look(run_dir).state == "stopped"
    started(run_dir, job="", **own)
    assert look(run_dir).state == "running"
    waiting = submitted(tmp_path, dataclasses.replace(tiny_config, seed=8), "local", "1")
    write_order(waiting, read_order(waiting) | {"process": own | {"start": "7"}})
    assert look(waiting).state == "failed"
    write_order(waiting, read_order(waiting) | {"process": own})
    assert look(waiting).state == "waiting"


@pytest.mark.parametrize("gone", ["process", "time"])
def test_a_submission_that_was_cut_off(
    gone: str, tmp_path: Path, tiny_config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it had a job: its process is gone, or on another machine and silent for long."""
    path = submitted(tmp_path, dataclasses.replace(tiny_config, seed=8), job="")
    write_order(path, read_order(path) | {"process": process_facts(os.getpid())})
    assert look(path).state == "waiting"
    if gone == "process":
        write_order(path, read_order(path) | {"process": process_facts(NO_PROCESS)})
    else:
        monkeypatch.setattr("codepath.run.state.SILENT_S", -1)
    assert look(path).state == "failed"
    assert look(path).error[0].startswith("its submission was cut off before a job was noted")


def test_a_silent_run_is_remarked_on(run_dir: Path) -> None:
    started(run_dir, at="2020-01-01T00:00:00+00:00")
    assert "silent for" in look(run_dir, {"12_0": JobState("RUNNING")}).progress


def test_the_heartbeat_of_this_process(
    tiny_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_dir: Path
) -> None:
    del run_dir
    path = make_directory(tmp_path / "demo" / tiny_config.experiment / "own")
    claim(tiny_config, path)
    monkeypatch.setenv("RANK", "1")
    beat(path, "starting")
    assert not events(path)
    monkeypatch.delenv("RANK")
    beat(path, "starting")
    beat(path, "training", epoch=1, done=0.2)
    assert [event["event"] for event in events(path)] == ["started"]
    own = look(path)
    assert (own.state, own.progress, own.cluster) == ("running", "epoch 1/3, 20%", "")
    with pytest.raises(UserError), runstate.outcome_noted(path):
        raise UserError("bad")
    assert look(path).error == ("bad",)


def test_half_written_lines_and_damaged_files(run_dir: Path) -> None:
    with (run_dir / "events.jsonl").open("a") as file:
        file.write('{"event": "star')
    assert look(run_dir).state == "waiting"
    (run_dir / "DONE").write_text("{")
    assert look(run_dir).state == "failed"
    (run_dir / "config.json").write_text("{")
    (status,) = look_all([run_dir])
    assert status.state == "failed"
    assert "is damaged" in status.error[0]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "[" * 100_000),
        ("config.json", '"text"'),
        ("DONE", "[]"),
        ("DONE", "\xff"),
        ("heartbeat.json", '{"host": "HOST", "pid": PID}'),
        ("heartbeat.json", '{"host": "HOST", "pid": PID, "at": "yesterday"}'),
        ("heartbeat.json", '{"host": "HOST", "pid": PID, "at": "NOW", "phase": "x", "done": "1"}'),
        ("job.json", '{"job": {"a": 1}}'),
        ("events.jsonl", '{"event": "started", "log": true}'),
        ("events.jsonl", '{"event": "started", "log": "a\\u0000b"}'),
        ("events.jsonl", '{"event": "started", "pid": "\\u00b2"}'),
        ("events.jsonl", '{"event": "failed"}'),
        ("events.jsonl", '{"event": "failed", "error": 5}'),
        ("events.jsonl", '{"event": ["failed"]}'),
    ],
)
def test_one_damaged_run_does_not_hide_the_others(
    name: str, content: str, run_dir: Path, tiny_config: RunConfig, tmp_path: Path
) -> None:
    started(run_dir)
    said = {"HOST": socket.gethostname(), "PID": str(NO_PROCESS), "NOW": now()}
    for word, value in said.items():
        content = content.replace(word, value)
    (run_dir / name).write_bytes(content.encode("latin-1"))
    submitted(tmp_path, dataclasses.replace(tiny_config, seed=9))
    damaged, other = (look(path) for path in find_runs(tmp_path))
    assert other.state == "waiting"
    assert all(line.isprintable() for line in table([damaged, other]))


def test_a_log_that_never_ends_is_not_read(run_dir: Path, tmp_path: Path) -> None:
    started(run_dir, log="/dev/zero")
    assert log_tail(look(run_dir)) == ()
    long = tmp_path / "long"
    long.write_bytes(b"x" * 10**7 + b"\nlast\n")
    started(run_dir, log=str(long))
    assert log_tail(look(run_dir))[-1] == "last"


@pytest.mark.parametrize("pid", [0, -1, 1, -NO_PROCESS])
def test_a_damaged_event_signals_no_group_of_processes(
    pid: int, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill(-1) would reach every process of the user."""
    signalled = []
    monkeypatch.setattr(os, "kill", lambda *given: signalled.append(given))
    started(run_dir, job="", pid=pid)
    cancel([dataclasses.replace(look(run_dir), cluster="")])
    assert [number for number, signal_ in signalled if signal_] == []


def test_a_damaged_event_gives_scancel_no_option(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    done = subprocess.CompletedProcess([], 0, "", "")
    monkeypatch.setattr(subprocess, "run", lambda of, **_: (asked.append(of), done)[1])
    started(run_dir, job="--user=me")
    cancel([look(run_dir)])
    assert asked == [["scancel", "12_0"]]


@pytest.mark.parametrize("content", ["{}", "[", '{"cluster": 5}'])
def test_a_damaged_order_is_not_carried_out(content: str, run_dir: Path) -> None:
    (run_dir / "job.json").write_text(content)
    note(run_dir, "failed", error=["x"])
    with pytest.raises(UserError, match=r"job\.json is absent or damaged"):
        retry([look(run_dir)], None, None)
    with pytest.raises(UserError, match=r"job\.json is absent or damaged"):
        RunTask("table2-tiny", run_dir)()


def test_choosing_runs(run_dir: Path, tmp_path: Path) -> None:
    for names in ([], ["all"], ["table2-tiny"], ["demo/table2-tiny"], ["coded-s3"], [str(run_dir)]):
        assert choose_runs(tmp_path, names) == [run_dir]
    with pytest.raises(UserError, match="did you mean table2-tiny"):
        choose_runs(tmp_path, ["table2-tinny"])


def test_cancelling_without_slurm(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="cannot cancel job 12_0"):
        cancel([look(run_dir)])
    started(run_dir, job="", host="elsewhere")
    with pytest.raises(UserError, match="runs on elsewhere: cancel it there"):
        cancel([look(run_dir)])


def processor_seconds(*arguments: str) -> tuple[float, str]:
    """Processor time of a command in a process of its own (the load of the machine is not in it),
    the least of three, and its output."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = call(*arguments)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0, done.stderr
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times), done.stdout


def test_a_hundred_runs_in_a_second(tiny_config: RunConfig, tmp_path: Path) -> None:
    """Neither torch nor Slurm is asked."""
    for seed in range(100):
        config = dataclasses.replace(tiny_config, seed=seed)
        path = submitted(tmp_path, config, "local", str(os.getpid()))
        if seed % 2:
            started(path, job="", pid=os.getpid())
    assert len(find_runs(tmp_path)) == 100
    seconds, shown = processor_seconds("status", "--runs", str(tmp_path))
    assert shown.splitlines()[-1] == "50 running, 50 waiting"
    assert seconds < 1


def test_help_comes_in_half_a_second() -> None:
    seconds, shown = processor_seconds("--help")
    assert "submit" in shown
    assert seconds < 0.5


def test_the_exit_code_says_whether_anything_failed(run_dir: Path, tmp_path: Path) -> None:
    assert call("status", "--runs", str(tmp_path / "none")).stdout == "no runs\n"
    note(run_dir, "failed", error=["out of coffee"])
    shown = call("status", "--runs", str(tmp_path))
    assert shown.returncode == 1
    assert shown.stdout.splitlines()[1:] == ["    out of coffee", "1 failed"]
    watched = call("status", "--watch", "--runs", str(tmp_path))
    assert watched.returncode == 1
    assert "out of coffee" in watched.stdout


@pytest.mark.parametrize("command", ["status", "submit", "cancel", "retry"])
def test_these_commands_load_no_torch(command: str, tmp_path: Path) -> None:
    arguments = {"submit": ["all", "--dry-run"], "cancel": ["all"]}.get(command, [])
    code = (
        "import sys; from codepath.cli import app; "
        f"app({[command, *arguments, '--runs', str(tmp_path)]!r}, standalone_mode=False); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
