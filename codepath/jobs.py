"""From an experiment to rows: train, evaluate, store. The only glue between those packages."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from codepath.config import DataConfig, RunConfig
from codepath.data import (
    Images,
    ImageSet,
    LoaderOptions,
    Normalize,
    choose_backend,
    describe_images,
    evaluation_loader,
    load_image_set,
)
from codepath.data.beton import ensure_beton
from codepath.evaluate import (
    ALL_NEGATIVES_UP_TO,
    ALL_TEST_IMAGES_UP_TO,
    Predictions,
    binary_scores,
    exit_costs,
    fit_readouts,
    foreign_negatives,
    measure_accuracy,
    measure_binary,
    measure_cost,
    measure_decoders,
    measure_exits,
    measure_extraction,
    measure_out_of_distribution,
    measure_paths,
    measure_protocols,
    measure_removal,
    predict,
    readout_images,
    score_split,
    spread,
)
from codepath.models import CodedResNeXt
from codepath.rundir import Places, is_done, mark_done, read_config
from codepath.runstate import beat
from codepath.runtime import (
    InterruptedRun,
    Interruption,
    UserError,
    git_state,
    make_directory,
    now,
    unknown_name,
    write_text,
)
from codepath.store import (
    KINDS,
    ON_REQUEST,
    Measurement,
    Provenance,
    collect,
    replace_rows,
    rows_of,
)
from codepath.train import FitOptions, World, choose_device, connected, fit, load_trained
from codepath.train.card import write_card
from codepath.train.distributed import Placement
from codepath.train.fit import device_name
from codepath.train.precision import trained_precision


def run(
    config: RunConfig,
    places: Places,
    console: Console,
    data: Path | None = None,
    backend: str = "auto",
    options: FitOptions | None = None,
) -> None:
    """Train and evaluate `config`, and put its rows into the results.

    Every part that an earlier call finished is skipped. Started by torchrun or srun, the processes
    train together and share the pass over the test images; the first one does the rest alone.

    Args:
        config: the run.
        places: where it lives and where its rows go.
        console: for progress.
        data: where the source's files are (see `load_image_set`).
        backend: ffcv, torch or auto.
        options: how it is carried out on this machine.

    Raises:
        UserError: see `fit`.
        InterruptedRun: on SIGINT, SIGTERM or SIGUSR2; the same call goes on.
    """
    run_dir = places.run_dir(config)
    with Interruption() as interruption:
        if not is_done(run_dir, config):
            options = options or FitOptions()
            loader = replace(options.loader, backend=backend, betons=_betons(data))
            options = replace(options, loader=loader)
            if not _done_here(config, run_dir, console, data, options, interruption):
                return
        collect(places.results, [run_dir])


def _done_here(
    config: RunConfig,
    run_dir: Path,
    console: Console,
    data: Path | None,
    options: FitOptions,
    interruption: Interruption,
) -> bool:
    """Train and evaluate; whether this is the process that did the last part."""
    title = f"{config.experiment} {config.name}"
    with connected() as world:
        if not world.first:
            console = Console(quiet=True)
        images = world.first_leads(lambda: load_images(config, data))

        def evaluate(model: nn.Module) -> dict[str, float]:
            (top1,) = measure_accuracy(_predict(model, images, world), "test")
            return {"test_top1": top1.value}

        fit(config, images, run_dir, world.device, console, options, world, interruption, evaluate)
        console.print(f"{title}: evaluating", highlight=False)
        beat(run_dir, "evaluating")
        try:
            _, model = load_trained(run_dir, world.device)
            predictions = _predict(model, images, world)
        except InterruptedRun as stop:
            raise _stopped_evaluating(title, stop) from None
    if world.first:
        try:
            evaluate_run(run_dir, images, world.device, data, predictions)
        except InterruptedRun as stop:
            raise _stopped_evaluating(title, stop) from None
        mark_done(run_dir, config)
    return world.first


def _stopped_evaluating(title: str, stop: InterruptedRun) -> InterruptedRun:
    return InterruptedRun(
        f"interrupted: {title} is trained; repeat the command to evaluate it", stop.signal_number
    )


def _predict(model: nn.Module, images: Images, world: World) -> Predictions:
    """The network's outputs for every test image, each computed in one of the processes."""
    normalize = Normalize(images.mean, images.std).to(world.device)
    loader = evaluation_loader(images.test, shard=world.shard)
    own = predict(model, loader, normalize, world.device, world.samples(len(images.test)))
    return Predictions.merged(world.gather(own), len(images.test))


def load_images(config: RunConfig, data: Path | None) -> Images:
    """The images of a run."""
    return load_image_set(config.data.source, data, config.data.crop, config.data.subset)


def _betons(data: Path | None) -> Path:
    """Where FFCV's files are kept: beside the data where that is a folder."""
    return (data if data is not None and data.is_dir() else Path("data")) / "betons"


def prepare_data(config: DataConfig, data: Path | None = None, backend: str = "auto") -> list[str]:
    """Get a data set ready for runs, so that they do not do it side by side; describe it.

    Archives are downloaded or found, files are listed, and where FFCV will load images that are in
    memory, its betons are written. Repeating it finds the work done. ImageNet's betons are a choice
    (`codepath data build imagenet`) and are used where they are.

    Args:
        config: the data set of the runs.
        data: where its files are (see `load_image_set`).
        backend: ffcv, torch or auto.
    """
    images = load_image_set(config.source, data, config.crop, config.subset)
    options = LoaderOptions(backend, _betons(data))
    chosen, reason = choose_backend(images, options)
    if chosen == "ffcv" and isinstance(images, ImageSet):
        ensure_beton(images, "train", options.betons)
    return [*describe_images(images)[:2], f"{chosen} loader{f' ({reason})' if reason else ''}"]


def evaluate_run(
    run_dir: Path,
    images: Images | None = None,
    device: torch.device | None = None,
    data: Path | None = None,
    predictions: Predictions | None = None,
    kinds: Collection[str] = (),
) -> None:
    """Measure a trained run and write its rows to RUN/rows, its outputs to RUN/predictions.

    Args:
        run_dir: the run.
        images: of its data set, where they are loaded already.
        device: to measure on.
        data: where the images are.
        predictions: its outputs for the test images, where they are known.
        kinds: of rows to make; others are left as they are. Empty: all.
    """
    possible = [kind for kind in KINDS if kind not in ON_REQUEST]
    for kind in kinds:
        if kind not in possible:
            raise unknown_name("kind of rows", kind, possible)
    wanted = set(kinds or possible)
    config = read_config(run_dir)
    images = images or load_images(config, data)
    device = device or choose_device()
    if predictions is None:
        _, model = load_trained(run_dir, device)
        predictions = _predict(model, images, World(Placement(), device))
    measured = (
        measurement
        for measurement in _measurements(run_dir, images, device, predictions, data, wanted)
        if measurement.kind in wanted
    )
    write_rows(run_dir, measured, provenance(run_dir, config, images, device), wanted)
    (top1,) = measure_accuracy(predictions, "test")
    if (run_dir / "model").is_dir():
        write_card(run_dir, config, images, (top1.value, top1.n))


def provenance(
    run_dir: Path, config: RunConfig, images: Images, device: torch.device
) -> Provenance:
    """Where numbers of a run that are measured now come from."""
    commit, dirty = git_state()
    return Provenance(
        experiment=config.experiment,
        run_id=config.run_id,
        scale=config.scale,
        dataset=images.dataset,
        source=images.source,
        model=config.model_role,
        seed=config.seed,
        precision=trained_precision(run_dir),
        device=device_name(device),
        commit=commit,
        dirty=dirty,
        created=now(),
    )


def write_rows(
    run_dir: Path,
    measurements: Iterable[Measurement],
    provenance: Provenance,
    kinds: Collection[str],
) -> None:
    """Measure, and put the rows into RUN/rows in place of those of the same kinds."""
    replace_rows(run_dir / "rows", rows_of(measurements, provenance), kinds)


def _measurements(
    run_dir: Path,
    images: Images,
    device: torch.device,
    predictions: Predictions,
    data: Path | None,
    wanted: Collection[str],
) -> Iterator[Measurement]:
    """What is cheap is measured in any case; what takes passes of its own, where it is wanted."""
    config, model = load_trained(run_dir, device)
    normalize = Normalize(images.mean, images.std).to(device)
    test = evaluation_loader(images.test)
    folder = make_directory(run_dir / "predictions")
    predictions.save(folder / "test.npz")
    DataFacts.of(images).save(run_dir)
    yield from measure_accuracy(predictions, "test")
    yield from measure_cost(model, images.image_shape)
    if not isinstance(model, CodedResNeXt) or not model.coded_blocks:
        return
    schemes = {number: block.scheme for number, block in model.coded_blocks.items()}
    yield from measure_paths(predictions, schemes, images.class_names, "test")
    if not {"decoders", "exits"}.isdisjoint(wanted):
        some = spread(images.train, readout_images(len(images.class_names)))
        training = predict(model, evaluation_loader(some), normalize, device)
        training.save(folder / "train.npz")
        readouts = fit_readouts(training)
        yield from measure_decoders(predictions, schemes, "test", readouts)
        if model.aggregate == "sum" and "exits" in wanted:
            costs = exit_costs(model, images.image_shape)
            yield from measure_exits(predictions, schemes, costs, "test", readouts)
    if model.aggregate == "sum":
        yield from measure_extraction(model, images.image_shape)
    if config.evaluation.removal_block and "removal" in wanted:
        yield from measure_removal(
            model,
            test,
            normalize,
            device,
            config.evaluation.removal_block,
            config.evaluation.removal_draws,
            "test",
        )
    if {"binary", "histograms"}.isdisjoint(wanted):
        return
    scored = score_split(model, images.train, ALL_NEGATIVES_UP_TO, normalize, device)
    scored.save(folder / "binary-train.npz")
    judged = score_split(model, images.test, ALL_TEST_IMAGES_UP_TO, normalize, device)
    judged.save(folder / "binary-test.npz")
    yield from measure_binary(scored, judged, images.class_names)
    yield from measure_protocols(scored, judged, images.class_names)
    foreign = foreign_negatives(images, data)
    if foreign is not None:
        answers = binary_scores(model, evaluation_loader(foreign.split), normalize, device)
        yield from measure_out_of_distribution(
            scored, judged, answers.scores, foreign.name, images.class_names
        )


@dataclass(frozen=True)
class DataFacts:
    """What the commands on a trained run need of its data set, kept in RUN/data.json."""

    source: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    """(C, H, W)"""
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, images: Images) -> DataFacts:
        """Those of a data set."""
        return cls(images.source, images.class_names, images.image_shape, images.mean, images.std)

    def save(self, run_dir: Path) -> None:
        """Write RUN/data.json."""
        write_text(run_dir / "data.json", json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, run_dir: Path) -> DataFacts:
        """Read RUN/data.json; UserError where the run was not evaluated."""
        path = run_dir / "data.json"
        if not path.exists():
            raise UserError(f"{path} does not exist: codepath evaluate {run_dir} writes it")
        facts = json.loads(path.read_text())
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in facts.items()
        }
        return cls(**values)
