"""Names from outside in batch scripts: bash takes them as they are, and runs nothing of them."""

from __future__ import annotations

import dataclasses
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from codepath.core.errors import UserError
from codepath.core.files import make_directory
from codepath.experiments import find_experiment
from codepath.launch.cluster import Profile
from codepath.launch.plan import Destination, make_plan
from codepath.launch.submit import Submission
from codepath.run.events import read_order

EVIL = "a;touch pwned1 $(touch pwned2) `touch pwned3` \"q\" 'p' & <img src=x> | \\ # é"
"""The name of a folder."""


def stand_ins(folder: Path) -> Path:
    """sbatch keeps the text it gets, srun writes down its arguments and is killed."""
    texts = {
        "sbatch": f'#!/bin/sh\nn=$(ls {folder} | grep -c text)\ncp "$1" {folder}/text-$n\n'
        'echo "Submitted batch job $((100 + n))"\n',
        "srun": f'#!/bin/sh\nprintf "%s\\n" "$@" >{folder}/arguments\n'
        f'printf "%s" "$PYTHONPATH" >{folder}/pythonpath\nexit 137\n',
        "scontrol": "#!/bin/sh\nexit 0\n",
        "scancel": "#!/bin/sh\nexit 0\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = stand_ins(make_directory(tmp_path / "slurm"))
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return folder


def test_bash_takes_folders_as_they_are(
    slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch script of the runs, run by bash: its folder, its imports, its last question.

    Its step is killed, so that the script also asks whether the job goes on.
    """
    runs = tmp_path / EVIL / "runs"
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / EVIL))
    destination = Destination(runs)
    (config, _) = find_experiment("table2-digits").runs("demo", 0)
    Submission(make_plan([config], destination), destination, "slurm").submit()
    run_dir = destination.run_dir(config)
    assert read_order(run_dir)["job"] == "101"
    asked = tmp_path / "asked"
    python = make_directory(tmp_path / "python") / "python"
    python.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{asked}\nexit 1\n')
    python.chmod(0o755)
    text = (slurm / "text-1").read_text()
    (ask,) = [line for line in text.splitlines() if "job-goes-on" in line]
    interpreter = ask.split(" -m ")[0].strip()
    here = make_directory(tmp_path / "here")
    done = subprocess.run(
        ["bash", "-c", text.replace(f"  {interpreter} -m", f"  {python} -m")],
        cwd=here,
        env={"PATH": os.environ["PATH"], "SLURM_JOB_ID": "101", "PYTHONPATH": EVIL},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (137, "")
    assert list(here.iterdir()) == []
    folder = read_order(run_dir)["folder"]
    assert folder in (slurm / "arguments").read_text().splitlines()
    assert (slurm / "pythonpath").read_text() == (
        f"{read_order(run_dir)['source']}:{tmp_path / EVIL}"
    )
    assert asked.read_text().splitlines()[-2:] == ["--runs", str(runs)]
    flags = [line for line in text.splitlines() if line.startswith("#SBATCH --output=")]
    assert shlex.split(flags[0].removeprefix("#SBATCH --output=")) == [f"{folder}/%j_0_log.out"]


def test_line_breaks_are_refused(slurm: Path, tmp_path: Path) -> None:
    """A line of a batch script begins a command of its own."""
    destination = Destination(tmp_path / "a\ntouch pwned")
    runs = find_experiment("table2-digits").runs("demo", 0)
    with pytest.raises(UserError, match="has a line break"):
        Submission(make_plan(runs, destination), destination, "slurm").submit()
    assert not (slurm / "text-0").exists()
    assert not destination.runs.exists()
    with pytest.raises(UserError, match="partition holds a line break"):
        Profile(name="a", partition="gpu\ntouch pwned")


def test_only_its_owner_writes_a_job_s_task(slurm: Path, tmp_path: Path) -> None:
    """Submitit unpickles the task in the job, so whoever may write it runs code as the user."""
    del slurm
    before = os.umask(0)
    try:
        destination = Destination(make_directory(tmp_path / "runs"))
        runs = find_experiment("table2-digits").runs("demo", 0)
        plan = make_plan(runs[:1], destination)
        lines = Submission(plan, destination, "slurm").submit()
    finally:
        os.umask(before)
    (folder,) = (destination.runs / "jobs").glob("2*")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert lines[0].startswith("warning: everybody may write in")
    destination.runs.chmod(0o755)
    again = dataclasses.replace(plan, left_out=())
    assert "warning" not in Submission(again, destination, "slurm").submit()[0]
