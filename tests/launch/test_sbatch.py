"""The sbatch files and the container recipe, as far as they can be tried without a cluster."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from codepath.core.provenance import REPO_ROOT
from codepath.experiments import find_experiment

SBATCH = ("cifar10", "cifar100", "imagenet")


def run_by_bash(name: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], **variables}
    return subprocess.run(
        ["bash", f"slurm/{name}.sbatch"],
        capture_output=True,
        text=True,
        cwd=REPO_ROOT,
        env=env,
        check=False,
    )


@pytest.mark.parametrize("name", SBATCH)
def test_missing_variables_are_one_clear_line(name: str, tmp_path: Path) -> None:
    here = str(tmp_path)
    for variables, message in (
        ({}, "error: DATA is not set"),
        ({"DATA": f"{here}/none"}, f"error: DATA is {here}/none, which is not there"),
        ({"DATA": here, "CODEPATH": f"{here}/cp"}, f"error: CODEPATH is {here}/cp, which is not"),
        ({"DATA": here, "CODEPATH": "true"}, "error: this is no Slurm job"),
        ({"REPO": here}, f"error: REPO is {here}, which is not the repository"),
    ):
        done = run_by_bash(name, **variables)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.startswith(message)


@pytest.mark.parametrize("name", SBATCH)
def test_the_files_ask_for_one_process_a_gpu_and_for_signals(name: str) -> None:
    text = (REPO_ROOT / "slurm" / f"{name}.sbatch").read_text()
    flags = dict(re.findall(r"^#SBATCH --([a-z-]+)=(\S+)$", text, re.M))
    assert flags["ntasks-per-node"] == flags["gpus-per-node"]
    signalled, _, seconds = flags["signal"].rpartition("@")
    assert signalled == "B:USR2"
    assert re.search(rf"^SIGNAL_S=\$\{{SIGNAL_S:-{seconds}\}}", text, re.M)
    assert "\n#SBATCH --requeue\n" in text
    experiment = find_experiment(f"table2-{name}")
    assert f"EXPERIMENT=${{EXPERIMENT:-{experiment.name}}}" in text
    assert "paper" in experiment.scales


def test_bash_finds_no_mistakes() -> None:
    files = [*(REPO_ROOT / "slurm").glob("*.sbatch"), REPO_ROOT / "slurm" / "train.sh"]
    for path in [*files, REPO_ROOT / "slurm" / "local-cluster"]:
        subprocess.run(["bash", "-n", str(path)], check=True)


def test_the_container_is_built_as_make_setup_builds() -> None:
    """Same headers, same command, and every file that the command needs."""
    makefile = (REPO_ROOT / "Makefile").read_text()
    recipe = (REPO_ROOT / "slurm" / "codepath.def").read_text()
    headers = re.search(r"^HEADERS := (.+)$", makefile, re.M)
    assert headers is not None
    installed = re.search(r"^HEADERS='(.+)'$", recipe, re.M)
    assert installed is not None
    assert installed[1] == headers[1]
    assert re.search(r"^ *make setup PYTHON=python3$", recipe, re.M)
    copied = set(re.findall(r"^ +(\S+) /opt/codepath/", recipe, re.M))
    needed = re.search(r"^\$\(STAMP\): (.+)$", makefile, re.M)
    project = (REPO_ROOT / "pyproject.toml").read_text()
    readme = re.search(r'^readme = "(.+)"$', project, re.M)
    licences = re.search(r'^license-files = \["(.+)"\]$', project, re.M)
    assert needed is not None
    assert readme is not None
    assert licences is not None
    wanted = {"Makefile", "codepath", *needed[1].split(), readme[1], licences[1]}
    assert wanted <= copied
    assert all((REPO_ROOT / name).exists() for name in copied)
    base = re.search(r"^From: python:3\.(\d+)-slim-bookworm$", recipe, re.M)
    least = re.search(r'^requires-python = ">=3\.(\d+)"$', project, re.M)
    assert base is not None
    assert least is not None
    assert int(base[1]) >= int(least[1])


def test_the_recipes_set_up_runs_in_a_folder_of_the_copied_files(tmp_path: Path) -> None:
    """`make setup` asks for nothing beyond what the recipe copies (its commands are not run)."""
    recipe = (REPO_ROOT / "slurm" / "codepath.def").read_text()
    for name in re.findall(r"^ +(\S+) /opt/codepath/", recipe, re.M):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(REPO_ROOT / name)
    done = subprocess.run(
        ["make", "-n", "setup", "PYTHON=python3"],
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if not key.startswith("MAKE")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "pip install" in done.stdout


def test_the_local_cluster_says_what_is_wrong(tmp_path: Path) -> None:
    script = str(REPO_ROOT / "slurm" / "local-cluster")
    env = {"PATH": os.environ["PATH"], "CODEPATH_CLUSTER": str(tmp_path / "none")}

    def call(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [script, *arguments], capture_output=True, text=True, env=env | more, check=False
        )

    assert call().returncode == 2
    assert call("env").stderr.startswith("error: not running")
    assert call("down").returncode == 0
    kept = call("down", CODEPATH_CLUSTER=str(tmp_path))
    assert kept.returncode == 1
    assert "no cluster's folder: left as it is" in kept.stderr
    assert tmp_path.exists()


def test_the_local_cluster_without_slurm_and_apt_leaves_nothing(tmp_path: Path) -> None:
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("bash", "env", "xargs", "grep", "cut", "sort", "cat", "echo", "hostname", "sh"):
        (commands / name).symlink_to(str(shutil.which(name)))
    script = (REPO_ROOT / "slurm" / "local-cluster").read_text()
    copy = tmp_path / "local-cluster"
    copy.write_text(script.replace("PATH=$PATH:/usr/sbin:/sbin\n", ""))
    (commands / "id").write_text("#!/bin/sh\necho 0\n")
    (commands / "id").chmod(0o755)
    env = {"PATH": str(commands), "CODEPATH_CLUSTER": "/tmp/codepath-none"}
    done = subprocess.run(
        ["bash", str(copy), "up"], capture_output=True, text=True, env=env, check=False
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: missing: munged mariadbd slurmdbd slurmctld slurmd sbatch")
    assert not Path(env["CODEPATH_CLUSTER"]).exists()
