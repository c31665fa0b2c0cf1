"""Submission without Slurm: the debug and local executors run the same task."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from codepath import store
from codepath.config import RunConfig, to_dict
from codepath.experiments import find_experiment
from codepath.experiments.registry import override
from codepath.launch import submit
from codepath.launch.cluster import load_profile
from codepath.launch.task import RunTask
from codepath.rundir import Places, is_done
from codepath.runtime import UserError


@pytest.fixture
def config() -> RunConfig:
    return override(find_experiment("table2-digits").runs("demo", 0)[1], ["train.epochs=1"])


@pytest.mark.parametrize("cluster", ["debug", "local"])
def test_a_submitted_run_ends_with_rows(cluster: str, config: RunConfig, tmp_path: Path) -> None:
    places = Places(tmp_path / "runs", tmp_path / "results")
    (line,) = submit([config], places, cluster, "cpu")
    assert line.startswith(f"{config.experiment} baseline-s0: job")
    if cluster == "local":
        import submitit

        job_id = line.split("job ")[1].split(",")[0]
        job = submitit.LocalJob(tmp_path / "runs" / "jobs" / job_id, job_id)
        assert job.result() == config.run_id
    assert is_done(places.run_dir(config), config)
    assert len(store.read_rows(places.results, "accuracy")) == 1
    assert submit([config], places, cluster, "cpu") == [
        f"{config.experiment} baseline-s0: done already"
    ]


def test_the_task_is_picklable_and_requeues_itself(config: RunConfig, tmp_path: Path) -> None:
    task = RunTask(to_dict(config), tmp_path / "runs", tmp_path / "results")
    assert pickle.loads(pickle.dumps(task)) == task
    assert task.checkpoint().function == task


def test_profiles(tmp_path: Path) -> None:
    assert load_profile("gpu")["gpus_per_node"] == 1
    with pytest.raises(UserError, match="did you mean gpu"):
        load_profile("gpuu")
    path = tmp_path / "profiles.toml"
    path.write_text("[mine]\ncpu = 3\n")
    with pytest.raises(UserError, match=r"key of profile 'mine'.*did you mean cpus"):
        load_profile("mine", path)


def test_unknown_cluster(config: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean slurm"):
        submit([config], Places(tmp_path, tmp_path), "slrum", "cpu")
