"""A recipe says what is allowed, the device what is trained in; torch's answer is made up here."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console

from codepath.core.errors import UserError
from codepath.core.signals import InterruptedRun
from codepath.data import ArrayDataSet
from codepath.run.config import RunConfig
from codepath.run.directory import claim
from codepath.train import FitOptions, fit
from codepath.train import precision as precision_
from codepath.train.checkpoint import Checkpoints
from codepath.train.precision import bfloat16_unit, computes_in_bfloat16, trained_precision
from tests.train.runs import CPU, OFTEN, SignalAfter

CUDA = torch.device("cuda")
EMULATED = "float32 (the recipe allows bfloat16, which this processor only emulates)"


def processor(monkeypatch: pytest.MonkeyPatch, **has: bool) -> None:
    """From here on torch says that the processor has these units alone."""
    found = {"avx512_bf16": False, "amx_bf16": False} | has
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)


@pytest.fixture
def allowed(tiny_config: RunConfig) -> RunConfig:
    """A recipe that allows bfloat16."""
    recipe = dataclasses.replace(tiny_config.train, precision="bfloat16")
    return dataclasses.replace(tiny_config, train=recipe)


def started(
    config: RunConfig,
    images: ArrayDataSet,
    run_dir: Path,
    precision: str = "auto",
    **options: float,
) -> str:
    """What a start of the run says, to its end or to a signal."""
    out = io.StringIO()
    chosen = dataclasses.replace(OFTEN, precision=precision, **options)
    try:
        fit(config, images, run_dir, CPU, Console(file=out, width=300), chosen)
    except InterruptedRun:
        assert not (run_dir / "model.safetensors").exists()
    return out.getvalue()


def noted(run_dir: Path) -> list[str]:
    return [start["precision"] for start in json.loads((run_dir / "env.json").read_text())]


def card(run_dir: Path) -> str:
    lines = (run_dir / "model" / "README.md").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("| precision | ")]
    return line.removeprefix("| precision | ").removesuffix(" |")


def test_what_a_processor_computes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    processor(monkeypatch)
    assert bfloat16_unit(CPU) == ""
    processor(monkeypatch, avx512_bf16=True)
    assert bfloat16_unit(CPU) == "AVX512-BF16"
    processor(monkeypatch, avx512_bf16=True, amx_bf16=True)
    assert bfloat16_unit(CPU) == "AMX"
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    for unit in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, unit, lambda: True, raising=False)
        assert computes_in_bfloat16(CPU)
        monkeypatch.delattr(torch.cpu, unit)
    assert not computes_in_bfloat16(CPU)


def test_what_a_gpu_computes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for answer in (True, False):
        monkeypatch.setattr(
            torch.cuda,
            "is_bf16_supported",
            lambda *, including_emulation, a=answer: a and not including_emulation,
        )
        assert computes_in_bfloat16(CUDA) is answer
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    for capability in ((7, 5), (8, 0), (9, 0)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda c=capability: c)
        assert computes_in_bfloat16(CUDA) is (capability[0] >= 8)


@pytest.mark.parametrize(
    ("lowest", "asked", "computes", "trained"),
    [
        ("bfloat16", "auto", True, "bfloat16"),
        ("bfloat16", "auto", False, "float32"),
        ("bfloat16", "float32", True, "float32"),
        ("bfloat16", "bfloat16", False, "bfloat16"),
        ("float32", "auto", True, "float32"),
        ("float32", "float32", False, "float32"),
    ],
)
def test_what_is_trained_in(
    lowest: str,
    asked: str,
    computes: bool,
    trained: str,
    allowed: RunConfig,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    processor(monkeypatch, avx512_bf16=computes)
    recipe = dataclasses.replace(allowed.train, precision=lowest)
    settled = FitOptions(precision=asked).settled(CPU, 1, "cpu", recipe)
    assert settled.precision == trained
    assert settled.settled(CPU, 1, "cpu", recipe) == settled


def test_what_no_run_trains_in(tiny_config: RunConfig, allowed: RunConfig) -> None:
    with pytest.raises(UserError, match=r"not allow bfloat16.*--set train\.precision=bfloat16"):
        FitOptions(precision="bfloat16").settled(CPU, 1, "cpu", tiny_config.train)
    with pytest.raises(UserError, match="precision is 'half', must be auto, float32 or bfloat16"):
        FitOptions(precision="half").settled(CPU, 1, "cpu", allowed.train)


@pytest.mark.parametrize("computes", [True, False])
def test_a_run_says_what_it_trains_in(
    computes: bool,
    allowed: RunConfig,
    tiny_images: ArrayDataSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In its plan, env.json and card; and the forward passes are in it."""
    processor(monkeypatch, avx512_bf16=computes)
    seen = set()
    real = precision_.autocast

    def watched(device: torch.device, precision: str) -> torch.autocast:
        seen.add(precision)
        return real(device, precision)

    for module in ("loop", "estimate"):
        monkeypatch.setattr(sys.modules[f"codepath.train.{module}"], "autocast", watched)
    said = started(allowed, tiny_images, tmp_path)
    trained = "bfloat16" if computes else "float32"
    assert f"batch 32, {trained if computes else EMULATED}, " in said
    assert "warning" not in said
    assert seen == {trained}
    assert noted(tmp_path) == [trained]
    assert card(tmp_path) == trained_precision(tmp_path) == trained


def test_what_is_asked_for_is_trained_in(
    allowed: RunConfig, tiny_images: ArrayDataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor(monkeypatch)
    said = started(allowed, tiny_images, tmp_path / "low", "bfloat16")
    assert "batch 32, bfloat16, " in said
    (warning,) = [line for line in said.splitlines() if line.startswith("warning")]
    assert "this processor only emulates bfloat16, which is slow" in warning
    assert noted(tmp_path / "low") == ["bfloat16"]
    processor(monkeypatch, amx_bf16=True)
    said = started(allowed, tiny_images, tmp_path / "high", "float32")
    assert "batch 32, float32 (the recipe allows bfloat16), " in said
    assert noted(tmp_path / "high") == ["float32"]


def test_a_run_that_goes_on_with_the_other(
    allowed: RunConfig, tiny_images: ArrayDataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so. A start that trained no step that is kept does not count."""
    module = sys.modules["codepath.train.fit"]
    with monkeypatch.context() as patch:
        patch.setattr(module, "TrainingProgress", SignalAfter)
        patch.setattr(SignalAfter, "at", {2})
        processor(monkeypatch, avx512_bf16=True)
        assert "goes on with" not in started(allowed, tiny_images, tmp_path)
        patch.setattr(SignalAfter, "at", {5})
        processor(monkeypatch)
        said = started(allowed, tiny_images, tmp_path)
    assert "goes on with precision: bfloat16 -> float32: the result is the same up to" in said
    assert EMULATED in said
    assert trained_precision(tmp_path) == "bfloat16, then float32"
    assert "goes on with" not in started(allowed, tiny_images, tmp_path)
    assert noted(tmp_path) == ["bfloat16", "float32", "float32"]
    assert card(tmp_path) == "bfloat16, then float32"

    env = tmp_path / "env.json"
    first, *others = json.loads(env.read_text())
    env.write_text(json.dumps([first, *({**other, "step": 0} for other in others)]))
    assert trained_precision(tmp_path) == "float32"


def test_a_checkpoint_without_a_word_on_precision(
    allowed: RunConfig, tiny_images: ArrayDataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it was written before there was one: its precision is the recipe's."""
    real = Checkpoints.save

    def older(self: Checkpoints, step: int, state: dict) -> None:
        del state["layout"]["precision"]
        real(self, step, state)

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["codepath.train.fit"], "TrainingProgress", SignalAfter)
        patch.setattr(SignalAfter, "at", {2})
        patch.setattr(Checkpoints, "save", older)
        processor(monkeypatch, avx512_bf16=True)
        started(allowed, tiny_images, tmp_path)
    processor(monkeypatch)
    assert "goes on with precision: bfloat16 -> float32" in started(allowed, tiny_images, tmp_path)


def test_older_runs_were_trained_in_their_recipes_precision(
    allowed: RunConfig, tmp_path: Path
) -> None:
    claim(allowed, tmp_path)
    assert trained_precision(tmp_path) == "bfloat16"
    (tmp_path / "env.json").write_text(json.dumps([{"step": 0, "commit": "abc"}]))
    assert trained_precision(tmp_path) == "bfloat16"
