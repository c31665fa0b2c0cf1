"""Every way to break a run that is known ends in a clear line, and the run then goes on.

A run that was broken ends with the weights and metrics of one that was not, bit for bit.
"""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from filelock import FileLock
from rich.console import Console

from codepath.core import files
from codepath.core.errors import UserError
from codepath.core.signals import InterruptedRun
from codepath.data import ArrayDataSet, ArraySplit
from codepath.models import hub
from codepath.run.config import RunConfig
from codepath.train import FitOptions, fit
from codepath.train import checkpoint as checkpoint_module
from codepath.train.checkpoint import (
    Checkpoints,
    DamagedCheckpoint,
    load_checkpoint,
    save_checkpoint,
)
from codepath.train.loop import Trainer
from tests.train.runs import CPU, OFTEN, QUIET, SignalAfter, assert_same_run, reported

FIT = sys.modules["codepath.train.fit"]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where undisturbed runs live, by what they are of; filled by `straight_run`."""
    return {"folder": tmp_path_factory.mktemp("straight")}


@pytest.fixture
def straight_run(
    straight: dict[str, Path], tiny_config: RunConfig, tiny_images: ArrayDataSet
) -> Path:
    """The undisturbed run of `tiny_config`."""
    if "run" not in straight:
        straight["run"] = straight["folder"] / "run"
        fit(tiny_config, tiny_images, straight["run"], CPU, QUIET, OFTEN)
    return straight["run"]


@pytest.fixture
def stopped(
    tiny_config: RunConfig,
    tiny_images: ArrayDataSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A run that a signal stopped after 5 of its 9 steps; checkpoints of steps 4 and 5."""
    with monkeypatch.context() as patch:
        patch.setattr(FIT, "TrainingProgress", SignalAfter)
        patch.setattr(SignalAfter, "at", {5})
        with pytest.raises(InterruptedRun):
            fit(tiny_config, tiny_images, tmp_path / "run", CPU, QUIET, OFTEN)
    names = [path.name for path in Checkpoints(tmp_path / "run" / "ckpt").paths()]
    assert names == ["step-00000004.pt", "step-00000005.pt"]
    return tmp_path / "run"


def damage(path: Path, kind: str | float) -> None:
    data = bytearray(path.read_bytes())
    if isinstance(kind, float):
        data = data[: int(kind * len(data))]
    elif kind == "flipped":
        data[len(data) // 2] ^= 0xFF
    elif kind == "last byte":
        data = data[:-1]
    elif kind == "garbage":
        data = bytearray(b"not a checkpoint")
    path.write_bytes(data)


@pytest.mark.parametrize("kind", [0.0, 0.01, 0.5, 0.99, "last byte", "flipped", "garbage"])
def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(
    kind: str | float,
    stopped: Path,
    straight_run: Path,
    tiny_config: RunConfig,
    tiny_images: ArrayDataSet,
) -> None:
    damage(stopped / "ckpt" / "step-00000005.pt", kind)
    out = io.StringIO()
    fit(tiny_config, tiny_images, stopped, CPU, Console(file=out, width=300), OFTEN)
    said = out.getvalue().splitlines()
    assert "step-00000005.pt is damaged" in said[0]
    assert "trying the checkpoint before it" in said[0]
    assert "resuming in epoch 2 of 3 (step 4)" in said[1]
    assert_same_run(straight_run, stopped)


def test_when_all_are_damaged_nothing_is_trained(
    stopped: Path, tiny_config: RunConfig, tiny_images: ArrayDataSet
) -> None:
    for path in Checkpoints(stopped / "ckpt").paths():
        damage(path, "flipped")
    for _ in range(2):  # nor by repeating the command
        with pytest.raises(UserError, match=r"every checkpoint in .*ckpt is damaged; remove"):
            fit(tiny_config, tiny_images, stopped, CPU, QUIET)
    assert not (stopped / "model.safetensors").exists()


def test_every_flipped_bit_of_a_state_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    state = {"weights": torch.arange(30.0), "step": 7, "config": {"lr": 0.1}}
    save_checkpoint(path, state)
    whole = path.read_bytes()
    with mock.patch.object(Path, "read_bytes") as read:
        for place in range(8 * len(whole)):
            data = bytearray(whole)
            data[place // 8] ^= 1 << place % 8
            read.return_value = bytes(data)
            with pytest.raises(DamagedCheckpoint, match=r"x\.pt is damaged"):
                load_checkpoint(path)
    found = load_checkpoint(path)
    assert torch.equal(found["weights"], state["weights"])
    assert (found["step"], found["config"]) == (7, {"lr": 0.1})


def test_a_state_of_another_version_is_kept_and_named(
    stopped: Path, tiny_config: RunConfig, tiny_images: ArrayDataSet
) -> None:
    paths = Checkpoints(stopped / "ckpt").paths()
    with mock.patch.object(checkpoint_module, "_MAGIC", b"codepath checkpoint 9\n"):
        save_checkpoint(paths[-1], {"step": 7})
    with pytest.raises(UserError, match=r"is of another version of codepath: .*remove .*ckpt"):
        fit(tiny_config, tiny_images, stopped, CPU, QUIET)
    assert Checkpoints(stopped / "ckpt").paths() == paths


class FullDisk:
    """Writing fails from the n-th checkpoint on, after half of its bytes."""

    def __init__(self, at: int, error: int) -> None:
        self.at, self.error, self.calls = at, error, 0
        self.real = Path.write_bytes

    def __call__(self, path: Path, data: Any) -> int:
        self.calls += 1
        if self.calls >= self.at:
            self.real(path, bytes(data)[: len(data) // 2])
            raise OSError(self.error, "No space left on device")
        return self.real(path, data)


def test_a_full_disk(
    straight_run: Path,
    tiny_config: RunConfig,
    tiny_images: ArrayDataSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        full = FullDisk(5, errno.ENOSPC)
        patch.setattr(Path, "write_bytes", lambda path, data: full(path, data))
        with pytest.raises(UserError, match=r"cannot write .*step-00000005\.pt \(No space left"):
            fit(tiny_config, tiny_images, tmp_path, CPU, QUIET, OFTEN)
    folder = tmp_path / "ckpt"
    assert {path.name for path in folder.iterdir()} == {"step-00000003.pt", "step-00000004.pt"}
    fit(tiny_config, tiny_images, tmp_path, CPU, QUIET, OFTEN)
    assert_same_run(straight_run, tmp_path)


def test_a_disk_too_full_for_a_line_of_metrics(
    straight_run: Path,
    tiny_config: RunConfig,
    tiny_images: ArrayDataSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = Path.open

    def refuse(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if path.name == "metrics.jsonl" and "a" in mode and (tmp_path / "ckpt").exists():
            saved = Checkpoints(tmp_path / "ckpt").paths()
            if saved and saved[-1].name == "step-00000003.pt":
                raise OSError(errno.EDQUOT, "Disk quota exceeded")
        return real(path, mode, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        with pytest.raises(UserError, match=r"metrics\.jsonl \(Disk quota exceeded\)"):
            fit(tiny_config, tiny_images, tmp_path, CPU, QUIET, OFTEN)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "steps", "st')  # a line that was cut
    fit(tiny_config, tiny_images, tmp_path, CPU, QUIET, OFTEN)
    assert_same_run(straight_run, tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "README.md"])
def test_a_disk_too_full_for_the_final_weights(
    name: str,
    straight_run: Path,
    tiny_config: RunConfig,
    tiny_images: ArrayDataSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of the run, or the card beside them."""
    real = files.atomic_path

    def full(path: Path) -> Any:
        if path.name == name:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(hub, "atomic_path", full)
        patch.setattr(files, "atomic_path", full)
        with pytest.raises((UserError, OSError), match="No space left on device"):
            fit(tiny_config, tiny_images, tmp_path, CPU, QUIET, OFTEN)
    assert not (tmp_path / "model.safetensors").exists()
    fit(tiny_config, tiny_images, tmp_path, CPU, QUIET, OFTEN)
    assert_same_run(straight_run, tmp_path)


def test_a_folder_that_becomes_read_only(
    straight_run: Path,
    stopped: Path,
    tiny_config: RunConfig,
    tiny_images: ArrayDataSet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Root may write anywhere, so the refusal is made up."""

    def refuse(path: Path) -> Any:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_module, "atomic_path", refuse)
        with pytest.raises(UserError, match=r"cannot write .*\(Read-only file system\)"):
            fit(tiny_config, tiny_images, stopped, CPU, QUIET, OFTEN)
    fit(tiny_config, tiny_images, stopped, CPU, QUIET, OFTEN)
    assert_same_run(straight_run, stopped)


def test_what_killed_processes_left_is_removed(
    straight_run: Path, stopped: Path, tiny_config: RunConfig, tiny_images: ArrayDataSet
) -> None:
    left = [stopped / "ckpt" / ".step-00000006.pt.x.tmp", stopped / ".model.safetensors.y.tmp"]
    for path in left:
        path.write_bytes(b"half")
    fit(tiny_config, tiny_images, stopped, CPU, QUIET, OFTEN)
    assert not any(path.exists() for path in left)
    assert_same_run(straight_run, stopped)


def test_the_clock_goes_back(
    straight_run: Path,
    tiny_config: RunConfig,
    tiny_images: ArrayDataSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By an hour a call; saving goes by the monotonic clock."""
    calls = iter(range(10**6))
    begin = time.time()
    monkeypatch.setattr(time, "time", lambda: begin - 3600 * next(calls))
    fit(tiny_config, tiny_images, tmp_path, CPU, QUIET, OFTEN)
    assert_same_run(straight_run, tmp_path)


def test_two_processes_in_one_directory(
    stopped: Path, tiny_config: RunConfig, tiny_images: ArrayDataSet
) -> None:
    files = [path for path in stopped.rglob("*") if path.name != ".lock"]
    before = {path: path.stat().st_mtime_ns for path in files}
    with (
        FileLock(stopped / ".lock"),
        pytest.raises(UserError, match=r"another process is training in .*process \d+ on \S+"),
    ):
        fit(tiny_config, tiny_images, stopped, CPU, QUIET)
    assert files == [path for path in stopped.rglob("*") if path.name != ".lock"]
    assert before == {path: path.stat().st_mtime_ns for path in files}


def test_another_configuration_or_other_images(
    stopped: Path, tiny_config: RunConfig, tiny_images: ArrayDataSet
) -> None:
    changed = dataclasses.replace(tiny_config, train=dataclasses.replace(tiny_config.train, mu=2.0))
    with pytest.raises(UserError, match=r"another configuration \(train\.mu: 6\.0 -> 2\.0\)"):
        fit(changed, tiny_images, stopped, CPU, QUIET)
    (stopped / "config.json").unlink()
    with pytest.raises(UserError, match=r"ckpt is of a run with another configuration"):
        fit(changed, tiny_images, stopped, CPU, QUIET)
    (stopped / "config.json").unlink()
    pixels = tiny_images.train.images.copy()
    pixels[7, 0, 0, 0] ^= 1
    other = dataclasses.replace(tiny_images, train=ArraySplit(pixels, tiny_images.train.labels))
    with pytest.raises(UserError, match="training images are not those that the run began with"):
        fit(tiny_config, other, stopped, CPU, QUIET)


def test_a_scheme_that_is_gone_or_another(
    tiny_config: RunConfig,
    tiny_images: ArrayDataSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from codepath.codes import design_scheme, load_scheme

    files = (tmp_path / "five.csv", tmp_path / "three.csv")
    for path, active in zip(files, (5, 3), strict=True):
        design_scheme(10, 10, active).save(path)
    model = dataclasses.replace(tiny_config.model, schemes=tuple(map(str, files)))
    config = dataclasses.replace(tiny_config, model=model)
    with monkeypatch.context() as patch:
        patch.setattr(FIT, "TrainingProgress", SignalAfter)
        patch.setattr(SignalAfter, "at", {4})
        with pytest.raises(InterruptedRun):
            fit(config, tiny_images, tmp_path / "run", CPU, QUIET)
    kept = files[0].read_text()
    files[0].unlink()
    load_scheme.cache_clear()  # another process would not know it
    with pytest.raises(UserError, match=r"five\.csv"):
        fit(config, tiny_images, tmp_path / "run", CPU, QUIET)
    load_scheme.cache_clear()
    design_scheme(10, 10, 5, seed=8).save(files[0])
    with pytest.raises(UserError, match="another coding scheme"):
        fit(config, tiny_images, tmp_path / "run", CPU, QUIET)
    load_scheme.cache_clear()
    files[0].write_text(kept)
    fit(config, tiny_images, tmp_path / "run", CPU, QUIET)


def poison(monkeypatch: pytest.MonkeyPatch, at: int, what: str) -> None:
    """Make one image of a batch NaN on its way in, or a weight in the update of that step."""
    real = Trainer.train_step

    def train_step(self: Trainer, batch: Any, epoch: int, normalize: Any) -> None:
        if self.step == at and what == "image":
            clean = normalize

            def normalize(images: torch.Tensor) -> torch.Tensor:
                images = clean(images)
                images[1] = torch.nan
                return images

        real(self, batch, epoch, normalize)
        if self.step == at + 1 and what == "weight":
            with torch.no_grad():
                self.model.layer2[0].conv2.weight[0, 0, 0, 0] = torch.inf

    monkeypatch.setattr(Trainer, "train_step", train_step)


@pytest.mark.parametrize("check_steps", [1, 50])
def test_nan_in_the_images(
    check_steps: int,
    straight_run: Path,
    tiny_config: RunConfig,
    tiny_images: ArrayDataSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Noticed at once, or when a device is asked at last: before anything of it is saved."""
    options = dataclasses.replace(OFTEN, save_minutes=1000.0)
    with monkeypatch.context() as patch:
        poison(patch, 4, "image")
        patch.setattr(Trainer, "due", property(lambda self: self.step % check_steps == 0))
        message = (
            r"diverged at step 5 \(epoch 2, batch 2 of 3\): the energies of block 3 not finite, "
            r"training images \d+, .*the checkpoint of step 3 is kept; try a smaller learning rate"
        )
        with pytest.raises(UserError, match=message):
            fit(tiny_config, tiny_images, tmp_path, CPU, QUIET, options)
    report = json.loads((tmp_path / "divergence.json").read_text())
    assert (report["step"], report["epoch"], report["batch"]) == (5, 2, 2)
    order = FIT.training_loader(tiny_images, tiny_config.data, 32, tiny_config.seed)
    order.set_epoch(1, 1)
    assert report["indices"] == next(iter(order)).indices.tolist()
    assert [path.name for path in Checkpoints(tmp_path / "ckpt").paths()] == ["step-00000003.pt"]
    fit(tiny_config, tiny_images, tmp_path, CPU, QUIET, OFTEN)
    assert_same_run(straight_run, tmp_path)


def test_weights_that_are_not_finite_are_not_saved(
    tiny_config: RunConfig,
    tiny_images: ArrayDataSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No loss has seen them yet."""
    poison(monkeypatch, 4, "weight")
    with pytest.raises(
        UserError, match=r"diverged at step 5 .*layer2\.0\.conv2\.weight not finite"
    ):
        fit(tiny_config, tiny_images, tmp_path, CPU, QUIET, OFTEN)
    names = [path.name for path in Checkpoints(tmp_path / "ckpt").paths()]
    assert names == ["step-00000003.pt", "step-00000004.pt"]


def test_divergence_in_the_first_epoch(
    tiny_config: RunConfig, tiny_baseline: RunConfig, tiny_images: ArrayDataSet, tmp_path: Path
) -> None:
    for config in (tiny_config, tiny_baseline):
        train = dataclasses.replace(config.train, lr=1e30, weight_decay=1.0)
        wild = dataclasses.replace(config, train=train)
        with pytest.raises(UserError, match=r"diverged at step \d .*no checkpoint was made yet"):
            fit(wild, tiny_images, tmp_path / config.name, CPU, QUIET)
        assert not list((tmp_path / config.name / "ckpt").iterdir())


def test_an_image_that_cannot_be_loaded(
    straight_run: Path,
    tiny_config: RunConfig,
    tiny_images: ArrayDataSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error of a loading thread reaches the caller, and the threads end."""
    from codepath.data.augment import Augmentation

    real, calls = Augmentation.apply, []

    def fail(self: Augmentation, *args: Any) -> None:
        calls.append(1)
        if len(calls) == 5:
            raise UserError("cannot read the image; get it again")
        real(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Augmentation, "apply", fail)
        with pytest.raises(UserError, match="get it again"):
            fit(tiny_config, tiny_images, tmp_path, CPU, QUIET, OFTEN)
    fit(tiny_config, tiny_images, tmp_path, CPU, QUIET, OFTEN)
    assert_same_run(straight_run, tmp_path)


def test_a_signal_during_evaluation_does_not_wait_for_it(
    tiny_config: RunConfig, tiny_images: ArrayDataSet, tmp_path: Path
) -> None:
    """The epoch is saved before it is measured, and measured again on return."""
    import os
    import signal

    options = dataclasses.replace(OFTEN, evaluate_every=1)
    steps: list[str] = []

    def evaluate(model: torch.nn.Module) -> dict[str, float]:
        assert not model.training
        steps.append("begun")
        if steps.count("begun") == 2 and "stopped" not in steps:
            steps.append("stopped")
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        steps.append("ended")
        return {"test_top1": float(model.fc.weight.detach().double().sum().abs())}

    arguments = (tiny_config, tiny_images)
    with pytest.raises(InterruptedRun) as caught:
        fit(*arguments, tmp_path / "broken", CPU, QUIET, options, evaluate=evaluate)
    assert caught.value.exit_code == 75
    assert steps == ["begun", "ended", "begun", "stopped"]
    fit(*arguments, tmp_path / "broken", CPU, QUIET, options, evaluate=evaluate)
    fit(*arguments, tmp_path / "straight", CPU, QUIET, options, evaluate=evaluate)
    assert_same_run(tmp_path / "straight", tmp_path / "broken")
    tested = [line["test_top1"] for line in reported(tmp_path / "broken") if "test_top1" in line]
    assert len(tested) == 3
    assert (tmp_path / "broken" / "ckpt" / "best.safetensors").exists()


def test_no_more_checkpoints_than_wished(
    tiny_config: RunConfig, tiny_images: ArrayDataSet, tmp_path: Path
) -> None:
    fit(tiny_config, tiny_images, tmp_path, CPU, QUIET, dataclasses.replace(OFTEN, keep=3))
    names = [path.name for path in Checkpoints(tmp_path / "ckpt").paths()]
    assert names == [f"step-{step:08d}.pt" for step in (7, 8, 9)]
    with pytest.raises(UserError, match="keep is 0"):
        FitOptions(keep=0)


def test_weights_that_were_lost_are_made_again(
    straight_run: Path, tiny_config: RunConfig, tiny_images: ArrayDataSet, tmp_path: Path
) -> None:
    fit(tiny_config, tiny_images, tmp_path, CPU, QUIET, OFTEN)
    (tmp_path / "model.safetensors").unlink()
    fit(tiny_config, tiny_images, tmp_path, CPU, QUIET, OFTEN)
    assert_same_run(straight_run, tmp_path)


def test_numbers_of_threads_do_not_matter_to_the_loaders(
    straight_run: Path, tiny_config: RunConfig, tiny_images: ArrayDataSet, tmp_path: Path
) -> None:
    from codepath.data import LoaderOptions

    options = dataclasses.replace(OFTEN, loader=LoaderOptions("torch", workers=1))
    fit(tiny_config, tiny_images, tmp_path, CPU, QUIET, options)
    assert_same_run(straight_run, tmp_path)
    assert np.isfinite([line["loss"] for line in reported(tmp_path)]).all()
