from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator

import pytest
import torch

from codepath.data import ArrayDataSet
from codepath.pipeline import run as pipeline
from codepath.run.config import RunConfig
from tests.durability.cuts import Extent
from tests.durability.undisturbed import Undisturbed

FIT = sys.modules["codepath.train.fit"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """These networks are too small for more, which would wait for each other on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(
    params=[
        pytest.param(Extent(30, 40, seed=0), id="some"),
        *(
            pytest.param(Extent(1000, 2000, seed), id=f"many-{seed}", marks=pytest.mark.slow)
            for seed in (1, 2)
        ),
    ]
)
def extent(request: pytest.FixtureRequest) -> Extent:
    """Some states after power cuts, or many."""
    found: Extent = request.param
    return found


@pytest.fixture(scope="session")
def made() -> dict[str, Undisturbed]:
    """The run of `run`, once it is made."""
    return {}


@pytest.fixture
def run(
    made: dict[str, Undisturbed],
    tiny_baseline: RunConfig,
    tiny_images: ArrayDataSet,
    tmp_path_factory: pytest.TempPathFactory,
    outside_jobs: None,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
) -> Undisturbed:
    """A tiny plain network's two epochs of two steps, with a checkpoint after each step."""
    monkeypatch.setattr(pipeline, "load_images", lambda *_: tiny_images)
    monkeypatch.setattr(FIT, "plan_lines", lambda *_: [])  # they measure for a second
    if not made:
        train = dataclasses.replace(tiny_baseline.train, epochs=2, batch_size=48)
        config = dataclasses.replace(tiny_baseline, train=train)
        made["run"] = Undisturbed(tmp_path_factory.mktemp("undisturbed"), config)
        made["run"].record()
    return made["run"]
