"""Parts of a run in training: what it draws, how much it holds, what it reports."""

from __future__ import annotations

import dataclasses
import functools
import gc
import io
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from codepath.core.errors import UserError
from codepath.core.files import write_text
from codepath.data import ArrayDataSet, LoaderOptions, load_data_set
from codepath.experiments import find_experiment
from codepath.experiments.registry import override
from codepath.models import CodedResNeXt, create_model
from codepath.run import watch
from codepath.run.config import RunConfig, TrainConfig
from codepath.run.metrics_file import loader_verdict, metrics_lines
from codepath.run.state import look
from codepath.train import FitOptions, fit, load_trained
from codepath.train.checkpoint import load_checkpoint
from codepath.train.loop import drop_masks
from codepath.train.progress import TrainingProgress
from tests.train.runs import CPU, OFTEN, QUIET, reported, weights

FIT_MODULE = "codepath.train.fit"


def test_drop_masks_are_functions_of_the_sample(tiny_config: RunConfig) -> None:
    model = create_model(tiny_config.model)
    assert isinstance(model, CodedResNeXt)
    indices = np.arange(4000)
    masks = drop_masks(model, 3, 1, indices)
    assert sorted(masks) == model.drop_starts == [3, 5]
    for mask in masks.values():
        assert mask.shape == (4000, 10)
        assert set(mask.unique().tolist()) == {0.0, float(np.float32(1 / np.float32(0.9)))}
        assert float((mask == 0).float().mean()) == pytest.approx(0.1, abs=0.006)
        assert float(mask.mean()) == pytest.approx(1, abs=0.01)
    some = np.array([17, 3999, 5])
    for number, mask in drop_masks(model, 3, 1, some).items():
        assert torch.equal(mask, masks[number][torch.from_numpy(some)])
    for other in (drop_masks(model, 4, 1, indices), drop_masks(model, 3, 2, indices)):
        assert not torch.equal(other[3], masks[3])
    assert not torch.equal(masks[3], masks[5])
    model.p_drop = 0.0
    assert drop_masks(model, 3, 1, indices) == {}


def test_drop_masks_reach_the_blocks(tiny_config: RunConfig) -> None:
    """All paths dropped from block 3 on: the block adds its normalisation's bias alone."""
    model = create_model(tiny_config.model).train()
    x, none = torch.randn(4, 1, 8, 8), torch.zeros(4, 10)
    kept = {3: torch.ones(4, 10), 5: torch.ones(4, 10)}
    for block in model.coded_blocks.values():
        torch.nn.init.ones_(block.bn3.weight)
    dropped = model.forward_coded(x, drop_masks={**kept, 3: none}).logits
    assert not torch.allclose(model.forward_coded(x, drop_masks=kept).logits, dropped)
    assert torch.equal(model.forward_coded(x, drop_masks={**kept, 3: none}).logits, dropped)


class Census(TrainingProgress):
    """Counts what the process holds after each epoch."""

    found: list[tuple[int, int]]

    def epoch(self, *_: object) -> None:
        gc.collect()
        handles = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0  # noqa: PTH208
        self.found.append((threading.active_count(), handles))


def census(
    monkeypatch: pytest.MonkeyPatch, config: RunConfig, images: ArrayDataSet, run_dir: Path
) -> list[tuple[int, int]]:
    import sys

    found: list[tuple[int, int]] = []
    monkeypatch.setattr(sys.modules[FIT_MODULE], "TrainingProgress", Census)
    monkeypatch.setattr(Census, "found", found, raising=False)
    fit(config, images, run_dir, CPU, QUIET, FitOptions(loader=LoaderOptions("torch")))
    return found


def test_no_thread_and_no_handle_is_left(
    tiny_config: RunConfig,
    tiny_images: ArrayDataSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = dataclasses.replace(
        tiny_config, train=dataclasses.replace(tiny_config.train, epochs=8)
    )
    before = threading.active_count()
    found = census(monkeypatch, config, tiny_images, tmp_path)
    assert len(found) == 8
    assert len(set(found[1:])) == 1
    assert threading.active_count() == before


@pytest.mark.slow
def test_memory_is_flat_over_fifty_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (config, _) = find_experiment("table2-digits").runs("demo", 0)
    config = override(config, ["train.epochs=50"])
    found = census(monkeypatch, config, load_data_set("digits", None), tmp_path)
    assert len(set(found[1:])) == 1
    lines = [line for line in metrics_lines(tmp_path / "metrics.jsonl") if line["kind"] == "epoch"]
    held = [line["memory_mib"] for line in lines]
    assert len(held) == 50
    assert max(held[25:]) - max(held[5:25]) < 10, held


def test_the_average_of_the_weights_is_what_is_kept(
    tiny_config: RunConfig, tiny_images: ArrayDataSet, tmp_path: Path
) -> None:
    """Checked against the weights after every step, read from the checkpoints."""
    train = dataclasses.replace(tiny_config.train, ema_decay=0.8)
    config = dataclasses.replace(tiny_config, train=train)
    fit(config, tiny_images, tmp_path, CPU, QUIET, dataclasses.replace(OFTEN, keep=9))
    torch.manual_seed(config.seed)
    average = dict(create_model(config.model).named_parameters())
    average = {name: value.detach() for name, value in average.items()}
    paths = sorted((tmp_path / "ckpt").glob("step-*.pt"))
    assert len(paths) == 9
    for path in paths:
        state = load_checkpoint(path)["model"]
        average = {name: 0.8 * value + 0.2 * state[name] for name, value in average.items()}
    kept = weights(tmp_path)
    for name, value in average.items():
        torch.testing.assert_close(kept[name], value, rtol=1e-4, atol=1e-6)
    _, model = load_trained(tmp_path, CPU)
    assert torch.equal(model.state_dict()["fc.weight"], kept["fc.weight"])


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_compiled_network_trains_alike(
    backend: str,
    one_epoch: RunConfig,
    tiny_images: ArrayDataSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    config = dataclasses.replace(one_epoch, train=dataclasses.replace(one_epoch.train, bn_batch=16))
    for name, compiled in (("plain", False), ("compiled", True)):
        options = FitOptions(compile=compiled, log_steps=1)
        fit(config, tiny_images, tmp_path / name, CPU, QUIET, options)
    for left, right in zip(
        reported(tmp_path / "plain"), reported(tmp_path / "compiled"), strict=True
    ):
        near = 1e-4 if left["step"] == 1 else 0.02  # roundings grow from step to step
        for key, value in left.items():
            assert right[key] == (value if isinstance(value, str) else pytest.approx(value, near))


def test_a_loader_that_is_too_slow_is_named(
    one_epoch: RunConfig, tiny_images: ArrayDataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    from codepath.data.augment import Augmentation

    real = Augmentation.apply

    def slowly(*args: object) -> None:
        time.sleep(0.4)
        real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(Augmentation, "apply", slowly)
    out = io.StringIO()
    options = FitOptions(loader=LoaderOptions("torch", workers=1), log_steps=1)
    fit(one_epoch, tiny_images, tmp_path, CPU, Console(file=out, width=300), options)
    assert "% of the time is spent waiting for images: loading is the bottleneck" in out.getvalue()
    line = metrics_lines(tmp_path / "metrics.jsonl")[-1]
    assert line["data_wait"] > 0.3
    assert loader_verdict(line)
    assert not loader_verdict({**line, "data_wait": 0.1})


def shown(run_dir: Path, later: float = 0) -> str:
    out = io.StringIO()
    at = datetime.now(UTC) + timedelta(seconds=later)
    Console(file=out, width=200).print(watch.report(look(run_dir), at))
    return out.getvalue()


def test_watching(tiny_config: RunConfig, tiny_images: ArrayDataSet, tmp_path: Path) -> None:
    fit(tiny_config, tiny_images, tmp_path, CPU, QUIET, OFTEN)
    assert "trained, not evaluated yet" in shown(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    text = shown(tmp_path)
    assert "running, epoch 3/3" in text
    assert "last report" in text
    assert "3 of 3, step 9 of 9" in text
    for block in (3, 4, 5, 6):
        assert f"\n    {block}  " in text
    assert "silent for 60 min: stuck?" in shown(tmp_path, later=3600)
    assert "last report 0 s ago" in shown(tmp_path, later=-3600)  # the clock went back
    write_text(tmp_path / "divergence.json", '{"step": 12, "first": "the energies of block 4"}')
    assert "diverged at step 12: the energies of block 4 not finite" in shown(tmp_path)
    (tmp_path / "metrics.jsonl").unlink()
    (tmp_path / "divergence.json").unlink()
    assert "no step reported yet" in shown(tmp_path)


@pytest.mark.parametrize(
    ("device", "processes", "scale", "compiled"),
    [
        ("cuda", 1, "paper", True),
        ("cuda", 1, "short", True),
        ("cuda", 2, "paper", False),
        ("cuda", 1, "demo", False),
        ("cpu", 1, "paper", False),
    ],
)
def test_what_a_run_compiles_follows_from_device_and_scale(
    device: str, processes: int, scale: str, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: name == "cc")
    recipe = TrainConfig(epochs=1, batch_size=2, lr=1, lr_end=0)
    settled = FitOptions().settled(torch.device(device), processes, scale, recipe)
    assert (settled.compile, settled.align) == (compiled, device == "cuda")
    refused = FitOptions(compile=False, align=False, precision="float32")
    assert refused.settled(torch.device(device), processes, scale, recipe) == refused


def test_compiling_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    cuda = torch.device("cuda")
    recipe = TrainConfig(epochs=1, batch_size=2, lr=1, lr_end=0)
    assert FitOptions().settled(cuda, 1, "paper", recipe).compile is False
    with pytest.raises(UserError, match="install gcc, or go without by --no-compile"):
        FitOptions(compile=True).settled(cuda, 1, "paper", recipe)
