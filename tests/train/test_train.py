from __future__ import annotations

import dataclasses
import json
import math
import signal
import sys
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from rich.console import Console

from codepath.core.errors import UserError
from codepath.core.signals import InterruptedRun
from codepath.data import ArrayDataSet
from codepath.models import create_model
from codepath.run.config import RunConfig, TrainConfig
from codepath.train import FitOptions, fit, load_trained
from codepath.train.card import write_card
from codepath.train.optim import make_optimizer
from codepath.train.schedule import learning_rate
from tests.train.runs import (
    CPU,
    QUIET,
    SignalAfter,
    assert_same_run,
    reported,
)

FIT = sys.modules["codepath.train.fit"]
"""The module: the package's attribute of that name is the function."""


def recipe(**changes: object) -> TrainConfig:
    values = {"epochs": 10, "batch_size": 4, "lr": 0.4, "lr_end": 1e-5}
    return TrainConfig(**{**values, **changes})


def test_cosine_steps_per_epoch() -> None:
    rates = [learning_rate(step, 5, recipe()) for step in range(50)]
    assert rates[:5] == [0.4] * 5
    assert rates[25] == pytest.approx((0.4 + 1e-5) / 2)
    assert rates == sorted(rates, reverse=True)
    assert learning_rate(50, 5, recipe()) == pytest.approx(1e-5)


def test_warm_up_is_linear() -> None:
    config = recipe(epochs=15, warmup_epochs=5, warmup_lr=1e-4)
    rates = [learning_rate(epoch * 7, 7, config) for epoch in range(15)]
    assert rates[0] == 1e-4
    assert rates[1] == pytest.approx(1e-4 + (0.4 - 1e-4) / 5)
    assert rates[5] == 0.4
    expected = 1e-5 + (0.4 - 1e-5) * (1 + math.cos(math.pi * 0.9)) / 2
    assert rates[14] == pytest.approx(expected)


def test_weight_decay_covers_what_the_recipe_says(tiny_config: RunConfig) -> None:
    model = create_model(tiny_config.model)
    parameters = sum(1 for _ in model.parameters())
    (everything,) = make_optimizer(model, recipe(), CPU).param_groups
    assert len(everything["params"]) == parameters
    decayed, free = make_optimizer(model, recipe(decay_norm_and_bias=False), CPU).param_groups
    assert free["weight_decay"] == 0
    assert {p.ndim for p in free["params"]} == {1}
    assert {p.ndim for p in decayed["params"]} == {2, 4}
    assert len(decayed["params"]) + len(free["params"]) == parameters


def test_a_run_directory_is_complete(
    tiny_config: RunConfig, tiny_images: ArrayDataSet, tmp_path: Path
) -> None:
    fit(tiny_config, tiny_images, tmp_path, CPU, QUIET)
    lines = [line for line in reported(tmp_path) if line["kind"] == "epoch"]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert [line["step"] for line in lines] == [3, 6, 9]
    for block, ratio in ((3, 0.5), (4, 0.5), (5, 0.3), (6, 0.3)):
        energies = [lines[0][f"energy_{kind}/block{block}"] for kind in ("active", "inactive")]
        assert ratio * energies[0] + (1 - ratio) * energies[1] == pytest.approx(1, rel=1e-5)
    parts = [lines[0][f"coding_loss/block{block}"] for block in range(3, 7)]
    assert lines[0]["loss"] == pytest.approx(lines[0]["cross_entropy"] + 6 * sum(parts), rel=1e-5)
    assert lines[-1]["loss"] < lines[0]["loss"]
    environment = json.loads((tmp_path / "env.json").read_text())
    assert environment[0]["versions"]["torch"]
    card = (tmp_path / "model" / "README.md").read_text()
    assert f"commit {environment[0]['commit']}" in card
    assert f"torch {environment[0]['versions']['torch']}" in card
    write_card(tmp_path, dataclasses.replace(tiny_config, scale="short"), tiny_images)
    card = (tmp_path / "model" / "README.md").read_text()
    assert "at its short scale: the paper's network and recipe, 60 of 300 epochs, seed 3" in card
    assert "A proxy: not the paper's scale." in card
    config, model = load_trained(tmp_path, CPU)
    assert config == tiny_config
    assert not model.training


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_saves_after_the_step_under_way(
    number: signal.Signals,
    tiny_config: RunConfig,
    tiny_images: ArrayDataSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also twice in a run, at an epoch's last step, and between two epochs' metrics."""
    options = FitOptions(log_steps=2)
    fit(tiny_config, tiny_images, tmp_path / "straight", CPU, QUIET, options)
    handlers = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)}
    with monkeypatch.context() as patch:
        patch.setattr(FIT, "TrainingProgress", SignalAfter)
        patch.setattr(SignalAfter, "number", number)
        for step in (1, 3, 8, 9):
            patch.setattr(SignalAfter, "at", {step})
            with pytest.raises(
                InterruptedRun, match=f"saved at step {step} .*repeat the comm"
            ) as e:
                fit(tiny_config, tiny_images, tmp_path / "broken", CPU, QUIET, options)
            assert e.value.exit_code == (130 if number == signal.SIGINT else 75)
            assert not (tmp_path / "broken" / "model.safetensors").exists()
            torch.manual_seed(99)  # another process would have another state
    assert handlers == {number: signal.getsignal(number) for number in handlers}
    fit(tiny_config, tiny_images, tmp_path / "broken", CPU, QUIET, options)
    assert_same_run(tmp_path / "straight", tmp_path / "broken")
    starts = json.loads((tmp_path / "broken" / "env.json").read_text())
    assert [start["step"] for start in starts] == [0, 1, 3, 8, 9]


def test_a_signal_while_an_epochs_end_is_saved_loses_nothing(
    tiny_config: RunConfig,
    tiny_images: ArrayDataSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from codepath.train.checkpoint import Checkpoints

    real = Checkpoints.save

    def save(self: Checkpoints, step: int, state: dict) -> None:
        signal.raise_signal(signal.SIGTERM)
        real(self, step, state)

    monkeypatch.setattr(Checkpoints, "save", save)
    for step in (3, 6):
        with pytest.raises(InterruptedRun, match=f"saved at step {step} "):
            fit(tiny_config, tiny_images, tmp_path, CPU, QUIET)


def test_a_second_interrupt_does_not_wait(
    tiny_config: RunConfig,
    tiny_images: ArrayDataSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Impatient(SignalAfter):
        def step(self, steps_done: int, epoch: int) -> None:
            super().step(steps_done, epoch)
            super().step(steps_done, epoch)

    monkeypatch.setattr(FIT, "TrainingProgress", Impatient)
    monkeypatch.setattr(SignalAfter, "at", {2})
    monkeypatch.setattr(SignalAfter, "number", signal.SIGINT)
    with pytest.raises(InterruptedRun, match="interrupted by SIGINT"):
        fit(tiny_config, tiny_images, tmp_path, CPU, QUIET)
    assert not list((tmp_path / "ckpt").glob("*.pt"))


def test_a_finished_run_is_left_alone(
    one_epoch: RunConfig, tiny_images: ArrayDataSet, tmp_path: Path
) -> None:
    fit(one_epoch, tiny_images, tmp_path, CPU, QUIET)
    before = (tmp_path / "model.safetensors").stat().st_mtime_ns
    fit(one_epoch, tiny_images, tmp_path, CPU, QUIET)
    assert (tmp_path / "model.safetensors").stat().st_mtime_ns == before


def test_broken_weights_are_named(
    one_epoch: RunConfig, tiny_images: ArrayDataSet, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="no run directory"):
        load_trained(tmp_path, CPU)
    fit(one_epoch, tiny_images, tmp_path, CPU, QUIET)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match="is damaged"):
        load_trained(tmp_path, CPU)
    path.unlink()
    with pytest.raises(UserError, match="no final weights yet"):
        load_trained(tmp_path, CPU)


def test_another_configuration_in_the_same_directory_is_refused(
    one_epoch: RunConfig, tiny_images: ArrayDataSet, tmp_path: Path
) -> None:
    fit(one_epoch, tiny_images, tmp_path, CPU, QUIET)
    changed = dataclasses.replace(one_epoch, train=dataclasses.replace(one_epoch.train, mu=2.0))
    with pytest.raises(UserError, match=r"train\.mu: 6\.0 -> 2\.0"):
        fit(changed, tiny_images, tmp_path, CPU, QUIET)


def test_a_directory_in_use_is_refused(
    one_epoch: RunConfig, tiny_images: ArrayDataSet, tmp_path: Path
) -> None:
    (tmp_path / "ckpt").mkdir()
    with FileLock(tmp_path / ".lock"), pytest.raises(UserError, match="another process"):
        fit(one_epoch, tiny_images, tmp_path, CPU, QUIET)


def test_data_that_does_not_fit_is_refused(
    one_epoch: RunConfig, tiny_images: ArrayDataSet, tmp_path: Path
) -> None:
    for change, message in (({"num_classes": 7}, "10 classes"), ({"in_chans": 3}, "1 channels")):
        model = dataclasses.replace(one_epoch.model, **change)
        with pytest.raises(UserError, match=message):
            fit(dataclasses.replace(one_epoch, model=model), tiny_images, tmp_path, CPU, QUIET)


def test_another_scheme_in_the_checkpoint_is_refused(
    tiny_config: RunConfig,
    tiny_images: ArrayDataSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from codepath.codes import design_scheme

    fit(tiny_config, tiny_images, tmp_path, CPU, QUIET)
    (tmp_path / "model.safetensors").unlink()
    monkeypatch.setattr(
        "codepath.models.stages.find_scheme",
        lambda *size, **_: design_scheme(*size, seed=8),
    )
    with pytest.raises(UserError, match="another coding scheme"):
        fit(tiny_config, tiny_images, tmp_path, CPU, QUIET)


def test_epochs_are_reported_where_there_is_no_terminal(
    one_epoch: RunConfig, tiny_images: ArrayDataSet, tmp_path: Path
) -> None:
    import io

    out = io.StringIO()
    fit(one_epoch, tiny_images, tmp_path, CPU, Console(file=out, width=200))
    plan, line = out.getvalue().splitlines()
    for part in ("generated", "1 epochs of 96 images", "torch loader", "about"):
        assert part in plan
    for part in ("epoch 1/1", "loss", "top-1", "img/s", "data wait", "ETA"):
        assert part in line
