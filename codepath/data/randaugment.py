"""timm's RandAugment policies, with draws that depend on the sample alone.

Every draw is a hash of seed, epoch and sample, so that loaders and restarts agree to the bit.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from codepath.core.errors import UserError
from codepath.data.augment_operators import OPERATORS, apply_layers, arguments_at
from codepath.data.randomness import Draw, integers, uniform

_DRAWS_PER_LAYER = 4


class Decisions(NamedTuple):
    """What a policy does to B samples, in order; every array is (B, layers)."""

    operators: NDArray[np.int64]
    """Places in OPERATORS."""
    applied: NDArray[np.bool_]
    negative: NDArray[np.bool_]
    """The coin of operators with a sign."""
    bicubic: NDArray[np.bool_]
    """The filter of geometric operators; else bilinear."""
    magnitudes: NDArray[np.float64]
    """Clipped to [0, the policy's upper bound]."""


_PART = re.compile(r"([a-z]+)(\d.*)")
_DEFAULTS = {"m": 10, "n": 2, "p": 0.5, "mstd": 0, "mmax": 10, "inc": 0}
_WHOLE = ("m", "n", "mmax", "inc")
_UNIFORM_ABOVE = 100
"""timm: a larger mstd means magnitudes uniform in [0, m]."""


@dataclass(frozen=True)
class RandAugment:
    """A policy: `layers` operators, each applied with `probability`, as timm's.

    Posterize to 0 bits (magnitudes below 2.5, without `increasing`) gives a black image, as timm
    did on earlier Pillow; today's Pillow refuses it. With `posterize_min_bits` 1 the highest
    bit stays.
    """

    magnitude: int
    layers: int
    probability: float
    fill: tuple[int, int, int]
    deviation: float = 0.0
    """Of normal magnitudes around `magnitude`; infinite: uniform in [0, magnitude]; 0: constant."""
    upper_bound: int = 10
    """Magnitudes are clipped to [0, upper_bound]."""
    increasing: bool = False
    """See `level_to_argument`."""
    posterize_min_bits: int = 0
    """0 or 1."""

    def __post_init__(self) -> None:
        if self.posterize_min_bits not in (0, 1):
            raise UserError(f"posterize_min_bits is {self.posterize_min_bits}, must be 0 or 1")

    @classmethod
    def parse(
        cls, policy: str, mean: tuple[float, ...], posterize_min_bits: int = 0
    ) -> RandAugment:
        """A policy from timm's name, such as rand-m4-n3 or rand-m9-n2-mstd0.5-inc1.

        As in timm, magnitudes above mmax (10 where it is absent or 0) count as mmax. Raises
        UserError for what timm does not know or would pass over, and for operator sets (t...).

        Args:
            policy: "rand" and, by hyphens in any order, m (magnitude, default 10), n (layers, 2),
                p (probability, 0.5), mstd (deviation of the magnitude, 0; above 100: uniform in
                [0, m]), mmax (upper bound of magnitudes), inc (1: `increasing`).
            mean: the data set's, per channel in [0, 1]: the fill colour is round(255 mean).
            posterize_min_bits: 0 or 1, see the class.
        """
        kind, *parts = policy.split("-")
        known = (
            f"'{policy}': write rand-m<magnitude>-n<layers>, and where wanted "
            "-p<probability> -mstd<deviation> -mmax<bound> -inc1"
        )
        if kind != "rand":
            raise UserError(f"unknown RandAugment policy {known}")
        given: dict[str, float] = {}
        for part in parts:
            match = _PART.fullmatch(part)
            key = match[1] if match else part
            if match is None or key not in _DEFAULTS:
                raise UserError(f"unknown part '{part}' of the RandAugment policy {known}")
            if key in given:
                raise UserError(f"{key} stands twice in the RandAugment policy {known}")
            try:
                given[key] = int(match[2]) if key in _WHOLE else float(match[2])
            except ValueError:
                number = "whole number" if key in _WHOLE else "number"
                raise UserError(f"'{part}' needs a {number} in {known}") from None
        values = _DEFAULTS | given
        if values["n"] < 1 or values["p"] > 1 or values["inc"] > 1:
            raise UserError(f"layers from 1, probability to 1, inc 0 or 1 in {known}")
        red, green, blue = (min(255, round(255 * value)) for value in mean)
        return cls(
            magnitude=int(values["m"]),
            layers=int(values["n"]),
            probability=values["p"],
            fill=(red, green, blue),
            deviation=math.inf if values["mstd"] > _UNIFORM_ABOVE else values["mstd"],
            upper_bound=int(values["mmax"]) or 10,
            increasing=bool(values["inc"]),
            posterize_min_bits=posterize_min_bits,
        )

    def apply(
        self,
        images: NDArray[np.uint8],
        rows: NDArray[np.int64],
        seed: int,
        epoch: int,
        indices: NDArray[np.int64],
        out: NDArray[np.uint8],
    ) -> None:
        """Write the augmented images[rows] to `out` (see Augmentation.apply)."""
        decisions = self.draw(seed, epoch, indices)
        apply_layers(
            images,
            rows,
            decisions.operators,
            decisions.applied,
            self.arguments(decisions),
            decisions.bicubic,
            np.array(self.fill, np.uint8),
            out,
        )

    def arguments(self, decisions: Decisions) -> NDArray[np.float64]:
        """(B, layers) arguments of the operators, signed."""
        if not self.deviation:
            return self._constant_arguments[decisions.operators, decisions.negative.astype(int)]
        return self._arguments_at(decisions.operators, decisions.magnitudes, decisions.negative)

    @cached_property
    def _constant_arguments(self) -> NDArray[np.float64]:
        """(operators, 2): arguments at the policy's magnitude, for both outcomes of the coin."""
        operators, negative = np.indices((len(OPERATORS), 2))
        magnitudes = np.full(operators.shape, np.clip(self.magnitude, 0.0, self.upper_bound))
        return self._arguments_at(operators, magnitudes, negative == 1)

    def _arguments_at(
        self,
        operators: NDArray[np.int64],
        magnitudes: NDArray[np.float64],
        negative: NDArray[np.bool_],
    ) -> NDArray[np.float64]:
        arguments = np.zeros(operators.shape)
        for number, name in enumerate(OPERATORS):
            here = operators == number
            values = arguments_at(name, magnitudes[here], negative[here], self.increasing)
            if name == "Posterize":
                values = np.maximum(values, self.posterize_min_bits)
            arguments[here] = values
        return arguments

    def draw(self, seed: int, epoch: int, indices: NDArray[np.int64]) -> Decisions:
        """What happens to the samples `indices` (B,) in an epoch."""
        columns = []
        for layer in range(self.layers):
            first = Draw.RANDAUGMENT + _DRAWS_PER_LAYER * layer
            columns.append(
                (
                    integers(len(OPERATORS), seed, epoch, indices, first),
                    uniform(seed, epoch, indices, first + 1) < self.probability,
                    integers(2, seed, epoch, indices, first + 2) == 1,
                    integers(2, seed, epoch, indices, first + 3) == 1,
                    self._magnitudes(seed, epoch, indices, layer),
                )
            )
        return Decisions(*(np.stack(values, 1) for values in zip(*columns, strict=True)))

    def _magnitudes(
        self, seed: int, epoch: int, indices: NDArray[np.int64], layer: int
    ) -> NDArray[np.float64]:
        """(B,) of one layer."""
        values = np.full(len(indices), float(self.magnitude))
        if self.deviation:
            chance = uniform(seed, epoch, indices, Draw.RANDAUGMENT_MAGNITUDE + layer)
            if math.isinf(self.deviation):
                values *= chance
            else:
                values += self.deviation * ndtri(chance)
        return np.clip(values, 0.0, self.upper_bound)
