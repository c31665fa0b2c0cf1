"""What tests share: a data set of a few images, and configurations that train in a second."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from codepath.data import ArrayDataSet, ArraySplit
from codepath.run import events
from codepath.run.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig


@pytest.fixture(scope="session")
def tiny_images() -> ArrayDataSet:
    """96 training and 25 test images of 8 x 8 grey pixels: classes differ in brightness."""
    rng = np.random.default_rng(0)

    def split(size: int) -> ArraySplit:
        labels = np.arange(size) % 10
        noise = rng.integers(0, 20, (size, 8, 8, 1))
        return ArraySplit((noise + 23 * labels[:, None, None, None]).astype(np.uint8), labels)

    names = tuple(f"class{k}" for k in range(10))
    return ArrayDataSet("tiny", "generated", split(96), split(25), names, (0.4,), (0.3,))


@pytest.fixture
def tiny_config() -> RunConfig:
    """The demo's coded network for three epochs of three steps."""
    return RunConfig(
        experiment="table2-tiny",
        scale="demo",
        model_role="coded",
        seed=3,
        model=ModelConfig(name="coded_resnext20_10x4d", num_classes=10, in_chans=1, p_drop=0.1),
        data=DataConfig(source="digits", pad=1, flip=True),
        train=TrainConfig(epochs=3, batch_size=32, lr=0.05, lr_end=1e-4, mu=6.0),
        evaluation=EvalConfig(removal_block=4, removal_draws=2),
    )


@pytest.fixture
def outside_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that belongs to no job and has started no run."""
    for name in list(os.environ):
        if name.startswith(("SLURM_", "SUBMITIT_")) or name == "RANK":
            monkeypatch.delenv(name)
    monkeypatch.setattr(events, "_started", set())


@pytest.fixture
def tiny_baseline(tiny_config: RunConfig) -> RunConfig:
    """The plain counterpart of `tiny_config`."""
    from codepath.experiments.registry import baseline_of

    return baseline_of(tiny_config, "resnext20_10x4d")


@pytest.fixture
def one_epoch(tiny_config: RunConfig) -> RunConfig:
    """`tiny_config` for a single epoch."""
    return dataclasses.replace(tiny_config, train=dataclasses.replace(tiny_config.train, epochs=1))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """An installed Chromium, headless."""
    found = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    chromium = next(found, "")
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if not chromium:
        pytest.skip("no Chromium here: sudo apt-get install chromium")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()
