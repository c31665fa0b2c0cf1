"""The coding loss and the training objective (Eq. 5-6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codepath.models import CodedResNeXt


def coding_loss(energies: Tensor, codewords: Tensor, ratio: float, exponent: float = 4) -> Tensor:
    """Eq. 5: mean over paths and batch of |r E_n - w_kn|^exponent.

    Args:
        energies: (B, N), energies of a coded block's normalised paths.
        codewords: (B, N), codeword of each sample's class.
        ratio: r = Nact / N of the block.
        exponent: 4 in the paper.

    Returns:
        Scalar.
    """
    difference = ratio * energies - codewords.to(energies.dtype)
    return difference.abs().pow(exponent).mean()


def _means_by_word(energies: Tensor, words: Tensor) -> Tensor:
    """(B, N) energies and codewords -> (2,), mean energy where the word is 1 and where it is 0."""
    active = words.to(energies.dtype)
    inside = (energies * active).sum() / active.sum()
    return torch.stack([inside, (energies * (1 - active)).sum() / (1 - active).sum()])


class LossParts(NamedTuple):
    """The objective's value and what it is made of."""

    total: Tensor
    """Scalar, Eq. 6."""
    cross_entropy: Tensor
    """Scalar."""
    coding: dict[int, Tensor]
    """Coded block number -> scalar, Eq. 5."""
    logits: Tensor
    """(B, K)"""
    energies: dict[int, Tensor]
    """Coded block number -> (2,): mean energy of the samples' active paths and of the others,
    without gradient."""


class TrainingObjective(nn.Module):
    """Eq. 6: cross-entropy + mu * sum of the coding losses over the coded blocks.

    The network is a submodule, so that one wrapper (DDP, compile) covers network and loss.
    For a plain network the coding part is empty. With `gradient_masking` it is left out of the
    total, and gradients reach the class's own paths alone (the paper's footnote 5).
    """

    def __init__(
        self,
        model: nn.Module,
        mu: float,
        exponent: float = 4,
        label_smoothing: float = 0.0,
        gradient_masking: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.mu = mu
        self.exponent = exponent
        self.label_smoothing = label_smoothing
        self.gradient_masking = gradient_masking

    def forward(
        self, images: Tensor, labels: Tensor, drop_masks: Mapping[int, Tensor] | None = None
    ) -> LossParts:
        """Normalised images (B, 3, H, W) and labels (B,) -> named parts.

        `drop_masks` are DropSubNNs' (see `CodedResNeXt.forward_coded`).
        """
        coding: dict[int, Tensor] = {}
        means: dict[int, Tensor] = {}
        if isinstance(self.model, CodedResNeXt):
            own = labels if self.gradient_masking else None
            logits, energies = self.model.forward_coded(
                images, gradient_keep=own, drop_masks=drop_masks
            )
            for number, block in self.model.coded_blocks.items():
                words = block.codewords[labels]
                coding[number] = coding_loss(energies[number], words, block.ratio, self.exponent)
                means[number] = _means_by_word(energies[number].detach(), words)
        else:
            logits = self.model(images)
        cross_entropy = F.cross_entropy(
            logits.float(), labels, label_smoothing=self.label_smoothing
        )
        total = cross_entropy
        if not self.gradient_masking:
            total = total + self.mu * sum(coding.values())
        return LossParts(total, cross_entropy, coding, logits, means)


def coding_loss_soft(
    energies: Tensor, codewords: Tensor, targets: Tensor, ratio: float, exponent: float = 4
) -> Tensor:
    """Eq. 5 for soft targets: sum over classes k of targets_k times the coding loss to class k.

    Codewords are binary, so a path costs |r E_n - 1|^exponent with the weight of the classes
    that it belongs to, and |r E_n|^exponent with the others' weight: (B, N), never (B, K, N).

    Args:
        energies: (B, N), energies of a coded block's normalised paths.
        codewords: (K, N), zeros and ones.
        targets: (B, K), weights of the classes (mixup, label smoothing).
        ratio: r = Nact / N of the block.
        exponent: 4 in the paper.

    Returns:
        Scalar; for one-hot targets that of `coding_loss`.
    """
    with torch.autocast(energies.device.type, enabled=False):
        targets = targets.to(energies.dtype)
        inside = targets @ codewords.to(energies.dtype)  # (B, N)
        outside = targets.sum(1, keepdim=True) - inside
        scaled = ratio * energies
        cost = inside * (scaled - 1).abs().pow(exponent) + outside * scaled.abs().pow(exponent)
        return cost.mean()
