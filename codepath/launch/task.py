"""What jobs do. Tasks are picklable: they hold names, paths and a data set's configuration.

The task of a run reads what it is to do from the run's directory: config.json and job.json.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codepath.core.errors import InUseError, UserError
from codepath.core.provenance import REPO_ROOT
from codepath.core.signals import InterruptedRun, Interruption
from codepath.launch.requeue import failed_by_itself, is_cancelled, note_stop, since_submission
from codepath.run.config import DataConfig
from codepath.run.directory import Places, read_config, working_in
from codepath.run.events import (
    beat,
    current_cluster,
    current_job,
    note_failure,
    order_to_do,
    process_rank,
    read_order,
)
from codepath.run.slurm import job_state

REQUEUE_SIGNAL = signal.SIGUSR2
"""On this signal submitit calls the task's `checkpoint` and puts the job back into the queue."""
HELD = ("RUNNING", "SIGNALING")
"""A job told to stop in one of these states is at its time limit or about to be preempted."""


class Task:
    """What a job does; a preempted or timed-out job is queued again with the same task."""

    def __call__(self) -> Any:
        """Do the task; a repeated call goes on from what is there."""
        raise NotImplementedError

    def checkpoint(self) -> Any:
        """What submitit is to queue again; None: nothing."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _require_snapshot(source: str) -> None:
    """UserError where this job does not run the source that it was submitted with."""
    if source and Path(source).resolve() != REPO_ROOT:
        raise UserError(
            f"this job runs the source in {REPO_ROOT} in place of {source}: PYTHONPATH was "
            "changed; take such lines out of the profile's setup"
        )


def _is_anothers(order: dict[str, Any]) -> bool:
    """Whether an order names another job than this one.

    Such a job is one whose submission was killed before it noted the job; the run was submitted
    again since.
    """
    here = current_cluster() == order.get("cluster")
    return here and order.get("job", "") not in ("", current_job())


@dataclass(frozen=True)
class RunTask(Task):
    """Train and evaluate one run."""

    experiment: str
    run_dir: Path

    def __call__(self) -> str:
        """Do the run and return its id.

        A failure is noted in the run's directory and raised. A signal that stopped training puts
        the job back into the queue.
        """
        try:
            with Interruption() as interruption:
                return self._run(interruption)
        except InterruptedRun as stop:
            self._give_way(stop)
            raise
        except InUseError:
            raise  # it is no failure of the run, which another process has
        except Exception as error:
            note_failure(self.run_dir, error)
            raise

    def _run(self, interruption: Interruption) -> str:
        order = read_order(self.run_dir)
        if _is_anothers(order):
            print(f"{self.run_dir} was given to job {order['job']}: nothing is left to do here")
            return ""
        if is_cancelled(self.run_dir):
            print(f"{self.run_dir} was cancelled: nothing is left to do here")
            return ""
        with contextlib.ExitStack() as held:
            if not process_rank():
                held.enter_context(working_in(self.run_dir))
            return self._carry_out(interruption)

    def _carry_out(self, interruption: Interruption) -> str:
        order = order_to_do(self.run_dir)
        beat(self.run_dir, "starting")
        if current_cluster():
            _require_snapshot(order["source"])
        with interruption.deferred():  # an imported module might catch the exception
            from rich.console import Console

            from codepath.pipeline.run import train_and_evaluate
            from codepath.train import FitOptions
        interruption.heed()

        config = read_config(self.run_dir)
        train_and_evaluate(
            config,
            Places(Path(order["runs"]), Path(order["results"])),
            Console(quiet=process_rank() > 0, markup=False),
            Path(order["data"]) if order["data"] else None,
            order["backend"],
            FitOptions(device_batch=order["device_batch"], precision=order["precision"]),
        )
        return config.run_id

    def checkpoint(self) -> Any:
        """The same task; None where the run was cancelled or its last attempts saved nothing."""
        return super().checkpoint() if note_stop(self.run_dir) else None

    def _give_way(self, stop: InterruptedRun) -> None:
        """Queue the job again after a signal stopped its run, where the job is to go on.

        A job is not queued again where it was cancelled, where its scheduler queues it again, where
        a person interrupted it, or where Slurm ends it because another of its processes failed.
        """
        if failed_by_itself(self.run_dir):
            return
        job, cluster = current_job(), current_cluster()
        if stop.signal_number != signal.SIGINT and job:
            state = job_state(job) if cluster == "slurm" else None
            if not is_cancelled(self.run_dir) and (state is None or state.state in HELD):
                signal.raise_signal(REQUEUE_SIGNAL)  # never returns in the first process
                sys.exit(0)  # on another code srun would kill the first process before that
        note_stop(self.run_dir)


@dataclass(frozen=True)
class PrepareTask(Task):
    """Get the data of runs ready."""

    config: DataConfig
    data: Path | None
    backend: str
    run_dirs: tuple[Path, ...]
    """The runs that wait for this data; they fail where the task fails."""

    def __call__(self) -> list[str]:
        """Prepare the data and return lines that describe it."""
        from codepath.pipeline.prepare import prepare_data

        try:
            lines = prepare_data(self.config, self.data, self.backend)
        except Exception as error:
            for run_dir in self.run_dirs:
                note_failure(run_dir, error)
            raise
        print("\n".join(lines))
        return lines


@dataclass(frozen=True)
class CollectTask(Task):
    """Put the rows of a scale's finished runs into the results, and draw what these allow."""

    run_dirs: tuple[Path, ...]
    results: Path
    pictures: Path

    def __call__(self) -> list[str]:
        """Collect and draw; return lines with the states of the runs."""
        from codepath import store
        from codepath.run.state import look_all, table

        statuses = look_all(self.run_dirs)
        done = [status.run_dir for status in statuses if status.state == "done"]
        print(f"{store.collect(self.results, done)} new rows in {self.results}")
        if done:
            places = ["--results", str(self.results), "--out", str(self.pictures)]
            for command in ("figures", "tables", "verdict"):  # each says what it lacks
                subprocess.run(
                    [sys.executable, "-m", "codepath.cli", command, *places], check=False
                )
        lines = table(statuses)
        print("\n".join(lines))
        return lines


@dataclass(frozen=True)
class TasksInTurn(Task):
    """Several tasks, one after another in one process; a failed one does not stop the others."""

    tasks: tuple[Task, ...]

    def __call__(self) -> list[str]:
        """Do the tasks and return a line for each that failed.

        A run that was meanwhile cancelled is passed over, and so is one whose data failed.
        """
        failures = []
        for task in self.tasks:
            if isinstance(task, RunTask) and not _is_wanted(task.run_dir):
                continue
            try:
                task()
            except (InterruptedRun, KeyboardInterrupt):
                if not (isinstance(task, RunTask) and not _is_wanted(task.run_dir)):
                    raise
            except Exception as error:
                traceback.print_exception(error)
                failures.append(f"{_name(task)}: {error}")
        return failures


def _is_wanted(run_dir: Path) -> bool:
    """Whether nothing has ended the run since it was submitted."""
    return not any(e["event"] in ("cancelled", "failed") for e in since_submission(run_dir))


def _name(task: Task) -> str:
    return task.experiment if isinstance(task, RunTask) else type(task).__name__
