"""`codepath explain` and `codepath paths`: the paths that images take, to be looked at."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from codepath.codes.decoding import codeword_scores
from codepath.core.errors import UserError
from codepath.data import ArrayDataSet
from codepath.data.files import decode
from codepath.data.resize import central_crop
from codepath.evaluate import Predictions
from codepath.evaluate.paths import BlockPaths, block_paths
from codepath.models import CodedOutput, CodedResNeXt, EarlyExit, load_early_exit
from codepath.models.classifier_file import (
    normalised_image,
    read_image,
)
from codepath.models.early_exit import combined_scores, confidence, count_agreeing
from codepath.parts.exit_settings import ExitOptions, fit_exits
from codepath.parts.trained_run import load_coded
from codepath.pipeline.measure import DataFacts, load_images
from codepath.run.config import RunConfig


@dataclass(frozen=True)
class BlockView:
    """One coded block of an explanation."""

    block: int
    energies: list[float]
    """(N,) r E: 1 where a path is fully used, 0 where it is idle"""
    decision: str
    confidence: float
    leaves: bool
    """Whether the image would leave here (it may have left before)."""
    codewords: dict[str, str]
    """Top class -> codeword."""
    distances: dict[str, float]
    """Top class -> |r E - w|."""


@dataclass(frozen=True)
class Explanation:
    """The path that an image takes."""

    image: str
    truth: str | None
    prediction: str
    probabilities: dict[str, float]
    """Softmax of the top classes."""
    exit_block: int
    """Where it leaves; 0: at the network's end."""
    exit_decision: str
    criterion: str
    blocks: list[BlockView]
    pixels: list[Any]
    """(H, W, C) uint8"""

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    def to_json(self) -> str:
        """All but the pixels."""
        content = self.to_dict()
        del content["pixels"]
        return json.dumps(content, indent=1) + "\n"


def explain_image(run_dir: Path, image: str, top: int, data: Path | None) -> Explanation:
    """How a trained coded network comes to its answer on one image.

    Args:
        run_dir: an evaluated run; its exits.json is used where there is one, else the exits
            are set with the default of `codepath exits`.
        image: an image file, or test:NUMBER for one of the data set's test images.
        top: classes to show, the most likely ones of the network's end.
        data: where the data set is, for test:NUMBER.

    Raises UserError for a plain network, a file that is no image, and another size or mode than
    the network takes, unless its data set's images have many sizes: then it takes all.
    """
    config, model, device = load_coded(run_dir)
    facts = DataFacts.load(run_dir)
    pixels, truth = _picked_image(config, facts, image, data)
    settings = run_dir / "exits.json"
    exits = (
        load_early_exit(model, settings)
        if settings.exists()
        else fit_exits(run_dir, ExitOptions()).exits.to(device)
    )
    x = normalised_image(pixels, facts.image_shape, facts.mean, facts.std)[None].to(device)
    with torch.inference_mode():
        output = model.forward_coded(x)
        left = exits(x)
    chance = output.logits[0].softmax(0)
    best = chance.topk(min(top, len(chance))).indices.tolist()
    return Explanation(
        image=image,
        truth=truth,
        prediction=facts.class_names[int(chance.argmax())],
        probabilities={facts.class_names[k]: float(chance[k]) for k in best},
        exit_block=int(left.exits[0]),
        exit_decision=facts.class_names[int(left.classes[0])],
        criterion=exits.criterion,
        blocks=_block_views(model, output, exits, facts.class_names, best),
        pixels=pixels.tolist(),
    )


def _block_views(
    model: CodedResNeXt,
    output: CodedOutput,
    exits: EarlyExit,
    class_names: Sequence[str],
    best: Sequence[int],
) -> list[BlockView]:
    """What every coded block says of one image.

    Args:
        model: a coded network.
        output: of one image, B = 1.
        exits: set for the network.
        class_names: of all classes.
        best: classes to show besides each block's own decision.
    """
    history: list[Tensor] = []
    previous = agreeing = None
    views = []
    for number, block in model.coded_blocks.items():
        energies = output.energies[number]
        own = codeword_scores(energies, block.codewords, block.ratio)
        scores, threshold = own, float("inf")
        if number in exits.thresholds:
            history.append(own)
            weights = None if exits.weights is None else exits.weights[number]
            scores, threshold = combined_scores(history, weights), exits.thresholds[number]
        decided = scores.argmax(1)
        in_a_row = count_agreeing(decided, previous, agreeing)
        if number in exits.thresholds:  # other blocks have no say
            previous, agreeing = decided, in_a_row
        sure = float(confidence(exits.criterion, scores, in_a_row)[0])
        shown = list(dict.fromkeys([*best, int(decided[0])]))
        names = {k: class_names[k] for k in shown}
        views.append(
            BlockView(
                block=number,
                energies=[float(e) for e in block.ratio * energies[0]],
                decision=class_names[int(decided[0])],
                confidence=sure,
                leaves=sure >= threshold,
                codewords={
                    name: "".join(map(str, block.codewords[k].tolist()))
                    for k, name in names.items()
                },
                distances={
                    name: float((-own[0, k]).clamp_min(0).sqrt()) for k, name in names.items()
                },
            )
        )
    return views


def _picked_image(
    config: RunConfig, facts: DataFacts, image: str, data: Path | None
) -> tuple[np.ndarray, str | None]:
    """(H, W, C) pixels of a file or of test:NUMBER, with its class where it is known.

    Where the run's data are photographs of any size, the evaluation's central crop is taken.
    """
    place = image.removeprefix("test:")
    if place == image:
        if not config.data.crop:
            return read_image(image, facts.image_shape), None
        try:
            encoded = Path(image).read_bytes()
        except OSError as error:
            raise UserError(f"cannot read {image} as an image: {error.strerror}") from None
        return central_crop(decode(encoded, image), config.data.crop), None
    images = load_images(config, data)
    if not place.isdecimal() or int(place) >= len(images.test):
        raise UserError(f"{image}: test images are test:0 to test:{len(images.test) - 1}")
    index = int(place)
    truth = facts.class_names[int(images.test.labels[index])]
    if isinstance(images, ArrayDataSet):
        return images.test.images[index], truth
    return central_crop(images.test.image(index), images.test.crop), truth


def run_paths(run_dir: Path) -> tuple[dict[int, BlockPaths], DataFacts]:
    """Coded block number -> measured paths beside the codewords, from saved predictions."""
    _, model, _ = load_coded(run_dir)
    predictions = Predictions.load(run_dir / "predictions" / "test.npz")
    return {
        number: block_paths(predictions.energies[number], predictions.labels, block.scheme)
        for number, block in model.coded_blocks.items()
    }, DataFacts.load(run_dir)
