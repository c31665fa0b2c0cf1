"""The dry run's expected times, from made-up speeds; and the warning where a GPU is missing."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pandas as pd
import pytest

from codepath.core.provenance import REPO_ROOT
from codepath.experiments import find_experiment
from codepath.launch import expected
from codepath.launch.cluster import Profile
from codepath.launch.expected import expected_lines
from codepath.launch.plan import Destination, Group, Plan, make_plan
from codepath.run.config import RunConfig
from codepath.store.schema import benchmark_columns
from tests.cli.test_cli import call

CODED, PLAIN = 50e-6, 25e-6
"""Seconds that an image takes on the made-up GPU: 750 and 375 for a run of CIFAR-10."""
HEAD = "expected by the speeds in "


def put_speeds(results: Path, file: str, device: str, networks: tuple[str, ...] = ("C10",)) -> None:
    """Rows of one device's speeds, those of a GPU in bfloat16, twice as slow on processors."""
    path = results / "benchmarks" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    slower = 2 if file.endswith("-cpu.csv") else 1
    rows = [
        {"network": name, "batch": 100, "precision": "bfloat16", "device": device,
         "created": "2026", "value": 100 * slower * seconds, "what": "train",
         "model": role, "variant": role.replace("baseline", "plain"), "way": "compiled"}
        for name in networks
        for role, seconds in (("coded", CODED), ("baseline", PLAIN))
    ]  # fmt: skip
    columns = list(itertools.chain(*benchmark_columns(file.split("-")[0])))
    pd.DataFrame(rows).reindex(columns=columns).to_csv(path, index=False)


def runs_of(name: str, scale: str, seeds: int) -> list[RunConfig]:
    return [run for seed in range(seeds) for run in find_experiment(name).runs(scale, seed)]


def lines_of(
    results: Path, name: str, seeds: int = 3, cluster: str = "slurm", scale: str = "paper",
    **profile: object,
) -> list[str]:  # fmt: skip
    """Expected lines of one group with a profile of its own."""
    group = Group(Profile(name="mine", **profile), tuple(runs_of(name, scale, seeds)))
    plan = Plan((group,), Profile(name="service"), (), ())
    head, *lines = expected_lines(plan, cluster, results)
    assert head.startswith(HEAD)
    return lines


def test_every_job_has_its_time_and_all_have_a_sum(tmp_path: Path) -> None:
    put_speeds(tmp_path, "step-cuda.csv", "a GPU")
    assert lines_of(tmp_path, "table2-cifar10", gpus=1, parallel=2) == [
        "  profile mine, cifar10, a GPU:",
        "    table2-cifar10 paper coded: 3 jobs, each 0.2 GPU hours, 12 min",
        "    table2-cifar10 paper baseline: 3 jobs, each 0.1 GPU hours, 6 min",
        "    in all: 0.9 GPU hours, 31 min of wall time with 2 at a time",  # 1875 s
    ]
    *_, at_once = lines_of(tmp_path, "table2-cifar10", gpus=1, parallel=8)
    assert at_once == "    in all: 0.9 GPU hours, 12 min of wall time with 6 at a time"
    *_, alone = lines_of(tmp_path, "table2-cifar10", seeds=1, gpus=1, parallel=1)
    assert alone == "    in all: 0.3 GPU hours, 19 min of wall time one after the other"


def test_several_gpus_share_a_run_and_the_line_says_on_what_condition(tmp_path: Path) -> None:
    put_speeds(tmp_path, "step-cuda.csv", "a GPU", ("ImageNet",))
    head, coded, *_ = lines_of(tmp_path, "table2-imagenet", seeds=1, gpus=4, nodes=2)
    assert head == "  profile mine, imagenet, a GPU, if 8 GPUs are 8 times as fast as one:"
    epochs = runs_of("table2-imagenet", "paper", 1)[0].train.epochs
    hours = epochs * 1_281_167 * CODED / 3600
    minutes = 60 * hours / 8
    time = f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
    assert coded == f"    table2-imagenet paper coded: {hours:.1f} GPU hours, {time}"


def test_without_rows_of_such_a_device_there_is_no_time(tmp_path: Path) -> None:
    nothing = "  profile mine, cifar10: no measurement for this device (codepath bench step"
    (line,) = lines_of(tmp_path, "table2-cifar10", gpus=1)
    assert line.startswith(nothing)
    assert "GPU hours" not in line
    (tmp_path / "benchmarks").mkdir()
    counts = REPO_ROOT / "results" / "benchmarks" / "architectures.csv"
    shutil.copy(counts, tmp_path / "benchmarks")
    put_speeds(tmp_path, "network-cpu.csv", "a CPU, 2 cores")
    (line,) = lines_of(tmp_path, "table2-cifar10", seeds=1, gpus=1)
    assert line.startswith(nothing)
    assert "; assumed, about 1.9 GPU hours, if a GPU sustains" in line
    (line,) = lines_of(tmp_path, "table2-digits", scale="demo", cpus=2)
    assert line == "  profile mine, digits: no measurement of runs on these images"


def test_processors_are_those_with_as_many_cores(tmp_path: Path) -> None:
    put_speeds(tmp_path, "network-cpu.csv", "a CPU, 2 cores", ("cpu scale",))
    put_speeds(tmp_path, "step-cuda.csv", "a GPU", ("cpu scale",))
    head, coded, _, total = lines_of(tmp_path, "table2-cifar10", scale="cpu", cpus=2)
    assert head == "  profile mine, cifar10, a CPU, 2 cores:"
    assert coded == "    table2-cifar10 cpu coded: 3 jobs, each 75 s"  # 15 epochs
    assert "GPU hours" not in total
    for profile in ({"cpus": 4}, {"cpus": 2, "tasks": 2}):
        (line,) = lines_of(tmp_path, "table2-cifar10", scale="cpu", **profile)
        assert "no measurement for this device" in line


def test_a_constraint_that_names_a_gpu_chooses_it(tmp_path: Path) -> None:
    put_speeds(tmp_path, "step-cuda.csv", "NVIDIA H100")
    put_speeds(tmp_path, "network-cuda.csv", "NVIDIA A100")
    lines = lines_of(tmp_path, "table2-cifar10", gpus=1, constraint="a100")
    assert [line for line in lines if "profile" in line] == [
        "  profile mine, cifar10, NVIDIA A100:"
    ]
    lines = lines_of(tmp_path, "table2-cifar10", gpus=1, constraint="rack7")
    assert sum("profile mine" in line for line in lines) == 2


def test_what_was_not_measured_leaves_the_sum_open(tmp_path: Path) -> None:
    put_speeds(tmp_path, "step-cuda.csv", "a GPU")
    file = tmp_path / "benchmarks" / "step-cuda.csv"
    rows = pd.read_csv(file)
    rows[rows["model"] == "coded"].to_csv(file, index=False)
    _, coded, plain, total = lines_of(tmp_path, "table2-cifar10", seeds=1, gpus=1)
    assert coded.endswith("0.2 GPU hours, 12 min")
    assert plain.endswith("baseline: no measurement for this device")
    assert total == "    in all: not known, as some were not measured"


def test_off_slurm_the_device_is_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_speeds(tmp_path, "step-cuda.csv", "a GPU")
    monkeypatch.setattr(expected, "gpu_name", lambda: "a GPU")
    *_, total = lines_of(tmp_path, "table2-cifar10", cluster="local", gpus=8)
    assert total == "    in all: 0.9 GPU hours, 56 min of wall time one after the other"
    monkeypatch.setattr(expected, "gpu_name", lambda: "")
    (line,) = lines_of(tmp_path, "table2-cifar10", cluster="local", gpus=8)
    assert "no measurement for this device" in line


def test_the_command_says_it_in_the_dry_run(tmp_path: Path) -> None:
    put_speeds(tmp_path / "rows", "step-cuda.csv", "a GPU", ("C10", "C100"))
    names = ("submit", "table2-cifar10", "table2-cifar100", "--scale", "paper", "--dry-run")
    places = ("--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "rows"))
    done = call(*names, *places)
    assert done.returncode == 0, done.stderr
    assert f"{HEAD}{tmp_path / 'rows' / 'benchmarks'}" in done.stdout
    assert done.stdout.rstrip().endswith("  all jobs that are known on a GPU: 1.9 GPU hours")
    assert "warning" not in done.stdout
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("scale", "profile", "warned"), [("paper", "cpu", True), ("short", "service", True),
                                     ("paper", "gpu", False), ("cpu", "cpu", False)],
)  # fmt: skip
def test_a_profile_without_gpus_is_warned_of(
    tmp_path: Path, scale: str, profile: str, warned: bool
) -> None:
    destination = Destination(tmp_path / "runs")
    plan = make_plan(runs_of("table2-cifar10", scale, 1), destination, profile)
    lines = [line for line in plan.lines(destination, "slurm") if "warning" in line]
    assert len(lines) == warned
    if warned:
        assert (
            f"profile {profile} has no GPU, for which runs at {scale} scale are meant" in lines[0]
        )
