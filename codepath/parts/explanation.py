"""`codepath explain`, `paths` and `explore`: the paths that images take, to be looked at."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codepath.codes.decoding import codeword_scores
from codepath.core.errors import UserError
from codepath.core.photos import Photo, read_photo
from codepath.data import ArrayDataSet
from codepath.data.files import decode
from codepath.data.resize import central_crop
from codepath.evaluate import Predictions, exit_costs
from codepath.evaluate.paths import BlockPaths, block_paths
from codepath.evaluate.thresholds import Objective
from codepath.models import CodedOutput, CodedResNeXt, EarlyExit, load_early_exit
from codepath.models.classifier_file import normalised_image
from codepath.models.early_exit import (
    NETWORK_END,
    combined_scores,
    confidence,
    count_agreeing,
)
from codepath.parts.exit_settings import ExitOptions, fit_exits
from codepath.parts.judgement import kept_threshold
from codepath.parts.trained_run import find_run, load_coded
from codepath.pipeline.measure import DataFacts, load_run_images


@dataclass(frozen=True)
class BlockView:
    """One coded block of an explanation."""

    block: int
    scaled_energies: list[float]
    """(N,) r E: 1 where a path is fully used, 0 where it is idle"""
    decision: str
    confidence: float
    leaves: bool
    """Whether the image would leave here (it may have left before)."""
    saved: float
    """Share of the network's multiply-adds that are left out by leaving here."""
    codewords: dict[str, str]
    """Top class -> codeword."""
    distances: dict[str, float]
    """Top class -> |r E - w|."""


@dataclass(frozen=True)
class Answer:
    """What a class's binary classifier says of an image."""

    class_name: str
    score: float
    """Its logit."""
    threshold: float | None
    """Of best F1 on training images; None where the run has none."""
    yes: bool | None
    """score >= threshold."""


@dataclass(frozen=True)
class Explanation:
    """The path that an image takes."""

    image: str
    notes: tuple[str, ...]
    """What was done to the image before the network saw it."""
    truth: str | None
    prediction: str
    probabilities: dict[str, float]
    """Softmax of the top classes."""
    exit_block: int | None
    """Where it leaves; None: at the network's end."""
    exit_decision: str
    saved: float
    """Share of the network's multiply-adds that are left out by leaving there."""
    criterion: str
    blocks: list[BlockView]
    answers: list[Answer]
    """Of the likeliest classes, MOST_ANSWERS at most, in the order of the classes."""
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

    def words(self) -> str:
        """A few lines for a reader."""
        chances = ", ".join(f"{name} {p:.0%}" for name, p in self.probabilities.items())
        notes = f" ({', '.join(self.notes)})" if self.notes else ""
        truth = f"; it is of class {self.truth}" if self.truth else ""
        lines = [f"{self.image}{notes}: {chances}{truth}"]
        lines += [
            f"block {view.block} says {view.decision}; its paths carry "
            + " ".join(f"{energy:.1f}" for energy in view.scaled_energies)
            for view in self.blocks
        ]
        if self.exit_block is None:
            lines.append("no block is sure enough to stop early")
        else:
            lines.append(
                f"with early exits it stops at block {self.exit_block} and says "
                f"{self.exit_decision}; this saves {self.saved:.0%} of the multiply-adds"
            )
        yes = [answer.class_name for answer in self.answers if answer.yes]
        judged = any(answer.yes is not None for answer in self.answers)
        if judged:
            lines.append(f"binary classifiers that say yes: {', '.join(yes) or 'none'}")
        return "\n".join(lines)


MOST_ANSWERS = 10
_F1 = Objective("f1")


class Explainer:
    """A trained coded network, loaded once, that explains images.

    RUN/exits.json is used where there is one, else the exits are set with the default of `codepath
    exits`.

    Raises UserError for a plain network and for a run that was not evaluated.
    """

    def __init__(self, run: Path | str) -> None:
        """Load an evaluated run from its directory, or a network that comes along by its name."""
        self.run_dir = run_dir = find_run(str(run))
        self.config, self.model, self.device = load_coded(run_dir)
        self.facts = DataFacts.load(run_dir)
        settings = run_dir / "exits.json"
        self.exits = (
            load_early_exit(self.model, settings)
            if settings.exists()
            else fit_exits(run_dir, ExitOptions()).exits.to(self.device)
        )
        costs = exit_costs(self.model, self.facts.image_shape).macs
        self._saved = {block: 1 - macs / costs[NETWORK_END] for block, macs in costs.items()}
        self._thresholds: dict[int, float | None] = {}

    def read(self, data: bytes, name: str) -> Photo:
        """An encoded image as the network takes it; UserError where it cannot be read.

        Where the run's data are photographs of any size, the evaluation's central crop is taken.
        """
        crop = self.config.data.crop
        if not crop:
            return read_photo(data, name, self.facts.image_shape)
        return Photo(central_crop(decode(data, name), crop), (f"the central crop of {crop}",))

    @torch.inference_mode()
    def explain(
        self,
        photo: Photo,
        name: str,
        truth: str | None = None,
        top: int = 3,
        off: Mapping[int, Collection[int]] | None = None,
    ) -> Explanation:
        """How the network comes to its answer on one image.

        Args:
            photo: of the network's very shape.
            name: of the image.
            truth: its class, where it is known.
            top: classes to show, the most likely ones of the network's end.
            off: coded block number -> paths, from 0, that are switched off.
        """
        model, names = self.model, self.facts.class_names
        x = normalised_image(photo.pixels, self.facts.image_shape, self.facts.mean, self.facts.std)[
            None
        ].to(self.device)
        masks = self._masks(off or {})
        output = model.forward_coded(x, path_masks=masks)
        chance = output.logits[0].softmax(0)
        best = chance.topk(min(top, len(chance))).indices.tolist()
        views = _block_views(model, output, self.exits, names, best, self._saved)
        left = next((view for view in views if view.leaves), None)
        prediction = names[int(chance.argmax())]
        return Explanation(
            image=name,
            notes=photo.notes,
            truth=truth,
            prediction=prediction,
            probabilities={names[k]: float(chance[k]) for k in best},
            exit_block=left.block if left else None,
            exit_decision=left.decision if left else prediction,
            saved=left.saved if left else 0.0,
            criterion=self.exits.criterion,
            blocks=views,
            answers=self._answers(x, chance, masks),
            pixels=photo.pixels.tolist(),
        )

    def _masks(self, off: Mapping[int, Collection[int]]) -> dict[int, Tensor]:
        """Coded block number -> (N,) mask of the blocks with paths that are switched off."""
        masks = {}
        for number, paths in off.items():
            if paths:
                mask = torch.ones(self.model.paths, device=self.device)
                mask[list(paths)] = 0
                masks[number] = mask
        return masks

    def _answers(self, x: Tensor, chance: Tensor, masks: Mapping[int, Tensor]) -> list[Answer]:
        """The binary classifiers of the likeliest classes, paths that are off left out."""
        asked = sorted(chance.topk(min(MOST_ANSWERS, len(chance))).indices.tolist())
        first = min(self.model.coded_blocks)
        features = self.model.forward_until(x, first).expand(len(asked), -1, -1, -1)
        classes = torch.tensor(asked, device=self.device)
        logits = self.model.forward_coded(
            features, keep=classes, path_masks=masks, first_block=first
        ).logits
        answers = []
        for row, k in enumerate(asked):
            if k not in self._thresholds:
                self._thresholds[k] = kept_threshold(self.run_dir, k, len(chance), _F1)
            score, threshold = float(logits[row, k]), self._thresholds[k]
            yes = None if threshold is None else score >= threshold
            answers.append(Answer(self.facts.class_names[k], score, threshold, yes))
        return answers


def explain_image(run_dir: Path, image: str, top: int, data: Path | None) -> Explanation:
    """How a trained coded network comes to its answer on one image.

    Args:
        run_dir: an evaluated run.
        image: an image file, or test:NUMBER for one of the data set's test images.
        top: classes to show, the most likely ones of the network's end.
        data: where the data set is, for test:NUMBER.

    Raises UserError as `Explainer` does, and for a file that is no image.
    """
    explainer = Explainer(run_dir)
    photo, truth = _picked_image(explainer, image, data)
    return explainer.explain(photo, image, truth, top)


def _block_views(
    model: CodedResNeXt,
    output: CodedOutput,
    exits: EarlyExit,
    class_names: Sequence[str],
    best: Sequence[int],
    saved: Mapping[int, float],
) -> list[BlockView]:
    """What every coded block says of one image.

    Args:
        model: a coded network.
        output: of one image, B = 1.
        exits: set for the network.
        class_names: of all classes.
        best: classes to show besides each block's own decision.
        saved: block number -> share of the multiply-adds left out by leaving there.
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
                scaled_energies=[float(e) for e in block.ratio * energies[0]],
                decision=class_names[int(decided[0])],
                confidence=sure,
                leaves=sure >= threshold,
                saved=saved[number],
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


def _picked_image(explainer: Explainer, image: str, data: Path | None) -> tuple[Photo, str | None]:
    """An image file's or test:NUMBER's image, with its class where it is known."""
    place = image.removeprefix("test:")
    if place == image:
        try:
            encoded = Path(image).read_bytes()
        except OSError as error:
            raise UserError(f"cannot read {image} as an image: {error.strerror}") from None
        return explainer.read(encoded, image), None
    images = load_run_images(explainer.run_dir, explainer.config, data)
    if not place.isdecimal() or int(place) >= len(images.test):
        raise UserError(f"{image}: test images are test:0 to test:{len(images.test) - 1}")
    index = int(place)
    truth = explainer.facts.class_names[int(images.test.labels[index])]
    pixels: NDArray[np.uint8]
    if isinstance(images, ArrayDataSet):
        pixels = images.test.images[index]
    else:
        pixels = central_crop(images.test.image(index), images.test.crop)
    return Photo(pixels, ()), truth


def run_paths(run_dir: Path) -> tuple[dict[int, BlockPaths], DataFacts]:
    """Coded block number -> measured paths beside the codewords, from saved predictions."""
    _, model, _ = load_coded(run_dir)
    predictions = Predictions.load(run_dir / "predictions" / "test.npz")
    return {
        number: block_paths(predictions.energies[number], predictions.labels, block.scheme)
        for number, block in model.coded_blocks.items()
    }, DataFacts.load(run_dir)
