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
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn

from codepath.core.errors import UserError
from codepath.core.files import make_directory
from codepath.core.machine import keep_freed_memory
from codepath.core.signals import InterruptedRun, Interruption
from codepath.data import DataSet, Normalize, training_loader
from codepath.models import create_model
from codepath.models.hub import save_tensors
from codepath.run.config import RunConfig, to_dict
from codepath.run.directory import WEIGHTS, claim, working_in
from codepath.run.events import beat
from codepath.run.metrics_file import loader_verdict
from codepath.train.card import save_with_card
from codepath.train.distributed import Placement, World
from codepath.train.environment import choose_repeatable_algorithms, device_name, note_environment
from codepath.train.fingerprint import fingerprint
from codepath.train.loop import Trainer, batches_of
from codepath.train.metrics import MetricsFile, Stopwatch, memory_mib
from codepath.train.options import FitOptions
from codepath.train.plan_lines import plan_lines
from codepath.train.progress import TrainingProgress
from codepath.train.saving import SavedState
from codepath.train.schedule import learning_rate

Evaluate = Callable[[nn.Module], dict[str, float]]
"""A network in evaluation mode -> metrics, `test_top1` among them; called in every process."""

_AGREE_STEPS = 10
"""Every how many steps several processes with GPUs agree whether to stop or save."""


def fit(
    config: RunConfig,
    images: DataSet,
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
    console = console or Console(quiet=not world.first, markup=False)
    check_data(config, images)
    with contextlib.ExitStack() as stack:
        if interruption is None:
            interruption = stack.enter_context(Interruption())
        world.by_first(lambda: stack.enter_context(working_in(run_dir)))
        world.by_first(lambda: _claim(config, run_dir))
        if world.by_first(lambda: (run_dir / WEIGHTS).exists()):
            return
        run = _Run(config, images, run_dir, console, options, world, interruption, evaluate)
        run.train()


def check_data(config: RunConfig, images: DataSet) -> None:
    """UserError where the network does not fit the images' classes or channels."""
    classes, channels = len(images.class_names), images.image_shape[0]
    if config.model.num_classes != classes:
        raise UserError(
            f"{images.dataset} has {classes} classes, model.num_classes is "
            f"{config.model.num_classes}: add --set model.num_classes={classes}"
        )
    if config.model.in_chans != channels:
        raise UserError(
            f"{images.dataset} has {channels} channels, model.in_chans is "
            f"{config.model.in_chans}: add --set model.in_chans={channels}"
        )


def _claim(config: RunConfig, run_dir: Path) -> None:
    """Take the directory, which is held by this process, for this configuration."""
    make_directory(run_dir / "ckpt")
    claim(config, run_dir)
    beat(run_dir, "starting")
    for left in run_dir.glob(".*.tmp"):  # of killed processes
        left.unlink(missing_ok=True)


class _Run:
    """One process's part in training a run from its last checkpoint to its final weights."""

    def __init__(
        self,
        config: RunConfig,
        images: DataSet,
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
        self.metrics = MetricsFile(run_dir, world.first)
        data = world.by_first(lambda: fingerprint(images))
        self.saved = SavedState(
            config, run_dir, options, self.trainer, self.metrics, data, self._say
        )
        self._epoch_watch = Stopwatch()
        self._warned_of_loader = self._started = False

    def train(self) -> None:
        """From the last checkpoint, if there is one, to the final weights."""
        epochs = self.config.train.epochs
        steps = epochs * len(self.loader)
        with self._explained():
            self.saved.resume()
            trainer, layout = self.trainer, self.saved.layout()
            if self.world.first:
                note_environment(self.run_dir, trainer.step, trainer.world.device, layout)
            plan = plan_lines(
                self.config, self.images, self.options, trainer, self.loader.num_samples
            )
            for line in plan:
                self._say(line)
            done = self.trainer.step
            with TrainingProgress(self.title, steps, done, self.console, self.run_dir) as progress:
                for epoch in range(self.trainer.step // len(self.loader), epochs):
                    self._epoch(epoch, progress)
                # A checkpoint of the end of an epoch comes before that epoch's line.
                self._finish_epoch(epochs, progress)
            self._finish()

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
                self.saved.save()
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
        world = self.world
        if world.size > 1 and world.device.type == "cuda" and self.trainer.step % _AGREE_STEPS:
            return
        broken = self.trainer.due and self.trainer.trouble() is not None
        broken_, signal_number, save = world.largest_of_each(
            int(broken), self.interruption.received, int(self.saved.overdue and world.first)
        )
        if broken_:
            self.saved.check()
        if last:  # the end of the epoch saves, and stops
            return
        if signal_number or save:
            self.saved.save()
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
        if measured["test_top1"] <= self.saved.best.get("test_top1", -1.0):
            return
        self.saved.best = {"epoch": epoch, **measured}
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
            self.metrics.sync()
            self._write_weights(self.run_dir / WEIGHTS, state)

        self.world.by_first(write)

    # Words

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)
