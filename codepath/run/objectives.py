"""The training objectives by name: what is added to the cross-entropy of the logits.

For an image of class y, coded block l with ratio r_l, energies E_l of Eq. 3 and codewords w_lk:

    power        P_l = mean over paths of |r_l E_ln - w_lyn|^exponent            (Eq. 5)
    score        s_lk = tau r_l <E_l, w_lk>, whose largest is Eq. 7's decision
    cross-entropy of the scores  D_l = -log softmax(s_l)_y
    distillation  the same with the network's own softmax, without gradient, in place of y

An objective that asks puts a yes/no question to a share of the images: "are you of class c?", where
c is the own class with probability `own_share`, else one of the others. Only c's paths act on such
an image, in every coded block, as in the binary classifier that is cut out for c, and

    Q = binary cross-entropy of c's logit against [c = y].

It has no other loss. With a the share that is asked, the objective is the sum of
mean(cross-entropy + mu sum_l P_l + lambda sum_l D_l) over the images that are not asked and
beta mean(Q) over those that are. Here tau is `score_scale`, lambda `score_weight`, a `asked` and
beta `question_weight` in the configuration. As a and 1 - a stand in place of the numbers that were
drawn, a batch's gradient does not depend on how the batch is shared out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from codepath.core.errors import UserError


def require(condition: bool, message: str) -> None:
    """UserError with the message about a configuration unless the condition holds."""
    if not condition:
        raise UserError(f"bad configuration: {message}")


def added(default: Any) -> Any:
    """A setting that is newer than some runs: at its default it is no part of the content hash.

    So its default must stay as it is.
    """
    return field(default=default, metadata={"added": True})


class Objective(NamedTuple):
    """Which terms an objective has."""

    power: bool = False
    """mu sum_l P_l."""
    scores: bool = False
    """lambda sum_l D_l, against the class."""
    distilled: bool = False
    """lambda sum_l D_l, against the network's softmax."""
    asks: bool = False
    """beta mean(Q)."""


OBJECTIVES = {
    "energy_power": Objective(power=True),
    "energy_cross_entropy": Objective(scores=True),
    "energy_power_and_cross_entropy": Objective(power=True, scores=True),
    "energy_distillation": Objective(power=True, distilled=True),
    "extraction": Objective(power=True, asks=True),
    "extraction_and_cross_entropy": Objective(power=True, scores=True, asks=True),
}
"""Name -> its terms. `energy_power` is the paper's, Eq. 6."""


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """An objective with its settings."""

    objective: str = added("energy_power")
    """A name of OBJECTIVES."""
    mu: float = 0.0
    """Weight of the coding loss (Eq. 6); 0 for an uncoded network."""
    exponent: float = 4.0
    """Exponent of the coding loss (Eq. 5)."""
    score_weight: float = added(0.3)
    """lambda: weight of a block's cross-entropy."""
    score_scale: float = added(8.0)
    """tau: scale of the codeword scores."""
    asked: float = added(0.125)
    """a: probability that an image is asked a yes/no question."""
    question_weight: float = added(0.5)
    """beta: weight of the questions' binary cross-entropy."""
    own_share: float = added(0.5)
    """Probability that an asked image is asked about its own class."""
    gradient_masking: bool = False
    """In place of the coding loss, let gradients reach only a class's own paths (footnote 5)."""
    label_smoothing: float = 0.0

    @property
    def terms(self) -> Objective:
        """What the objective is made of."""
        return OBJECTIVES[self.objective]

    def __post_init__(self) -> None:
        require(
            self.objective in OBJECTIVES,
            f"objective is '{self.objective}', must be one of {', '.join(OBJECTIVES)}",
        )
        require(self.mu >= 0, f"mu is {self.mu}, must not be negative")
        require(self.exponent > 0, f"exponent is {self.exponent}, must be positive")
        for name in ("score_weight", "question_weight"):
            value = getattr(self, name)
            require(0 <= value < math.inf, f"{name} is {value}, must not be negative")
        require(
            0 < self.score_scale < math.inf, f"score_scale is {self.score_scale}, must be positive"
        )
        require(0 < self.asked < 1, f"asked is {self.asked}, must lie between 0 and 1")
        require(0 <= self.own_share <= 1, f"own_share is {self.own_share}, must be in [0, 1]")
        require(
            not self.gradient_masking or self.objective == "energy_power",
            f"gradient_masking goes with the objective energy_power, not with {self.objective}",
        )
        require(
            0 <= self.label_smoothing < 1,
            f"label_smoothing is {self.label_smoothing}, must be in [0, 1)",
        )
