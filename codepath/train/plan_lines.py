"""What a training run says before its first step: its plan, and what deviates from the recipe."""

from __future__ import annotations

from collections.abc import Iterator

from codepath.core.durations import readable_duration
from codepath.data import DataSet, choose_backend
from codepath.run.config import RunConfig
from codepath.train.environment import device_name
from codepath.train.estimate import images_per_second
from codepath.train.loop import Trainer, bn_images
from codepath.train.options import FitOptions
from codepath.train.precision import computes_in_bfloat16, kind_of


def plan_lines(
    config: RunConfig, images: DataSet, options: FitOptions, trainer: Trainer, samples: int
) -> Iterator[str]:
    """The lines: the plan with its expected time, then warnings.

    Args:
        config: the run.
        images: its data set.
        options: settled for this machine.
        trainer: at the step to go on from.
        samples: images of an epoch, over all processes.
    """
    recipe, world, title = config.train, trainer.world, f"{config.experiment} {config.name}"
    left = recipe.epochs * trainer.steps_per_epoch - trainer.step
    speed = world.size * images_per_second(
        trainer.objective,
        recipe,
        images.image_shape,
        config.model.num_classes,
        world.device,
        trainer.device_batch,
        options.precision,
    )
    backend, reason = choose_backend(images, options.loader)
    parts = recipe.batch_size // world.size // trainer.device_batch
    batch = f"batch {recipe.batch_size}"
    if world.size * parts > 1:
        batch += f" ({world.size} x {parts} x {trainer.device_batch}: processes, parts, images)"
    epochs = left / trainer.steps_per_epoch
    yield (
        f"{title}: {config.scale} scale, {images.source}, {epochs:.4g} epochs of "
        f"{samples:,} images, {batch}, {_precision(config, options, trainer)}, "
        f"{'compiled, ' if options.compile else ''}"
        f"{device_name(world.device)}, {backend} loader"
        f"{f' ({reason})' if reason else ''}; "
        f"{'less than' if options.compile else 'about'} "
        f"{readable_duration(left * recipe.batch_size / speed)} at {speed:.0f} img/s"
    )
    emulated = not computes_in_bfloat16(world.device)
    if options.precision == "bfloat16" and emulated:
        yield (
            f"warning: this {kind_of(world.device)} only emulates bfloat16, which is slow: "
            "leave --precision out to train in float32"
        )
    wanted = recipe.bn_batch or recipe.batch_size
    actual = bn_images(recipe.bn_batch, trainer.device_batch)
    if actual != wanted:
        yield (
            f"warning: batch norm takes its statistics over {actual} images here, over "
            f"{wanted} in the recipe: results may differ; a process's images at once must be "
            f"a multiple of {wanted}"
        )


def _precision(config: RunConfig, options: FitOptions, trainer: Trainer) -> str:
    """The type that is computed in and, where it is not the recipe's lowest, the reason."""
    device, precision = trainer.world.device, options.precision
    if precision == config.train.precision:
        return precision
    why = "" if computes_in_bfloat16(device) else f", which this {kind_of(device)} only emulates"
    return f"{precision} (the recipe allows bfloat16{why})"
