"""`fit`: train a run in its directory, and go on where an earlier process stopped.

A run directory holds
    config.json        the RunConfig; another one in the same directory is an error
    env.json           machine, versions and commit of each start of its training
    metrics.jsonl      one line every few steps, and one per epoch
    ckpt/              the newest checkpoints; best.safetensors where the run was measured meanwhile
    divergence.json    where and on which images training diverged, if it did
    model/             the final network as a folder that timm loads, with its model card
    model.safetensors  final weights; their presence means that training is finished
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from filelock import FileLock, Timeout
from rich.console import Console
from torch import Tensor, nn

from codepath.core.durations import readable_duration
from codepath.core.errors import UserError
from codepath.core.files import make_directory, write_text
from codepath.core.machine import available_cores, keep_freed_memory, processor_name
from codepath.core.provenance import git_state, now, package_versions
from codepath.core.signals import InterruptedRun, Interruption
from codepath.data import FileSet, Images, Normalize, choose_backend, training_loader
from codepath.data.beton import Beton
from codepath.models import create_model
from codepath.models.hub import save_tensors
from codepath.run.config import RunConfig, differences, to_dict
from codepath.run.directory import WEIGHTS, claim, read_config
from codepath.run.events import beat
from codepath.run.metrics_file import loader_verdict
from codepath.train.card import save_with_card
from codepath.train.checkpoint import Checkpoints
from codepath.train.distributed import Placement, World
from codepath.train.estimate import images_per_second
from codepath.train.loop import Trainer, batches_of, bn_images
from codepath.train.metrics import MetricsFile, Stopwatch, memory_mib
from codepath.train.options import FitOptions
from codepath.train.precision import computes_in_bfloat16, kind_of
from codepath.train.progress import TrainingProgress
from codepath.train.schedule import learning_rate

Evaluate = Callable[[nn.Module], dict[str, float]]
"""A network in evaluation mode -> metrics, `test_top1` among them; called in every process."""

_AGREE_STEPS = 10
"""Every how many steps several processes with GPUs agree whether to stop or save."""


def fit(
    config: RunConfig,
    images: Images,
    run_dir: Path,
    device: torch.device,
    console: Console | None = None,
    options: FitOptions | None = None,
    world: World | None = None,
    interruption: Interruption | None = None,
    evaluate: Evaluate | None = None,
) -> None:
    """Train `config` on `images` in `run_dir` until its final weights are there.

    SIGINT, SIGTERM and SIGUSR2 save the state after the step under way; killing the process loses
    at most the steps since the last checkpoint. The same call then goes on, and ends with the
    weights and metrics of an undisturbed run, bit for bit on the same hardware.

    Args:
        config: the run.
        images: its data set.
        run_dir: where it lives; made where absent.
        device: where to train.
        console: for progress; by default the terminal of the first process.
        options: what changes speed, memory and reports alone.
        world: the processes that train together (see `connected`); default: this one.
        interruption: where signals go; default: fit's own.
        evaluate: measures the network where options.evaluate_every asks for it.

    Raises:
        UserError: the directory holds another configuration, is in use by another process or
            cannot be written; the data does not fit the network or was changed; every checkpoint is
            damaged; training diverged (nothing of that is saved).
        InterruptedRun: on a signal.
    """
    options = options or FitOptions()
    world = world or World(Placement(), device)
    console = console or Console(quiet=not world.first)
    _check_data(config, images)
    with contextlib.ExitStack() as stack:
        if interruption is None:
            interruption = stack.enter_context(Interruption())
        lock = FileLock(run_dir / ".lock", timeout=0)
        stack.callback(lock.release)
        world.by_first(lambda: _claim(config, run_dir, lock))
        if world.by_first(lambda: (run_dir / WEIGHTS).exists()):
            return
        run = _Run(config, images, run_dir, console, options, world, interruption, evaluate)
        run.train()


def _check_data(config: RunConfig, images: Images) -> None:
    classes, channels = len(images.class_names), images.image_shape[0]
    if config.model.num_classes != classes:
        raise UserError(
            f"{images.dataset} has {classes} classes, model.num_classes is "
            f"{config.model.num_classes}"
        )
    if config.model.in_chans != channels:
        raise UserError(
            f"{images.dataset} has {channels} channels, model.in_chans is {config.model.in_chans}"
        )


def _claim(config: RunConfig, run_dir: Path, lock: FileLock) -> None:
    """Take the directory for this process, and for this configuration."""
    make_directory(run_dir / "ckpt")
    try:
        lock.acquire()
    except Timeout:
        raise UserError(f"another process is training in {run_dir}; wait for it") from None
    claim(config, run_dir)
    beat(run_dir, "starting")
    for left in run_dir.glob(".*.tmp"):  # of killed processes
        left.unlink(missing_ok=True)


def device_name(device: torch.device) -> str:
    """The GPU's name, or the processor's with the cores that may be used."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return processor_name()


def choose_repeatable_algorithms() -> None:
    """Have CUDA repeat its results to the bit wherever torch knows how; it warns where it does not.

    To be called before the first product of matrices: cuBLAS reads its variable once.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def fingerprint(images: Images) -> str:
    """A checksum of the training images and labels.

    Of images in files it is of their names, and of how a beton's were made smaller: the same files
    in an archive, a folder or a beton as they are can be exchanged.
    """
    split = images.train
    crc = zlib.crc32(np.ascontiguousarray(split.labels).data)
    if isinstance(images, FileSet):
        files = images.train.files
        for index in range(len(split)):
            crc = zlib.crc32(files.member(index).encode(), crc)
        settings = files.manifest["settings"] if isinstance(files, Beton) else {}
        if settings.get("longest"):
            crc = zlib.crc32(json.dumps(settings, sort_keys=True).encode(), crc)
    else:
        crc = zlib.crc32(np.ascontiguousarray(images.train.images).data, crc)
    return f"{len(split)} images {crc:08x}"


class _Run:
    """One process's part in training a run from its last checkpoint to its final weights."""

    def __init__(
        self,
        config: RunConfig,
        images: Images,
        run_dir: Path,
        console: Console,
        options: FitOptions,
        world: World,
        interruption: Interruption,
        evaluate: Evaluate | None,
    ) -> None:
        self.config, self.images, self.run_dir = config, images, run_dir
        self.console, self.world = console, world
        self.interruption, self.evaluate = interruption, evaluate
        recipe, device = config.train, world.device
        options = options.settled(device, world.size, config.scale, recipe)
        if not all(world.gather(options.precision == "bfloat16")):  # machines may differ
            options = replace(options, precision="float32")
        self.options = options
        if device.type == "cpu":
            keep_freed_memory()
        else:
            choose_repeatable_algorithms()
        self.title = f"{config.experiment} {config.name}"
        self.device_batch = options.share_at_once(recipe.batch_size, world.size)
        self.loader = world.first_leads(
            lambda: training_loader(
                images, config.data, recipe.batch_size, config.seed, options.loader, world.shard
            )
        )
        self.normalize = Normalize(images.mean, images.std).to(device)
        self.trainer = Trainer(
            config,
            world,
            len(self.loader),
            self.device_batch,
            compiled=bool(options.compile),
            aligned=bool(options.align),
            precision=options.precision,
        )
        self.checkpoints = Checkpoints(run_dir / "ckpt", options.keep)
        self.metrics = MetricsFile(run_dir, world.first)
        self.data = world.by_first(lambda: fingerprint(images))
        self.best: dict[str, Any] = {}
        self.saved_step = 0
        self.saved_at = time.monotonic()
        self._epoch_watch = Stopwatch()
        self._warned_of_loader = self._started = False

    def train(self) -> None:
        """From the last checkpoint, if there is one, to the final weights."""
        epochs = self.config.train.epochs
        steps = epochs * len(self.loader)
        with self._explained():
            self._resume()
            self._note_environment()
            self._say_plan()
            done = self.trainer.step
            with TrainingProgress(self.title, steps, done, self.console, self.run_dir) as progress:
                for epoch in range(self.trainer.step // len(self.loader), epochs):
                    self._epoch(epoch, progress)
                # A checkpoint of the end of an epoch comes before that epoch's line.
                self._finish_epoch(epochs, progress)
            self._finish()

    # Resuming

    def _resume(self) -> None:
        def newest() -> dict[str, Any] | None:
            self.checkpoints.clean()
            return self.checkpoints.newest(self._say)

        state = self.world.by_first(newest)
        if state is None:
            self.metrics.rewind(0)
            return
        self._check_state(state)
        self.trainer.restore(state)
        self.best = state["best"]
        self.saved_step = self.trainer.step
        self.metrics.rewind(self.trainer.step)
        epoch, batches = divmod(self.trainer.step, len(self.loader))
        place = f"after epoch {epoch}" if batches == 0 else f"in epoch {epoch + 1}"
        self._say(
            f"{self.title}: resuming {place} of {self.config.train.epochs} "
            f"(step {self.trainer.step})"
        )
        # The layouts of before precision was noted: they trained in the recipe's.
        before = {"precision": self.config.train.precision, **state["layout"]}
        here = self._layout()
        changed = differences(before, here)
        if changed:
            self._say(
                f"{self.title}: goes on with {'; '.join(changed)}: the result is the same up to "
                "rounding, no more to the bit"
            )

    def _check_state(self, state: dict[str, Any]) -> None:
        folder = self.checkpoints.folder
        changed = differences(state["config"], to_dict(self.config))
        if changed:
            raise UserError(
                f"{folder} is of a run with another configuration ({'; '.join(changed)}); "
                "remove it to train from the start"
            )
        if state["data"] != self.data:
            raise UserError(
                f"the training images are not those that the run began with ({self.data}, before: "
                f"{state['data']}); restore them, or remove {folder} to train from the start"
            )

    def _layout(self) -> dict[str, Any]:
        """What rounding depends on besides the configuration."""
        return {
            "device": self.world.device.type,
            "processes": self.world.size,
            "device_batch": self.device_batch,
            "precision": self.options.precision,
            "threads": torch.get_num_threads() if self.world.device.type == "cpu" else 0,
            "compiled": self.options.compile,
            "aligned": self.options.align,
        }

    # Saving

    def _save(self) -> None:
        """Write a checkpoint, unless there is one of this step; every process must call it."""
        step = self.trainer.step
        if step == self.saved_step:
            return
        self._check(weights=True)
        state = {
            "config": to_dict(self.config),
            "data": self.data,
            "layout": self._layout(),
            "best": self.best,
            **self.trainer.state(),
        }

        def write() -> None:
            self.metrics.sync()
            self.checkpoints.save(step, state)

        self.world.by_first(write)
        self.saved_step, self.saved_at = step, time.monotonic()

    def _check(self, weights: bool = False) -> None:
        """UserError where something is not finite in any process; all of them must call it."""
        troubles = self.world.gather(self.trainer.trouble(weights))
        found = [trouble for trouble in troubles if trouble is not None]
        if not found:
            return
        kept = (
            f"the checkpoint of step {self.saved_step} is kept" if self.saved_step
            else "no checkpoint was made yet"
        )  # fmt: skip
        error = self.trainer.diverged(min(found, key=lambda t: t["step"]), kept)
        if self.world.first:
            path = self.run_dir / "divergence.json"
            write_text(path, json.dumps(error.report, indent=1) + "\n")
        raise error

    # Training

    def _epoch(self, epoch: int, progress: TrainingProgress) -> None:
        """The rest of an epoch, whose earlier part may have been another process's."""
        first = self.trainer.step - epoch * len(self.loader)
        if first == 0:
            self._finish_epoch(epoch, progress)  # the one before it
        self.loader.set_epoch(epoch, first)
        self._epoch_watch = Stopwatch()
        recent = Stopwatch()
        batches = batches_of(self.loader)
        try:
            with self.interruption.deferred():
                for number in range(first, len(self.loader)):
                    asked = time.monotonic()
                    batch = next(batches)
                    waited = time.monotonic() - asked
                    if not self._started:  # what starts up once is no bottleneck
                        self._started, waited = True, 0.0
                        self._epoch_watch.start()
                        recent.start()
                    self.trainer.train_step(batch, epoch, self.normalize)
                    for watch in (self._epoch_watch, recent):
                        watch.waited += waited
                        watch.images += len(batch.labels)
                    progress.step(self.trainer.step, epoch + 1)
                    if self.trainer.step % self.options.log_steps == 0:
                        self._log(epoch, recent, progress)
                    self._stop_or_save(last=number + 1 == len(self.loader))
                self._save()
        finally:
            batches.close()
        self._stop_if_asked()

    def _log(self, epoch: int, recent: Stopwatch, progress: TrainingProgress) -> None:
        values = {
            "step": self.trainer.step,
            "epoch": epoch + 1,
            **self.trainer.recent_meter.means(self.world),
            "lr": learning_rate(self.trainer.step - 1, len(self.loader), self.config.train),
            **recent.read(self.world.size),
            "memory_mib": memory_mib(self.world.device),
        }
        self.trainer.recent_meter.clear()
        recent.start()
        self.metrics.write("steps", values)
        progress.recent(values)

    def _stop_or_save(self, last: bool) -> None:
        """Between two steps: is anything broken, did a signal come, is it time to save?"""
        world, options = self.world, self.options
        if world.size > 1 and world.device.type == "cuda" and self.trainer.step % _AGREE_STEPS:
            return
        broken = self.trainer.due and self.trainer.trouble() is not None
        overdue = time.monotonic() - self.saved_at >= 60 * options.save_minutes
        broken_, signal_number, save = world.largest_of_each(
            int(broken), self.interruption.received, int(overdue and world.first)
        )
        if broken_:
            self._check()
        if last:  # the end of the epoch saves, and stops
            return
        if signal_number or save:
            self._save()
        if signal_number:
            self._stop(signal_number)

    def _stop_if_asked(self) -> None:
        (signal_number,) = self.world.largest_of_each(self.interruption.received)
        if signal_number:
            self._stop(signal_number)

    def _stop(self, signal_number: int) -> None:
        epoch, batch = divmod(self.trainer.step, len(self.loader))
        raise InterruptedRun(
            f"interrupted: {self.title} is saved at step {self.trainer.step} (epoch {epoch + 1}, "
            f"batch {batch} of {len(self.loader)}); repeat the command to go on",
            signal_number,
        )

    def _finish_epoch(self, epochs_done: int, progress: TrainingProgress) -> None:
        """Measure and report the epoch that ended at the present step, if one did."""
        trainer = self.trainer
        if trainer.step == 0 or not trainer.epoch_meter.images:
            return
        values = trainer.epoch_meter.means(self.world)
        speed = self._epoch_watch.read(self.world.size)
        every = self.options.evaluate_every
        if self.evaluate is not None and every and epochs_done % every == 0:
            measured = self.evaluate(self._network(trainer.averaged_state()))
            values |= measured
            self._note_best(epochs_done, measured)
        line = {
            "step": trainer.step,
            "epoch": epochs_done,
            **values,
            "lr": learning_rate(trainer.step - 1, len(self.loader), self.config.train),
            **speed,
            "memory_mib": memory_mib(self.world.device),
        }
        self.metrics.write("epoch", line)
        trainer.epoch_meter.clear()
        progress.epoch(epochs_done, self.config.train.epochs, trainer.step, line)
        verdict = loader_verdict(line)
        if verdict and not self._warned_of_loader:
            self._warned_of_loader = True
            self._say(f"{self.title}: {verdict}")

    def _note_best(self, epoch: int, measured: dict[str, float]) -> None:
        """Keep the weights with the best test top-1: for information, never for results."""
        if measured["test_top1"] <= self.best.get("test_top1", -1.0):
            return
        self.best = {"epoch": epoch, **measured}
        state = self.trainer.averaged_state()
        if self.world.first:
            self._write_weights(self.run_dir / "ckpt" / "best.safetensors", state)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Errors of devices and of other processes in one line with the cure."""
        try:
            yield
        except torch.OutOfMemoryError:
            half = max(self.device_batch // 2, 1)
            raise UserError(
                f"{self.device_batch} images at once do not fit into the memory of "
                f"{device_name(self.world.device)}: try --device-batch {half}"
            ) from None
        except RuntimeError as error:
            if self.world.size == 1:
                raise
            raise self.world.lost(error) from error

    # The end

    def _network(self, state: dict[str, Tensor]) -> nn.Module:
        model = create_model(self.config.model)
        model.load_state_dict(state)
        return model.to(self.world.device).to(memory_format=torch.channels_last).eval()

    def _write_weights(self, path: Path, state: dict[str, Tensor]) -> None:
        save_tensors(path, state, {"config": json.dumps(to_dict(self.config))})

    def _finish(self) -> None:
        state = self.trainer.averaged_state()

        def write() -> None:
            model = self._network(state).cpu()
            save_with_card(model, self.config, self.images, self.run_dir)
            self._write_weights(self.run_dir / WEIGHTS, state)

        self.world.by_first(write)

    # Words

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)

    def _say_plan(self) -> None:
        recipe, world, images = self.config.train, self.world, self.images
        left = recipe.epochs * len(self.loader) - self.trainer.step
        speed = world.size * images_per_second(
            self.trainer.objective,
            recipe,
            images.image_shape,
            self.config.model.num_classes,
            world.device,
            self.device_batch,
            self.options.precision,
        )
        backend, reason = choose_backend(images, self.options.loader)
        parts = recipe.batch_size // world.size // self.device_batch
        batch = f"batch {recipe.batch_size}"
        if world.size * parts > 1:
            batch += f" ({world.size} x {parts} x {self.device_batch}: processes, parts, images)"
        epochs = left / len(self.loader)
        self._say(
            f"{self.title}: {self.config.scale} scale, {images.source}, {epochs:.4g} epochs of "
            f"{self.loader.num_samples:,} images, {batch}, {self._precision()}, "
            f"{'compiled, ' if self.options.compile else ''}"
            f"{device_name(world.device)}, {backend} loader"
            f"{f' ({reason})' if reason else ''}; "
            f"{'less than' if self.options.compile else 'about'} "
            f"{readable_duration(left * recipe.batch_size / speed)} at {speed:.0f} img/s"
        )
        emulated = not computes_in_bfloat16(world.device)
        if self.options.precision == "bfloat16" and emulated:
            self._say(
                f"warning: this {kind_of(world.device)} only emulates bfloat16, which is slow: "
                "leave --precision out to train in float32"
            )
        wanted = recipe.bn_batch or recipe.batch_size
        actual = bn_images(recipe.bn_batch, self.device_batch)
        if actual != wanted:
            self._say(
                f"warning: batch norm takes its statistics over {actual} images here, over "
                f"{wanted} in the recipe: results may differ; a process's images at once must be "
                f"a multiple of {wanted}"
            )

    def _precision(self) -> str:
        """What is trained in and, where that is not the recipe's lowest, why."""
        device, precision = self.world.device, self.options.precision
        if precision == self.config.train.precision:
            return precision
        why = (
            "" if computes_in_bfloat16(device) else f", which this {kind_of(device)} only emulates"
        )
        return f"{precision} (the recipe allows bfloat16{why})"

    def _note_environment(self) -> None:
        """Append this start's machine, versions and commit to env.json."""
        if not self.world.first:
            return
        commit, dirty = git_state()
        entry = {
            "started": now(),
            "step": self.trainer.step,
            "commit": commit,
            "dirty": dirty,
            "device": device_name(self.world.device),
            "cores": available_cores(),
            **self._layout(),
            "versions": package_versions(),
        }
        path = self.run_dir / "env.json"
        try:
            entries = json.loads(path.read_text()) if path.exists() else []
        except json.JSONDecodeError:
            entries = []
        write_text(path, json.dumps([*entries, entry], indent=2) + "\n")


def load_trained(run_dir: Path, device: torch.device) -> tuple[RunConfig, nn.Module]:
    """A finished run's configuration and network in evaluation mode.

    Raises UserError where training is not finished or the weights are damaged.
    """
    config = read_config(run_dir)
    weights = run_dir / WEIGHTS
    if not weights.exists():
        raise UserError(f"{run_dir} has no final weights yet: finish its training first")
    model = create_model(config.model)
    try:
        model.load_state_dict(safetensors.torch.load_file(weights))
    except (safetensors.SafetensorError, RuntimeError) as error:
        raise UserError(
            f"{weights} is damaged ({str(error).splitlines()[0]}); remove it and repeat the run: "
            "it is made again from the last checkpoint"
        ) from None
    return config, model.to(device).to(memory_format=torch.channels_last).eval()
