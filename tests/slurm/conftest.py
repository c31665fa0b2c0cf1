"""A real Slurm for the tests of this folder: brought up for a module, taken down after it.

Needs root, and Debian's packages or the right to install them.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.real_slurm import (
    LONG,
    PATIENCE_S,
    PROFILES,
    RUN_NAMES,
    call,
    cluster_of,
    codepath,
    state,
    wait_until,
)


@pytest.fixture(scope="module")
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A running cluster of the module's NODES (1 without), which this process's environment
    points at; its folder.
    """
    if os.geteuid() != 0:
        pytest.skip("Slurm's daemons need root")
    installed = all(map(shutil.which, ("slurmctld", "sbatch"))) or shutil.which(
        "slurmctld", path="/usr/sbin"
    )
    if not installed and not shutil.which("apt-get"):
        pytest.skip("no Slurm here, and no apt-get to install it")
    profiles = tmp_path_factory.mktemp("profiles") / "profiles.toml"
    profiles.write_text(PROFILES)
    with cluster_of(getattr(request.module, "NODES", 1), CODEPATH_PROFILES=str(profiles)) as folder:
        yield folder


@pytest.fixture(autouse=True)
def no_jobs_left(cluster: Path) -> Iterator[None]:
    """What a failed test leaves behind does not slow down the others."""
    yield
    del cluster
    call("scancel", f"--user={os.getuid()}")
    deadline = time.monotonic() + PATIENCE_S
    while call("squeue", "--noheader").strip():
        assert time.monotonic() < deadline
        time.sleep(0.3)


@pytest.fixture(scope="module")
def undisturbed(cluster: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both runs of an experiment that nothing disturbs, as jobs of Slurm."""
    del cluster
    runs = tmp_path_factory.mktemp("undisturbed")
    codepath("submit", "table2-digits", "--seeds", "1", "--set", LONG, "--runs", str(runs))
    folder = runs / "demo" / f"table2-digits+{LONG}"
    wait_until(lambda: all(state(folder / r).state == "done" for r in RUN_NAMES), runs)
    return folder
