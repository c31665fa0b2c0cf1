"""Runs whose process is killed with -9 end as undisturbed ones, bit for bit."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from codepath.core.provenance import REPO_ROOT

BACKENDS = ["torch", *(["ffcv"] if importlib.util.find_spec("ffcv") else [])]


def killed(folder: Path, backend: str, kills: int, epochs: int) -> dict[str, int]:
    arguments = [str(folder), backend, str(kills), "0", str(epochs)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.train.kill", *arguments],
        cwd=REPO_ROOT,
        capture_output=True,
        text=True,
        timeout=3000,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    hits: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return hits


def test_killed_at_random_moments(tmp_path: Path) -> None:
    """Three kills; the slow test below has twenty of each backend."""
    assert killed(tmp_path, BACKENDS[-1], 3, epochs=12)["kills"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_killed_at_twenty_random_moments(backend: str, tmp_path: Path) -> None:
    hits = killed(tmp_path, backend, 20, epochs=40)
    assert hits["kills"] == 20
    assert hits["checkpoints"] > 5
    assert hits["inside a checkpoint"] > 0


def test_the_backends_train_the_same_weights(tmp_path: Path) -> None:
    """Whole runs of both, compared to the bit."""
    from tests.train.kill import CPU, make_config, make_images
    from tests.train.runs import QUIET, assert_same_run

    if "ffcv" not in BACKENDS:
        pytest.skip("FFCV is not installed here")
    from codepath.data import LoaderOptions
    from codepath.train import FitOptions, fit

    config = make_config(epochs=3)
    for backend in BACKENDS:
        options = FitOptions(loader=LoaderOptions(backend, tmp_path / "betons"), log_steps=2)
        fit(config, make_images(), tmp_path / backend, CPU, QUIET, options)
    assert_same_run(tmp_path / "torch", tmp_path / "ffcv")
