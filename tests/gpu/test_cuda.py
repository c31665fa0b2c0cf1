"""What holds on device: `pytest tests/gpu` on a machine that has a GPU.

`pytest tests/gpu --tested-device cpu` goes through them elsewhere.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.literal import LiteralCodedBottleneck
from codepath.codes import load_scheme
from codepath.core.signals import InterruptedRun
from codepath.data import ArrayDataSet, LoaderOptions
from codepath.experiments import find_experiment
from codepath.models import CodedBottleneck, create_model
from codepath.pipeline.run import train_and_evaluate
from codepath.run.config import RunConfig
from codepath.run.directory import Places
from codepath.run.objectives import ObjectiveConfig
from codepath.train import FitOptions, World, fit, loop
from codepath.train.distributed import Placement
from codepath.train.environment import choose_repeatable_algorithms, device_name
from codepath.train.graph import WARM_UP
from codepath.train.losses import TrainingObjective, coding_loss
from tests.train.runs import CPU, QUIET, SignalAfter, assert_same_run, make_steps

OPTIONS = FitOptions(log_steps=2, loader=LoaderOptions("torch"))


@pytest.fixture(autouse=True)
def _repeatable() -> None:
    choose_repeatable_algorithms()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_block_equals_the_literal_equations(
    device: torch.device, layout: torch.memory_format
) -> None:
    found = []
    for cls in (CodedBottleneck, LiteralCodedBottleneck):
        torch.manual_seed(0)
        block = cls(48, 64, 11, load_scheme("10-10-3"), stride=2)
        torch.nn.init.normal_(block.bn3.weight)
        x = torch.randn(6, 48, 12, 12)
        labels = torch.arange(6)
        block = block.to(device).double()
        x = x.to(device, torch.float64).to(memory_format=layout).requires_grad_()
        out, energies = block.forward_coded(x)
        words = block.codewords[labels.to(device)]
        (out.square().mean() + coding_loss(energies, words, block.ratio)).backward()
        found.append([out, energies, x.grad, *(p.grad for p in block.parameters())])
    for ours, literal in zip(*found, strict=True):
        torch.testing.assert_close(ours, literal, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("side", [1, 8])
def test_energies_in_low_precision(device: torch.device, dtype: torch.dtype, side: int) -> None:
    torch.manual_seed(0)
    block = CodedBottleneck(256, 512, 22, load_scheme("10-10-5")).to(device).double()
    block = block.to(memory_format=torch.channels_last)
    x = torch.randn(32, 256, side, side, device=device).to(memory_format=torch.channels_last)
    _, exact = block.forward_coded(x.double())
    block.float()
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        _, energies = block.forward_coded(x)
    assert energies.dtype == torch.float32
    assert float((energies - exact).detach().abs().max()) < 0.02


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_an_all_zero_image_stays_finite(device: torch.device, dtype: torch.dtype) -> None:
    block = CodedBottleneck(32, 64, 4, load_scheme("10-10-3")).to(device)
    torch.nn.init.normal_(block.bn3.weight)
    x = torch.zeros(4, 32, 6, 6, device=device, requires_grad=True)
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        out, energies = block.forward_coded(x)
        loss = coding_loss(energies, block.codewords[:4], block.ratio) + out.float().mean()
    loss.backward()
    for tensor in (out, energies, x.grad, *(p.grad for p in block.parameters())):
        assert tensor is not None
        assert bool(tensor.isfinite().all())


def trainer(config: RunConfig, device: torch.device, **options: Any) -> loop.Trainer:
    return loop.Trainer(config, World(Placement(), device), 8, config.train.batch_size, **options)


def test_cuda_trains_as_the_cpu_does(device: torch.device, tiny_config: RunConfig) -> None:
    """The same start, order and dropped paths: a step differs by rounding alone."""
    torch.backends.cudnn.allow_tf32 = False
    first, second = (make_steps(trainer(tiny_config, d), 1) for d in (CPU, device))
    torch.backends.cudnn.allow_tf32 = True
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=1e-3, atol=1e-4, msg=name)


def test_two_runs_and_an_interrupted_one_are_the_same_to_the_bit(
    device: torch.device,
    tiny_config: RunConfig,
    tiny_images: ArrayDataSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import sys

    recipe = dataclasses.replace(tiny_config.train, precision="bfloat16", epochs=5)
    config = dataclasses.replace(tiny_config, train=recipe)
    for name in ("straight", "again"):
        fit(config, tiny_images, tmp_path / name, device, QUIET, OPTIONS)
    assert_same_run(tmp_path / "straight", tmp_path / "again")
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["codepath.train.fit"], "TrainingProgress", SignalAfter)
        for step in (2, 7, 13):
            patch.setattr(SignalAfter, "at", {step})
            with pytest.raises(InterruptedRun):
                fit(config, tiny_images, tmp_path / "broken", device, QUIET, OPTIONS)
    fit(config, tiny_images, tmp_path / "broken", device, QUIET, OPTIONS)
    assert_same_run(tmp_path / "straight", tmp_path / "broken")


def test_a_run_with_all_its_measurements(device: torch.device, tmp_path: Path) -> None:
    config = find_experiment("table2-digits").runs("demo", 0)[0]
    train_and_evaluate(config, Places(tmp_path, tmp_path / "results"), QUIET, options=OPTIONS)
    runs = (tmp_path / "results" / "runs.csv").read_text()
    assert device_name(device) in runs


@pytest.mark.parametrize("fast", [False, pytest.param(True, marks=pytest.mark.compiles)])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_recorded_step_is_the_step(
    device: torch.device, precision: str, fast: bool, tiny_config: RunConfig
) -> None:
    """Eager, and `fast`: compiled and aligned."""
    recipe = dataclasses.replace(tiny_config.train, precision=precision, ema_decay=0.9)
    config = dataclasses.replace(tiny_config, train=recipe)
    found = []
    for recorded in (False, True):
        ways = {"recorded": recorded, "compiled": fast, "aligned": fast}
        made = trainer(config, device, precision=precision, **ways)
        found.append(make_steps(made, WARM_UP + 5) | {"values": made.epoch_meter.sums.cpu()})
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name]), name


@pytest.mark.compiles
def test_compiled_equals_eager(device: torch.device) -> None:
    torch.manual_seed(0)
    model = create_model(
        find_experiment("table2-digits").runs("demo", 0)[0].model
    ).to(device, memory_format=torch.channels_last)  # fmt: skip
    objective = TrainingObjective(model.train(), ObjectiveConfig(mu=6.0))
    x = torch.randn(8, 1, 8, 8, device=device).to(memory_format=torch.channels_last)
    labels = torch.arange(8, device=device)
    masks = {number: torch.ones(8, 10, device=device) for number in model.drop_starts}
    found = []
    for call in (objective, torch.compile(objective, fullgraph=True, dynamic=False)):
        model.zero_grad(set_to_none=True)
        parts = call(x, labels, masks)
        parts.total.backward()
        found.append([parts.total, *(p.grad for p in model.parameters())])
    for eager, compiled in zip(*found, strict=True):
        torch.testing.assert_close(compiled, eager, rtol=2e-2, atol=2e-4)
