"""Submitting a plan as jobs."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from codepath.core.errors import UserError, unknown_name
from codepath.core.files import make_directory, naming, sync_all
from codepath.core.provenance import git_state
from codepath.core.signals import Interruption
from codepath.launch.cluster import Profile
from codepath.launch.plan import Destination, Plan, run_title
from codepath.launch.snapshot import take_snapshot
from codepath.launch.task import CollectTask, PrepareTask, RunTask, Task, TasksInTurn
from codepath.launch.turns import submitting
from codepath.launch.undo import Before, absent_folders
from codepath.run.config import RunConfig
from codepath.run.directory import claim
from codepath.run.events import note, process_facts, read_order, write_order
from codepath.run.state import RunStatus, look_all

CLUSTERS = ("debug", "local", "slurm")
MOST_TIMEOUTS = 1000
"""How many time limits a job may reach; `RunTask` ends it sooner where its run saves nothing."""


@dataclass(frozen=True)
class Submission:
    """What every job of a submission has in common."""

    plan: Plan
    destination: Destination
    cluster: str
    data: Path | None = None
    """The folder of the data sets' files; a data set may have a folder of its own name in it."""
    backend: str = "auto"
    device_batch: int = 0
    """Images at once on a device; 0: all that a process has of a batch."""
    precision: str = "auto"
    """auto, float32 or bfloat16 (see `codepath.train.FitOptions`)."""

    def submit(self) -> list[str]:
        """Submit the jobs; return a line for each that says what it is and where its log is.

        On "debug" the work is done in this process before the call returns. Where no job begins,
        what the submission wrote is taken back. Of several submissions at once one goes first; the
        next ones then leave out what it took, and say so.

        Raises UserError where the cluster is not here or refuses, where a run's directory holds
        another configuration, where a recipe does not allow the precision, and on "debug" where a
        run fails.
        """
        if self.cluster not in CLUSTERS:
            raise unknown_name("cluster", self.cluster, CLUSTERS)
        if not self.plan.configs:
            return ["nothing to submit"]
        _require_cluster(self.cluster)
        _require_one_line(self.destination.runs)
        for config in self.plan.configs:
            config.train.check_precision(self.precision)
            if (self._run_dir(config) / "config.json").exists():
                claim(config, self._run_dir(config))
        made = absent_folders(self.destination.runs / "jobs")
        with contextlib.ExitStack() as alone:
            alone.enter_context(submitting(self.destination.runs))
            late = self._under_way()
            lines = [f"left out, {s.state} already: {run_title(c)}" for c, s in late.items()]
            if len(late) == len(self.plan.configs):
                return lines
            return lines + replace(self, plan=self.plan.without(late))._submit_alone(made, alone)

    def _under_way(self) -> dict[RunConfig, RunStatus]:
        """The runs that another submission took since this one was planned."""
        statuses = look_all(map(self._run_dir, self.plan.configs))
        return {
            config: status
            for config, status in zip(self.plan.configs, statuses, strict=True)
            if status.holds(config)
        }

    def _submit_alone(self, made: list[Path], alone: contextlib.ExitStack) -> list[str]:
        """Submit while no other submission does; `made`: folders that were absent before."""
        runs = self.destination.runs
        folder = runs / "jobs" / _stamp()
        run_dirs = [self._run_dir(config) for config in self.plan.configs]
        before = Before(runs, folder, run_dirs, made)
        source: Path | None = None
        begun: list[str] = []
        try:
            make_directory(folder).chmod(0o700)  # Submitit's pickles in it are run as this user
            for left in (runs / "source").glob(".*.tmp"):  # of killed submissions
                shutil.rmtree(left, ignore_errors=True)
            source = take_snapshot(runs / "source") if self.cluster != "debug" else None
            for config in self.plan.configs:
                self._put_down(config, folder, source)
            if self.cluster == "slurm" and source:
                return [*_open_to_all(runs), *self._to_slurm(folder, source)]
            return [*_open_to_all(runs), *self._in_one_process(folder, source, begun, alone)]
        except BaseException as error:
            if not begun:
                before.restore(source)
                raise
            for config in self.plan.configs:
                if not read_order(self._run_dir(config)).get("job"):
                    note(self._run_dir(config), "failed", error=[f"not submitted: {error}"])
            raise
        finally:
            before.forget()

    def _run_dir(self, config: RunConfig) -> Path:
        return self.destination.run_dir(config)

    def _data_of(self, source: str) -> Path | None:
        own = self.data / source if self.data else None
        return own if own is not None and own.is_dir() else self.data

    def _put_down(self, config: RunConfig, folder: Path, source: Path | None) -> None:
        """Claim the run's directory and write its order, before its job can start."""
        run_dir = make_directory(self._run_dir(config))
        claim(config, run_dir)
        commit, dirty = git_state()
        order = {
            "cluster": self.cluster,
            "job": "",
            "process": process_facts(os.getpid()),
            "folder": str(folder),
            "source": str(source or ""),
            "commit": commit,
            "dirty": dirty,
            "runs": str(self.destination.runs),
            "results": str(self.destination.places(config.scale).results),
            "data": str(self._data_of(config.data.source) or ""),
            "backend": self.backend,
            "device_batch": self.device_batch,
            "precision": self.precision,
            "profile": next(g.profile.name for g in self.plan.groups if config in g.configs),
        }
        write_order(run_dir, order)
        note(run_dir, "submitted")

    def _task(self, config: RunConfig) -> RunTask:
        return RunTask(config.experiment, self._run_dir(config))

    def _preparations(self) -> list[PrepareTask]:
        return [
            PrepareTask(
                data,
                self._data_of(data.source),
                self.backend,
                tuple(
                    self._run_dir(config)
                    for config in self.plan.configs
                    if config.data.source == data.source
                ),
            )
            for data in self.plan.data
        ]

    def _collections(self) -> list[CollectTask]:
        return [
            CollectTask(
                tuple(self._run_dir(c) for c in self.plan.wanted if c.scale == scale),
                self.destination.places(scale).results,
                self.destination.pictures(scale),
            )
            for scale in self.plan.scales
        ]

    def _in_one_process(
        self, folder: Path, source: Path | None, begun: list[str], alone: contextlib.ExitStack
    ) -> list[str]:
        """Do all tasks here or in a background process, whose id `begun` gets once it has begun.

        Tasks that are done here do not keep other submissions waiting: `alone` is closed.
        """
        import submitit

        tasks: list[Task] = [*self._preparations(), *map(self._task, self.plan.configs)]
        sequence = TasksInTurn((*tasks, *self._collections()))
        if self.cluster == "debug":
            begun.append(str(os.getpid()))
            for config in self.plan.configs:
                _note_job(self._run_dir(config), str(os.getpid()))
            alone.close()
            failures = submitit.DebugExecutor(folder).submit(sequence).result()
            if failures:
                raise UserError("; ".join(failures))
            return [f"{run_title(config)}: done" for config in self.plan.configs]
        executor = submitit.LocalExecutor(folder, max_num_timeout=MOST_TIMEOUTS)
        profiles = [group.profile for group in self.plan.groups for _ in group.configs]
        executor.update_parameters(
            timeout_min=sum(p.minutes for p in profiles) + self.plan.service.minutes,
            gpus_per_node=max(p.gpus for p in profiles),
            stderr_to_stdout=True,
        )
        variables = {k: v for p in profiles for k, v in p.environment.items()}
        with _environment(variables | _python_environment(source)):
            job = executor.submit(sequence)
        begun.append(job.job_id)
        for config in self.plan.configs:
            _note_job(self._run_dir(config), job.job_id)
        return [
            f"process {job.job_id} does them one after the other, log {job.paths.stdout}",
            *(f"  {run_title(config)}" for config in self.plan.configs),
        ]

    def _to_slurm(self, folder: Path, source: Path) -> list[str]:
        """Submit all jobs, or none: where one is refused, those before it are cancelled."""
        accepted: list[str] = []
        try:
            with Interruption() as interruption:
                return self._send_all(folder, source, accepted, interruption)
        except BaseException:
            if accepted:
                subprocess.run(["scancel", *accepted], check=False)
            raise

    def _send_all(
        self, folder: Path, source: Path, accepted: list[str], interruption: Interruption
    ) -> list[str]:
        lines = []

        def send(
            tasks: list[Task], profile: Profile, name: str, after: Mapping[str, list[str]]
        ) -> list[str]:
            executor = _slurm_executor(folder, profile, name, source, after, self.destination.runs)
            with interruption.deferred(), naming(folder):  # no accepted job is lost to a signal
                jobs = _sent(executor, tasks)
                accepted.extend(jobs)
            sync_all(folder)  # the job may outlive a power cut here, and needs its task then
            interruption.heed()
            lines.append(f"{name}: {_span(jobs)}, logs in {folder}")
            return jobs

        prepared: dict[str, list[str]] = {}
        for task in self._preparations():
            name = f"codepath-data-{task.config.source}"
            jobs = send([task], self.plan.service, name, {})
            prepared.setdefault(task.config.source, []).extend(jobs)
        sent: list[str] = []
        for group in self.plan.groups:
            needed = prepared[group.configs[0].data.source]
            tasks: list[Task] = [self._task(config) for config in group.configs]
            jobs = send(tasks, group.profile, f"codepath-{group.profile.name}", {"afterok": needed})
            for config, job in zip(group.configs, jobs, strict=True):
                _note_job(self._run_dir(config), job)
                lines.append(f"  {job}  {run_title(config)}")
            sent += sorted({job.split("_")[0] for job in jobs})
        for collection in self._collections():
            send([collection], self.plan.service, "codepath-collect", {"afterany": sent})
        return lines


def _slurm_executor(
    folder: Path,
    profile: Profile,
    name: str,
    source: Path,
    after: Mapping[str, list[str]],
    runs: Path,
) -> Any:
    import submitit

    python = profile.python or None
    executor = submitit.SlurmExecutor(folder, max_num_timeout=MOST_TIMEOUTS, python=python)
    parameters = profile.slurm_parameters()
    variables = _python_environment(source).items()
    exports = [f"export {key}={shlex.quote(value)}" for key, value in variables]
    additional: dict[str, Any] = {"requeue": True}
    if after:
        additional["dependency"] = ",".join(f"{kind}:{':'.join(of)}" for kind, of in after.items())
        additional["kill-on-invalid-dep"] = "yes"
    executor.update_parameters(
        **parameters
        | {
            "job_name": name,
            "setup": [*parameters["setup"], *exports],
            "teardown": _requeueing(executor.python, runs),
            "array_parallelism": profile.parallel,
            "additional_parameters": additional,
        }
    )
    return executor


def _requeueing(python: str, runs: Path) -> list[str]:
    """The end of a batch script: it queues its job again where a signal ended the processes.

    $? is srun's exit code, the highest of its processes' codes: 128 + the number of a signal
    (SIGKILL is 9, SIGUSR2 is 12, SIGTERM is 15). The first job of an array has the array's own
    number, which scontrol takes for all its jobs, so the job is named with its index.
    """
    ask = f"{python} -m codepath.cli job-goes-on --runs {shlex.quote(str(runs))}"
    return [
        "code=$?",
        'job="${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}"',
        "case $code in 137 | 140 | 143)",
        f'  {ask} && scontrol requeue "${{job:-$SLURM_JOB_ID}}" ;;',
        "esac",
        "exit $code",
    ]


def _sent(executor: Any, tasks: list[Task]) -> list[str]:
    """Submit tasks, as an array where there are several; return their job ids."""
    import submitit

    try:
        # submitit prints sbatch's message as well as raising it
        with contextlib.redirect_stderr(io.StringIO()), executor.batch():
            jobs = [executor.submit(task) for task in tasks]
        return [job.job_id for job in jobs]
    except submitit.core.utils.FailedJobError as error:
        said = str(error).strip().splitlines() or ["it does not say why"]
        raise UserError(
            f"sbatch refused the job: {said[-1].removeprefix('sbatch: ')}; "
            "see the profile in slurm/profiles.toml"
        ) from None


def _require_cluster(cluster: str) -> None:
    if cluster == "slurm" and not shutil.which("sbatch"):
        raise UserError("no Slurm here (no sbatch): try --cluster local, or slurm/local-cluster up")


def _require_one_line(runs: Path) -> None:
    if not str(runs).isprintable():
        raise UserError(
            f"the folder {str(runs)!a} has a line break or the like in its name, which batch "
            "scripts cannot hold: choose another --runs folder"
        )


def _open_to_all(runs: Path) -> list[str]:
    """A warning where everybody may write in RUNS, since jobs run what lies there."""
    if not runs.stat().st_mode & stat.S_IWOTH:
        return []
    return [
        f"warning: everybody may write in {runs}, and jobs run what lies there as you: "
        f"chmod o-w {shlex.quote(str(runs))}"
    ]


def _python_environment(source: Path | None) -> dict[str, str]:
    """Variables that make Python import the snapshot, not the checkout or working directory."""
    if source is None:
        return {}
    others = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": f"{source}:{others}" if others else str(source), "PYTHONSAFEPATH": "1"}


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {key: os.environ.get(key) for key in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


def _stamp() -> str:
    return datetime.now().strftime("%Y%m%d-%H%M%S-%f")


def _span(jobs: list[str]) -> str:
    if len(jobs) == 1:
        return f"job {jobs[0]}"
    return f"jobs {jobs[0]} to {jobs[-1].split('_')[-1]}"


def _note_job(run_dir: Path, job: str) -> None:
    """Write into the run's order which job does it; outside Slurm that is a process."""
    order = read_order(run_dir) | {"job": job}
    if order["cluster"] != "slurm":
        order |= {"process": process_facts(int(job))}
    write_order(run_dir, order)
