"""From an experiment to rows: train, evaluate, store. The only glue between those packages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console

from codepath.config import RunConfig
from codepath.data import Images, LoaderOptions, Normalize, evaluation_loader, load_image_set
from codepath.evaluate import (
    binary_scores,
    measure_accuracy,
    measure_binary,
    measure_cost,
    measure_decoders,
    measure_removal,
    predict,
)
from codepath.models import CodedResNeXt
from codepath.rundir import Places, is_done, mark_done, read_config
from codepath.runtime import InterruptedRun, git_state, make_directory, now, write_text
from codepath.store import KINDS, Measurement, Provenance, collect, rows_of
from codepath.train import choose_device, fit, load_trained
from codepath.train.fit import device_name


def run(
    config: RunConfig,
    places: Places,
    console: Console,
    data: Path | None = None,
    backend: str = "auto",
) -> None:
    """Train and evaluate `config`, and put its rows into the results.

    Every part that an earlier call finished is skipped.

    Args:
        config: the run.
        places: where it lives and where its rows go.
        console: for progress.
        data: where the source's files are (see `load_image_set`).
        backend: ffcv, torch or auto.
    """
    run_dir = places.run_dir(config)
    title = f"{config.experiment} {config.name}"
    if not is_done(run_dir, config):
        images = _load(config, data)
        device = choose_device()
        folder = data if data is not None and data.is_dir() else Path("data")
        options = LoaderOptions(backend, folder / "betons")
        fit(config, images, run_dir, device, console, options)
        console.print(f"{title}: evaluating", highlight=False)
        try:
            evaluate_run(run_dir, images, device)
        except KeyboardInterrupt:
            raise InterruptedRun(
                f"interrupted: {title} is trained; repeat the command to evaluate it"
            ) from None
        mark_done(run_dir, config)
    collect(places.results, [run_dir])


def _load(config: RunConfig, data: Path | None) -> Images:
    return load_image_set(config.data.source, data, config.data.crop, config.data.subset)


def evaluate_run(
    run_dir: Path,
    images: Images | None = None,
    device: torch.device | None = None,
    data: Path | None = None,
) -> None:
    """Measure a trained run and write its rows to RUN/rows, its outputs to RUN/predictions."""
    config = read_config(run_dir)
    images = images or _load(config, data)
    device = device or choose_device()
    commit, dirty = git_state()
    provenance = Provenance(
        experiment=config.experiment,
        run_id=config.run_id,
        scale=config.scale,
        dataset=images.dataset,
        source=images.source,
        model=config.model_role,
        seed=config.seed,
        device=device_name(device),
        commit=commit,
        dirty=dirty,
        created=now(),
    )
    rows = rows_of(_measurements(run_dir, images, device), provenance)
    folder = make_directory(run_dir / "rows")
    for kind in KINDS:
        path = folder / f"{kind}.csv"
        if kind in rows:
            write_text(path, rows[kind].to_csv(index=False, lineterminator="\n"))
        else:
            path.unlink(missing_ok=True)


def _measurements(run_dir: Path, images: Images, device: torch.device) -> Iterator[Measurement]:
    config, model = load_trained(run_dir, device)
    normalize = Normalize(images.mean, images.std).to(device)
    test = evaluation_loader(images.test)
    predictions = predict(model, test, normalize, device)
    predictions.save(make_directory(run_dir / "predictions") / "test.npz")
    yield from measure_accuracy(predictions, "test")
    yield from measure_cost(model, images.image_shape)
    if not isinstance(model, CodedResNeXt) or not model.coded_blocks:
        return
    schemes = {number: block.scheme for number, block in model.coded_blocks.items()}
    yield from measure_decoders(predictions, schemes, "test")
    if config.evaluation.removal_block:
        yield from measure_removal(
            model,
            test,
            normalize,
            device,
            config.evaluation.removal_block,
            config.evaluation.removal_draws,
            "test",
        )
    yield from measure_binary(
        binary_scores(model, evaluation_loader(images.train), normalize, device),
        binary_scores(model, test, normalize, device),
        images.class_names,
    )
