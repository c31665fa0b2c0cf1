"""The text that `submit` gives to sbatch, word for word (sbatch is a stand-in that takes it)."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from codepath.core.provenance import REPO_ROOT
from codepath.experiments import find_experiment
from codepath.launch import cluster
from codepath.launch.plan import Destination, make_plan
from codepath.launch.submit import Submission

GOLDEN = REPO_ROOT / "tests" / "launch" / "golden"
PROFILES = """
[use]
demo = "wide"
service = "service"
[service]
time = "1:00:00"
[wide]
partition = "gpu"
account = "me"
constraint = "h100"
nodes = 2
gpus = 4
cpus = 6
memory = "100G"
time = "1-00:00:00"
parallel = 3
setup = ["module load cuda"]
environment = { NCCL_SOCKET_IFNAME = "ib0" }
"""


def test_the_text_for_sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data, then an array after it, then collecting after that."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "sbatch").write_text(
        f"#!/bin/sh\nn=$(ls {bin_} | wc -l)\ncp $1 {bin_}/text-$n\n"
        'echo "Submitted batch job $((100 + n))"\n'
    )
    (bin_ / "sbatch").chmod(0o755)
    found = tmp_path / "srun"  # submitit looks whether there is one
    found.mkdir()
    (found / "srun").write_text("#!/bin/sh\nexit 1\n")
    (found / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:{found}", prepend=":")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    profiles = tmp_path / "profiles.toml"
    profiles.write_text(PROFILES)
    monkeypatch.setattr(cluster, "PROFILES", profiles)
    destination = Destination(tmp_path / "runs")
    runs = [run for s in range(2) for run in find_experiment("table2-digits").runs("demo", s)]
    Submission(make_plan(runs, destination), destination, "slurm").submit()
    texts = []
    for path in sorted(bin_.glob("text-*")):
        text = path.read_text().replace(sys.executable, "PYTHON")
        text = re.sub(rf"{tmp_path}/runs/jobs/[\d-]+", "JOBS", text)
        text = re.sub(rf"{tmp_path}/runs/source/[\w-]+", "SOURCE", text)
        texts.append(text.replace(f"{tmp_path}/runs", "RUNS"))
    for name, text in zip(("data", "runs", "collect"), texts, strict=True):
        assert text == (GOLDEN / f"{name}.sh").read_text(), name
