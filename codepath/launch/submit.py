"""Submitting runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import submitit

from codepath.config import RunConfig, to_dict
from codepath.launch.cluster import load_profile
from codepath.launch.task import RunTask
from codepath.rundir import Places, is_done
from codepath.runtime import UserError, make_directory, unknown_name

CLUSTERS = ("debug", "local", "slurm")


def submit(
    configs: Sequence[RunConfig],
    places: Places,
    cluster: str,
    profile: str,
    data: Path | None = None,
    backend: str = "auto",
) -> list[str]:
    """Submit one job per run that is not done; a line per run says what became of it.

    On "debug" the runs are done in this process before the call returns.
    """
    if cluster not in CLUSTERS:
        raise unknown_name("cluster", cluster, CLUSTERS)
    runs, results = places.runs.resolve(), places.results.resolve()
    data = data.resolve() if data else None
    parameters = load_profile(profile)
    try:
        executor = submitit.AutoExecutor(
            folder=make_directory(runs / "jobs") / "%j", cluster=cluster
        )
    except RuntimeError as error:
        raise UserError(f"no {cluster} cluster here ({error}); try --cluster local") from None
    executor.update_parameters(name="codepath", **parameters)
    lines = []
    for config in configs:
        title = f"{config.experiment} {config.name}"
        if is_done(places.run_dir(config), config):
            lines.append(f"{title}: done already")
            continue
        job = executor.submit(RunTask(to_dict(config), runs, results, data, backend))
        if cluster == "debug":
            job.result()
        lines.append(f"{title}: job {job.job_id}, log {job.paths.stdout}")
    return lines
