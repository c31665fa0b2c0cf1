"""A run from its configuration to its rows: train, evaluate, store."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from torch import nn

from codepath.core.errors import UserError
from codepath.core.signals import InterruptedRun, Interruption
from codepath.evaluate import (
    measure_accuracy,
)
from codepath.pipeline.measure import evaluate_run, load_images, predict_test_images
from codepath.pipeline.prepare import beton_folder
from codepath.run.config import RunConfig
from codepath.run.directory import (
    Places,
    images_of,
    is_done,
    mark_done,
    note_place,
    working_in,
)
from codepath.run.events import beat
from codepath.store import (
    collect,
)
from codepath.train import FitOptions, connected, fit, load_trained
from codepath.train.fingerprint import fingerprint
from codepath.train.fit import check_data


def train_and_evaluate(
    config: RunConfig,
    places: Places,
    console: Console,
    data: Path | None = None,
    backend: str = "auto",
    options: FitOptions | None = None,
) -> None:
    """Train and evaluate `config`, and put its rows into the results.

    Whatever an earlier call finished is skipped. Where torchrun or srun started several processes,
    they train together and share the pass over the test images; the first one does the rest alone.

    Args:
        config: the run's configuration.
        places: where the run lives and where its rows go.
        console: where progress is printed.
        data: where the source's files are (see `load_data_set`).
        backend: ffcv, torch or auto.
        options: how the run is carried out on this machine.

    Raises:
        UserError: see `fit`.
        InterruptedRun: on SIGINT, SIGTERM or SIGUSR2; repeating the call goes on.
    """
    run_dir = places.run_dir(config)
    with Interruption() as interruption, contextlib.ExitStack() as held:
        if not is_done(run_dir, config):
            options = options or FitOptions()
            loader = replace(options.loader, backend=backend, betons=beton_folder(data))
            options = replace(options, loader=loader)
            if not _work_in_this_process(
                config, run_dir, console, data, options, interruption, held
            ):
                return
        collect(places.results, [run_dir])


def _work_in_this_process(
    config: RunConfig,
    run_dir: Path,
    console: Console,
    data: Path | None,
    options: FitOptions,
    interruption: Interruption,
    held: contextlib.ExitStack,
) -> bool:
    """Train and evaluate; return whether this is the first process, which wrote the rows.

    `held` keeps other processes out of the run's directory.
    """
    title = f"{config.experiment} {config.name}"
    with connected() as world:
        if not world.first:
            console = Console(quiet=True, markup=False)
        images = world.first_leads(lambda: load_images(config, data))

        def evaluate(model: nn.Module) -> dict[str, float]:
            (top1,) = measure_accuracy(predict_test_images(model, images, world), "test")
            return {"test_top1": top1.value}

        check_data(config, images)  # before anything is written
        world.by_first(lambda: held.enter_context(working_in(run_dir)))
        if world.by_first(lambda: is_done(run_dir, config)):  # by another process, meanwhile
            return world.first
        fit(config, images, run_dir, world.device, console, options, world, interruption, evaluate)
        if world.first:
            note_place(run_dir, data)
        console.print(f"{title}: evaluating", highlight=False)
        beat(run_dir, "evaluating")
        try:
            _, model = load_trained(run_dir, world.device)
            predictions = predict_test_images(model, images, world)
        except InterruptedRun as stop:
            raise _stopped_evaluating(title, stop) from None
    if world.first:
        try:
            evaluate_run(run_dir, images, world.device, data, predictions)
        except InterruptedRun as stop:
            raise _stopped_evaluating(title, stop) from None
        mark_done(run_dir, config, fingerprint(images))
        (top1,) = measure_accuracy(predictions, "test")
        console.print(
            f"{title}: top-1 {100 * top1.value:.2f} % of {top1.n:,} test images; {run_dir}",
            highlight=False,
            soft_wrap=True,
        )
    return world.first


def check_same_images(run_dir: Path, config: RunConfig, data: Path) -> None:
    """UserError where a finished run was trained on other images than those of `data`."""
    noted = images_of(run_dir)
    if noted is not None and fingerprint(load_images(config, data)) != noted:
        raise UserError(
            f"{run_dir} is done, but with other training images than those of {data}: choose "
            "another --runs folder, or remove the run"
        )


def _stopped_evaluating(title: str, stop: InterruptedRun) -> InterruptedRun:
    return InterruptedRun(
        f"interrupted: {title} is trained; repeat the command to evaluate it", stop.signal_number
    )
