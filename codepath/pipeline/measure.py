"""Measuring a trained run: from its predictions to the rows in RUN/rows."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from codepath.core.errors import UserError, unknown_name
from codepath.core.files import make_directory, read_json, write_text
from codepath.core.photos import check_input
from codepath.core.plain import as_type
from codepath.core.provenance import git_state, now
from codepath.data import (
    DataSet,
    Normalize,
    evaluation_loader,
    load_configured,
)
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
from codepath.run.config import RunConfig
from codepath.run.directory import images_of, is_done, place_of, read_config, working_in
from codepath.store import (
    KINDS,
    ON_REQUEST,
    Measurement,
    Provenance,
    replace_rows,
    rows_of,
)
from codepath.train import World, choose_device, load_trained
from codepath.train.card import write_card
from codepath.train.distributed import Placement
from codepath.train.environment import device_name
from codepath.train.fingerprint import fingerprint
from codepath.train.precision import trained_precision


def predict_test_images(model: nn.Module, images: DataSet, world: World) -> Predictions:
    """The network's outputs for every test image, each computed in one of the processes."""
    normalize = Normalize(images.mean, images.std).to(world.device)
    loader = evaluation_loader(images.test, shard=world.shard)
    own = predict(model, loader, normalize, world.device, world.samples(len(images.test)))
    return Predictions.merged(world.gather(own), len(images.test))


def load_images(config: RunConfig, data: Path | None) -> DataSet:
    """The images of a run's data set."""
    return load_configured(config.data, data)


def load_run_images(run_dir: Path, config: RunConfig, data: Path | None) -> DataSet:
    """The images of an evaluated run's data set, for a command that goes on with the run.

    Raises UserError where their classes or size are not the run's, and where the run's images are
    the user's own and the training images are not those of the run.
    """
    data = data or place_of(run_dir)
    images, facts = load_images(config, data), DataFacts.load(run_dir)
    for what, here, there in (
        ("classes", images.class_names, facts.class_names),
        ("shape", images.image_shape, facts.image_shape),
    ):
        if here != there:
            raise UserError(
                f"{data or images.source}: the images have other {what} than those of {run_dir}, "
                f"{_short(here)} in place of {_short(there)}: name the run's images with --data"
            )
    own = config.data.source == "images" and is_done(run_dir, config)
    noted = images_of(run_dir) if own else None
    if noted is not None and fingerprint(images) != noted:
        raise UserError(
            f"{data}: {run_dir} was trained with other images: name the run's images with --data"
        )
    return images


def _short(values: tuple[object, ...]) -> str:
    """A few values in words."""
    text = ", ".join(map(str, values[:4]))
    return f"({text}, and {len(values) - 4} more)" if len(values) > 4 else f"({text})"


def evaluate_run(
    run_dir: Path,
    images: DataSet | None = None,
    device: torch.device | None = None,
    data: Path | None = None,
    predictions: Predictions | None = None,
    kinds: Collection[str] = (),
) -> None:
    """Measure a trained run and write its rows to RUN/rows, its outputs to RUN/predictions.

    Args:
        run_dir: the run's directory.
        images: the images of its data set, where they are loaded already.
        device: the device to measure on.
        data: where the images are; None: where they were when the run was trained.
        predictions: the network's outputs for the test images, where they are known.
        kinds: the kinds of rows to make; rows of other kinds stay as they are. Empty: all kinds
            but those of ON_REQUEST.

    Raises InUseError where another process trains or measures the run.
    """
    possible = [kind for kind in KINDS if kind not in ON_REQUEST]
    for kind in kinds:
        if kind not in possible:
            raise unknown_name("kind of rows", kind, possible)
    wanted = set(kinds or possible)
    config = read_config(run_dir)
    data = data or place_of(run_dir)
    images = images or load_images(config, data)
    device = device or choose_device()
    with working_in(run_dir):
        if predictions is None:
            _, model = load_trained(run_dir, device)
            predictions = predict_test_images(model, images, World(Placement(), device))
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
    run_dir: Path, config: RunConfig, images: DataSet, device: torch.device
) -> Provenance:
    """The provenance of numbers of a run that are measured now."""
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
    """Put measurements into RUN/rows in place of the rows of `kinds` there."""
    replace_rows(run_dir / "rows", rows_of(measurements, provenance), kinds)


def _measurements(
    run_dir: Path,
    images: DataSet,
    device: torch.device,
    predictions: Predictions,
    data: Path | None,
    wanted: Collection[str],
) -> Iterator[Measurement]:
    """The measurements of a run, also of kinds that are not wanted.

    Cheap ones are made in any case; those that need passes of their own over images are made only
    where they are wanted.
    """
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
    """Facts on a data set that commands on a trained run need; kept in RUN/data.json."""

    source: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    """(C, H, W)"""
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, images: DataSet) -> DataFacts:
        """The facts on a data set."""
        return cls(images.source, images.class_names, images.image_shape, images.mean, images.std)

    def save(self, run_dir: Path) -> None:
        """Write RUN/data.json."""
        write_text(run_dir / "data.json", json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, run_dir: Path) -> DataFacts:
        """Read RUN/data.json.

        UserError where the run was not evaluated, and where the facts are not those of its network.
        """
        path = run_dir / "data.json"
        if not path.exists():
            raise UserError(f"{path} does not exist: codepath evaluate {run_dir} writes it")
        model = read_config(run_dir).model
        try:
            facts: DataFacts = as_type(read_json(path), cls, "data")
            if (channels := facts.image_shape[0]) != model.in_chans:
                raise ValueError(f"{channels} channels, the network has {model.in_chans}")
            check_input(facts.image_shape, facts.mean, facts.std)
            if len(facts.class_names) != model.num_classes:
                raise ValueError(
                    f"{len(facts.class_names)} classes, the network has {model.num_classes}"
                )
        except ValueError as error:
            raise UserError(
                f"{path} is damaged ({error}): codepath evaluate {run_dir} writes it"
            ) from None
        return facts
