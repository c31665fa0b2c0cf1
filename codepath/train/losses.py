"""The losses of the energies (Eq. 5 and others) and the training objective (Eq. 6).

Shapes: B batch, N paths, K classes. Targets are (B,) class indices or (B, K) weights of the
classes, as mixup and label smoothing make them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codepath.models import CodedResNeXt
from codepath.run.objectives import ObjectiveConfig
from codepath.train.questions import Questions, question_costs, question_masks


def coding_loss(energies: Tensor, words: Tensor, ratio: float, exponent: float = 4) -> Tensor:
    """Eq. 5: mean over paths and batch of |r E_n - w_kn|^exponent.

    Args:
        energies: (B, N), energies of a coded block's normalised paths.
        words: (B, N), codeword of each image's class.
        ratio: r = Nact / N of the block.
        exponent: 4 in the paper.

    Returns:
        Scalar.
    """
    return _distances(ratio * energies, words, exponent).mean()


def _distances(scaled: Tensor, words: Tensor, exponent: float) -> Tensor:
    return (scaled - words.to(scaled.dtype)).abs().pow(exponent)


def power_costs(
    energies: Tensor, codewords: Tensor, targets: Tensor, ratio: float, exponent: float = 4
) -> Tensor:
    """Eq. 5 before its means: |r E_n - w_kn|^exponent of each image's class k and path n.

    For soft targets it is the expectation over the classes. Codewords are binary, so a path costs
    |r E_n - 1|^exponent with the weight of the classes that it belongs to, and |r E_n|^exponent
    with the others' weight: (B, N), never (B, K, N).

    Args:
        energies: (B, N), energies of a coded block's normalised paths.
        codewords: (K, N), zeros and ones.
        targets: (B,) or (B, K).
        ratio: r = Nact / N of the block.
        exponent: 4 in the paper.

    Returns:
        (B, N)
    """
    scaled = ratio * energies
    if targets.ndim == 1:
        return _distances(scaled, codewords[targets], exponent)
    with torch.autocast(energies.device.type, enabled=False):
        targets = targets.to(energies.dtype)
        inside = targets @ codewords.to(energies.dtype)  # (B, N)
        outside = targets.sum(1, keepdim=True) - inside
        return inside * (scaled - 1).abs().pow(exponent) + outside * scaled.abs().pow(exponent)


def score_costs(
    energies: Tensor, codewords: Tensor, targets: Tensor, ratio: float, scale: float
) -> Tensor:
    """Cross-entropy of the codeword scores scale * r <E, w_k> that Eq. 7 decides by.

    Args:
        energies, codewords, targets, ratio: as in `power_costs`.
        scale: tau.

    Returns:
        (B, 1)
    """
    with torch.autocast(energies.device.type, enabled=False):
        scores = (scale * ratio) * energies @ codewords.to(energies.dtype).T
        soft = targets if targets.ndim == 1 else targets.to(energies.dtype)
        return F.cross_entropy(scores, soft, reduction="none")[:, None]


def mean_cost(costs: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean of (B, M) costs over batch and M, the images weighed by (B,) weights."""
    return costs.mean() if weights is None else (costs.mean(1) * weights).mean()


class BlockLosses(NamedTuple):
    """A coded block's losses before their weights; None where the objective has no such term."""

    power: Tensor | None
    """Scalar, Eq. 5."""
    scores: Tensor | None
    """Scalar, cross-entropy of the codeword scores."""


def block_losses(
    recipe: ObjectiveConfig,
    energies: Tensor,
    codewords: Tensor,
    targets: Tensor,
    ratio: float,
    logits: Tensor,
    weights: Tensor | None = None,
) -> BlockLosses:
    """The losses of one coded block's energies that the recipe's objective has.

    Args:
        recipe: objective and settings.
        energies, codewords, targets, ratio: as in `power_costs`.
        logits: (B, K) of the network, whose softmax `energy_distillation` takes for targets.
        weights: (B,) weights of the images; None for 1.
    """
    terms = recipe.terms
    power = scores = None
    if terms.power:
        costs = power_costs(energies, codewords, targets, ratio, recipe.exponent)
        power = mean_cost(costs, weights)
    if terms.scores or terms.distilled:
        wanted = logits.detach().float().softmax(1) if terms.distilled else targets
        costs = score_costs(energies, codewords, wanted, ratio, recipe.score_scale)
        scores = mean_cost(costs, weights)
    return BlockLosses(power, scores)


def added_losses(recipe: ObjectiveConfig, blocks: Iterable[BlockLosses]) -> Tensor | float:
    """mu times the sum of Eq. 5 plus lambda times that of the scores' cross-entropies."""
    found = list(blocks)
    powers = [losses.power for losses in found if losses.power is not None]
    scores = [losses.scores for losses in found if losses.scores is not None]
    total: Tensor | float = recipe.mu * sum(powers)
    return total + recipe.score_weight * sum(scores) if scores else total


def _means_by_word(energies: Tensor, words: Tensor, weights: Tensor | None) -> Tensor:
    """(B, N) energies and codewords -> (2,), mean energy where the word is 1 and where it is 0."""
    active, inactive = words.to(energies.dtype), 1 - words.to(energies.dtype)
    if weights is not None:
        active, inactive = active * weights[:, None], inactive * weights[:, None]
    inside = (energies * active).sum() / active.sum()
    return torch.stack([inside, (energies * inactive).sum() / inactive.sum()])


class LossParts(NamedTuple):
    """The objective's value and what it is made of."""

    total: Tensor
    """Scalar."""
    cross_entropy: Tensor
    """Scalar."""
    coding: dict[int, Tensor]
    """Coded block number -> scalar, Eq. 5."""
    logits: Tensor
    """(B, K)"""
    energies: dict[int, Tensor]
    """Coded block number -> (2,): mean energy of the samples' active paths and of the others,
    without gradient."""
    scores: dict[int, Tensor]
    """Coded block number -> scalar, cross-entropy of the codeword scores."""
    questions: Tensor | None = None
    """Scalar, binary cross-entropy of the questions."""
    unasked: Tensor | None = None
    """(B,) bool: the images that were not asked, whose logits are the whole network's; None: all.
    """


class TrainingObjective(nn.Module):
    """A recipe's objective (see `codepath.run.objectives`), with the network as a submodule.

    So one wrapper (DDP, compile) covers network and loss. For a plain network the objective is the
    cross-entropy alone. With `gradient_masking` the coding loss is left out of the total, and
    gradients reach the class's own paths alone (the paper's footnote 5).
    """

    def __init__(self, model: nn.Module, recipe: ObjectiveConfig) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe

    def forward(
        self,
        images: Tensor,
        labels: Tensor,
        drop_masks: Mapping[int, Tensor] | None = None,
        questions: Questions | None = None,
    ) -> LossParts:
        """Normalised images (B, 3, H, W) and labels (B,) -> named parts.

        Args:
            images, labels: a batch.
            drop_masks: DropSubNNs' (see `CodedResNeXt.forward_coded`).
            questions: what the images are asked; None: nothing.
        """
        recipe, model = self.recipe, self.model
        if not isinstance(model, CodedResNeXt):
            logits = model(images)
            cross_entropy = self._cross_entropy(logits, labels, None)
            return LossParts(cross_entropy, cross_entropy, {}, logits, {}, {})
        logits, energies = model.forward_coded(
            images,
            path_masks=None if questions is None else question_masks(model, questions),
            gradient_keep=labels if recipe.gradient_masking else None,
            drop_masks=drop_masks,
        )
        weights = None if questions is None else ~questions.asked / (1 - recipe.asked)
        losses: dict[int, BlockLosses] = {}
        means: dict[int, Tensor] = {}
        for number, block in model.coded_blocks.items():
            losses[number] = block_losses(
                recipe, energies[number], block.codewords, labels, block.ratio, logits, weights
            )
            words = block.codewords[labels]
            means[number] = _means_by_word(energies[number].detach(), words, weights)
        total = cross_entropy = self._cross_entropy(logits, labels, weights)
        if not recipe.gradient_masking:
            total = total + added_losses(recipe, losses.values())
        answers = None
        if questions is not None:
            answers = (question_costs(logits, questions, labels) / recipe.asked).mean()
            total = total + recipe.question_weight * answers
        return LossParts(
            total,
            cross_entropy,
            {number: one.power for number, one in losses.items() if one.power is not None},
            logits,
            means,
            {number: one.scores for number, one in losses.items() if one.scores is not None},
            answers,
            None if questions is None else ~questions.asked,
        )

    def _cross_entropy(self, logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        """Mean over the batch, the images weighed by (B,) weights."""
        smoothing = self.recipe.label_smoothing
        if weights is None:
            return F.cross_entropy(logits.float(), labels, label_smoothing=smoothing)
        costs = F.cross_entropy(logits.float(), labels, reduction="none", label_smoothing=smoothing)
        return (costs * weights).mean()
