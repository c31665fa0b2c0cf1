"""Yes/no questions to images in training: "are you of class c?", asked of the paths of c alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from codepath.data.randomness import Draw, integers, uniform
from codepath.models import CodedResNeXt


class Questions(NamedTuple):
    """Which images of a batch are asked, and about which class."""

    asked: Tensor
    """(B,) bool."""
    classes: Tensor
    """(B,) class indices; without meaning where nothing is asked."""


def draw_questions(
    seed: int,
    epoch: int,
    indices: NDArray[np.int64],
    labels: Tensor,
    classes: int,
    share: float,
    own_share: float,
) -> Questions:
    """A batch's questions.

    A draw is a hash of (seed, epoch, sample), so that it does not depend on how the batch is shared
    out, nor on what was drawn before.

    Args:
        seed, epoch: of the run.
        indices: (B,) the images' places in the data set.
        labels: (B,) their classes.
        classes: K.
        share: probability that an image is asked.
        own_share: probability that it is then asked about its own class; else about another one,
            each as likely.
    """
    asked = uniform(seed, epoch, indices, Draw.ASKED) < share
    own = uniform(seed, epoch, indices, Draw.ASKED_OWN) < own_share
    other = 1 + integers(classes - 1, seed, epoch, indices, Draw.ASKED_CLASS)
    ahead = torch.from_numpy(np.where(own, 0, other))
    return Questions(torch.from_numpy(asked), (labels + ahead) % classes)


def question_masks(model: CodedResNeXt, questions: Questions) -> dict[int, Tensor]:
    """Coded block number -> (B, N): the asked class's paths, or all where nothing is asked."""
    free = ~questions.asked[:, None]
    return {
        number: (block.codewords[questions.classes].bool() | free).to(torch.float32)
        for number, block in model.coded_blocks.items()
    }


def question_costs(logits: Tensor, questions: Questions, targets: Tensor) -> Tensor:
    """Binary cross-entropy of the asked classes' logits against the truth.

    Args:
        logits: (B, K)
        questions: of the batch.
        targets: (B,) class indices, or (B, K) weights of the classes: the truth is then the asked
            class's weight.

    Returns:
        (B,), zero where nothing is asked.
    """
    asked = questions.classes[:, None]
    answers = logits.to(torch.promote_types(logits.dtype, torch.float32)).gather(1, asked)[:, 0]
    if targets.ndim == 1:
        truth = (questions.classes == targets).to(answers.dtype)
    else:
        truth = targets.to(answers.dtype).gather(1, asked)[:, 0].clamp(0, 1)
    costs = F.binary_cross_entropy_with_logits(answers, truth, reduction="none")
    return costs * questions.asked
