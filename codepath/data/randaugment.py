"""timm's RandAugment on uint8 arrays, bit for bit, with draws that depend on the sample alone.

The 15 operators equal timm's on Pillow in every pixel. Arithmetic follows Pillow's: float32 for
blending, float64 for geometry and contrast, truncation instead of rounding; no fast-math.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from codepath.core.errors import UserError, unknown_name
from codepath.data.randomness import Draw, integers, uniform

OPERATORS = (
    "AutoContrast",
    "Equalize",
    "Invert",
    "Rotate",
    "Posterize",
    "Solarize",
    "SolarizeAdd",
    "Color",
    "Contrast",
    "Brightness",
    "Sharpness",
    "ShearX",
    "ShearY",
    "TranslateXRel",
    "TranslateYRel",
)
"""timm's operators in its order."""

_DRAWS_PER_LAYER = 4


def level_to_argument(
    operator: str, magnitude: float, negative: bool = False, increasing: bool = False
) -> float:
    """timm's argument of an operator at a magnitude (10 is the usual end of the scale).

    Degrees for Rotate, bits kept for Posterize, thresholds and sums in pixel values, blending
    factors, shear factors, shares of the width or height. Source: timm.data.auto_augment.

    Args:
        operator: a name of OPERATORS.
        magnitude: from 0.
        negative: the outcome of the coin of operators that have a sign.
        increasing: timm's `inc`: Posterize, Solarize and the blending operators get stronger
            with the magnitude; the latter then have a sign too.
    """
    return float(_arguments(operator, np.array(magnitude), np.array(negative), increasing))


def _arguments(
    operator: str,
    magnitude: NDArray[np.float64],
    negative: NDArray[np.bool_],
    increasing: bool,
) -> NDArray[np.float64]:
    """`level_to_argument` of arrays. The order of the operations is timm's: it decides
    truncations."""
    level = magnitude / 10
    sign = np.where(negative, -1.0, 1.0)
    if operator == "Rotate":
        return sign * (level * 30)
    if operator == "Posterize":
        bits = np.trunc(level * 4)
        return 4 - bits if increasing else bits
    if operator == "Solarize":
        threshold = np.minimum(256, np.trunc(level * 256))
        return 256 - threshold if increasing else threshold
    if operator == "SolarizeAdd":
        return np.minimum(128, np.trunc(level * 110))
    if operator in ("Color", "Contrast", "Brightness", "Sharpness"):
        if increasing:
            return np.maximum(0.1, 1.0 + sign * (level * 0.9))
        return level * 1.8 + 0.1
    if operator in ("ShearX", "ShearY"):
        return sign * (level * 0.3)
    if operator in ("TranslateXRel", "TranslateYRel"):
        return sign * (level * 0.45)
    return np.zeros_like(level)


@numba.njit(nogil=True, cache=True)
def _grey(r: int, g: int, b: int) -> int:
    return (19595 * r + 38470 * g + 7471 * b + 32768) >> 16


@numba.njit(nogil=True, cache=True)
def _blend(image: int, degenerate: int, factor: np.float32) -> int:
    value = np.float32(degenerate) + factor * np.float32(image - degenerate)
    if value <= np.float32(0):
        return 0
    if value >= np.float32(255):
        return 255
    return int(value)


@numba.njit(nogil=True, cache=True)
def _map(image: NDArray[np.uint8], out: NDArray[np.uint8], table: NDArray[np.uint8]) -> None:
    """out = table[image], for both (H, W, C)."""
    source, target = image.reshape(-1), out.reshape(-1)
    for i in range(len(source)):
        target[i] = table[source[i]]


@numba.njit(nogil=True, cache=True)
def _lookup(image: NDArray[np.uint8], out: NDArray[np.uint8], equalize: bool) -> None:
    """AutoContrast or Equalize: a table per channel, made from its histogram."""
    H, W, C = image.shape
    lut = np.empty(256, np.uint8)
    for c in range(C):
        counts = np.zeros(256, np.int64)
        for y in range(H):
            for x in range(W):
                counts[image[y, x, c]] += 1
        low, high, occupied = 255, 0, 0
        for v in range(256):
            lut[v] = v
            if counts[v]:
                occupied += 1
                low, high = min(low, v), max(high, v)
        if equalize:
            step = (H * W - counts[high]) // 255
            if occupied > 1 and step:
                n = step // 2
                for v in range(256):
                    lut[v] = min(n // step, 255)
                    n += counts[v]
        elif high > low:
            scale = 255.0 / (high - low)
            offset = -low * scale
            for v in range(256):
                value = int(v * scale + offset)
                lut[v] = min(max(value, 0), 255)
        for y in range(H):
            for x in range(W):
                out[y, x, c] = lut[image[y, x, c]]


@numba.njit(nogil=True, cache=True)
def _cubic(v1: float, v2: float, v3: float, v4: float, d: float) -> float:
    """Pillow's cubic of its transforms (a = -1)."""
    p1 = v2
    p2 = -v1 + v3
    p3 = 2 * (v1 - v2) + v3 - v4
    p4 = -v1 + v2 - v3 + v4
    return p1 + d * (p2 + d * (p3 + d * p4))


@numba.njit(nogil=True, cache=True)
def _extended(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H + 4, W + 4, 3): two more pixels on each side, equal to the nearest."""
    H, W, C = image.shape
    out = np.empty((H + 4, W + 4, C), np.uint8)
    for y in range(H + 4):
        line = image[min(max(y - 2, 0), H - 1)]
        out[y, 2 : W + 2] = line
        for x in (0, 1):
            out[y, x] = line[0]
            out[y, W + 2 + x] = line[W - 1]
    return out


@numba.njit(nogil=True, cache=True)
def _cubic_along(pixels: NDArray[np.uint8], place: np.uint64, step: np.uint64, d: float) -> float:
    """`_cubic` of four pixels `step` apart, of which the second is at `place`."""
    return _cubic(
        float(pixels[place - step]),
        float(pixels[place]),
        float(pixels[place + step]),
        float(pixels[place + step + step]),
        d,
    )


@numba.njit(nogil=True, cache=True)
def _linear(first: float, second: float, d: float) -> float:
    return first + (second - first) * d


@numba.njit(nogil=True, cache=True)
def _affine(
    image: NDArray[np.uint8],
    out: NDArray[np.uint8],
    matrix: tuple[float, float, float, float, float, float],
    bicubic: bool,
    fill: NDArray[np.uint8],
) -> None:
    """Inverse map of output pixel centres through (a b c; d e f), as Pillow's transform."""
    H, W, _ = image.shape
    a, b, c, d, e, f = matrix
    pixels = _extended(image).reshape(-1)
    # Unsigned places: no test for those that count from the end.
    pixel, line = np.uint64(3), np.uint64(3 * (W + 4))
    for y in range(H):
        for x in range(W):
            X = a * (x + 0.5) + b * (y + 0.5) + c
            Y = d * (x + 0.5) + e * (y + 0.5) + f
            if X < 0 or X >= W or Y < 0 or Y >= H:
                for k in range(3):
                    out[y, x, k] = fill[k]
                continue
            X -= 0.5
            Y -= 0.5
            x0, y0 = math.floor(X), math.floor(Y)
            dx, dy = X - x0, Y - y0
            corner = np.uint64(y0 + 2) * line + np.uint64(x0 + 2) * pixel
            for k in range(3):
                here = corner + np.uint64(k)
                # A fraction of zero leaves the second of two or four pixels, exactly.
                if not bicubic:
                    below = here + line
                    value = _linear(
                        _linear(float(pixels[here]), float(pixels[here + pixel]), dx),
                        _linear(float(pixels[below]), float(pixels[below + pixel]), dx),
                        dy,
                    )
                elif dy == 0:
                    value = _cubic_along(pixels, here, pixel, dx)
                elif dx == 0:
                    value = _cubic_along(pixels, here, line, dy)
                else:
                    value = _cubic(
                        _cubic_along(pixels, here - line, pixel, dx),
                        _cubic_along(pixels, here, pixel, dx),
                        _cubic_along(pixels, here + line, pixel, dx),
                        _cubic_along(pixels, here + line + line, pixel, dx),
                        dy,
                    )
                out[y, x, k] = 0 if value <= 0 else 255 if value >= 255 else int(value)


@numba.njit(nogil=True, cache=True)
def _sharpen(image: NDArray[np.uint8], out: NDArray[np.uint8], factor: np.float32) -> None:
    """Blend with the smoothed image: 3 x 3 ones with a 5 in the middle, over 13; borders stay."""
    H, W, C = image.shape
    n = W * C
    flat, target = image.reshape(H, n), out.reshape(H, n)
    sums = np.empty(n, np.int32)
    for y in range(H):
        line, into = flat[y], target[y]
        if y == 0 or y == H - 1:
            into[:] = line
            continue
        above, below = flat[y - 1], flat[y + 1]
        for i in range(n):
            sums[i] = np.int32(above[i]) + np.int32(line[i]) + np.int32(below[i])
        for i in range(C):
            into[i] = line[i]
            into[n - 1 - i] = line[n - 1 - i]
        for i in range(C, n - C):
            v = int(line[i])
            total = int(sums[i - C]) + int(sums[i]) + int(sums[i + C]) + 4 * v
            smooth = (2 * total + 13) // 26  # total / 13, rounded; never a tie
            into[i] = _blend(v, smooth, factor)


@numba.njit(nogil=True, cache=True)
def _apply(
    image: NDArray[np.uint8],
    out: NDArray[np.uint8],
    operator: int,
    argument: float,
    bicubic: bool,
    fill: NDArray[np.uint8],
) -> None:
    """Write operator number `operator` of OPERATORS, applied to `image` (H, W, 3), to `out`."""
    H, W, C = image.shape
    if operator == 0:
        _lookup(image, out, False)
    elif operator == 1:
        _lookup(image, out, True)
    elif operator in (2, 4, 5, 6):
        mask = 0xFF & ~((1 << max(8 - int(argument), 0)) - 1)
        table = np.empty(256, np.uint8)
        for v in range(256):
            if operator == 2:
                table[v] = 255 - v
            elif operator == 4:
                table[v] = v & mask
            elif operator == 5:
                table[v] = v if v < argument else 255 - v
            else:
                table[v] = min(255, v + int(argument)) if v < 128 else v
        _map(image, out, table)
    elif operator == 3:
        angle = argument % 360.0
        if angle == 0:
            out[:] = image
            return
        t = -math.radians(angle)
        cosine, sine = round(math.cos(t), 15), round(math.sin(t), 15)
        cx, cy = W / 2.0, H / 2.0
        c = cosine * -cx + sine * -cy + 0.0
        f = -sine * -cx + cosine * -cy + 0.0
        _affine(image, out, (cosine, sine, c + cx, -sine, cosine, f + cy), bicubic, fill)
    elif operator == 7:
        factor = np.float32(argument)
        for y in range(H):
            for x in range(W):
                grey = _grey(int(image[y, x, 0]), int(image[y, x, 1]), int(image[y, x, 2]))
                for c in range(C):
                    out[y, x, c] = _blend(int(image[y, x, c]), grey, factor)
    elif operator in (8, 9):
        mean = 0
        if operator == 8:
            total = 0
            for y in range(H):
                for x in range(W):
                    total += _grey(int(image[y, x, 0]), int(image[y, x, 1]), int(image[y, x, 2]))
            mean = int(total / (H * W) + 0.5)
        blended = np.empty(256, np.uint8)
        for v in range(256):
            blended[v] = _blend(v, mean, np.float32(argument))
        _map(image, out, blended)
    elif operator == 10:
        _sharpen(image, out, np.float32(argument))
    elif operator == 11:
        _affine(image, out, (1.0, argument, 0.0, 0.0, 1.0, 0.0), bicubic, fill)
    elif operator == 12:
        _affine(image, out, (1.0, 0.0, 0.0, argument, 1.0, 0.0), bicubic, fill)
    elif operator == 13:
        _affine(image, out, (1.0, 0.0, argument * W, 0.0, 1.0, 0.0), bicubic, fill)
    else:
        _affine(image, out, (1.0, 0.0, 0.0, 0.0, 1.0, argument * H), bicubic, fill)


@numba.njit(nogil=True, cache=True)
def _apply_all(
    images: NDArray[np.uint8],
    rows: NDArray[np.int64],
    operators: NDArray[np.int64],
    applied: NDArray[np.bool_],
    arguments: NDArray[np.float64],
    bicubic: NDArray[np.bool_],
    fill: NDArray[np.uint8],
    out: NDArray[np.uint8],
) -> None:
    """Write images[rows] after their layers of operators to `out`; all else is (B, layers)."""
    spare = np.empty(images.shape[1:], np.uint8)
    for b in range(len(rows)):
        out[b] = images[rows[b]]
        for layer in range(operators.shape[1]):
            if applied[b, layer]:
                spare[:] = out[b]
                _apply(
                    spare, out[b], operators[b, layer], arguments[b, layer], bicubic[b, layer], fill
                )


def apply_op(
    image: NDArray[np.uint8],
    op: str,
    arg: float,
    resample: str = "bilinear",
    fill: tuple[int, int, int] = (128, 128, 128),
) -> NDArray[np.uint8]:
    """One operator on one image.

    Args:
        image: (H, W, 3) uint8.
        op: a name of OPERATORS.
        arg: its argument as `level_to_argument` gives it, signed.
        resample: "bilinear" or "bicubic", for the geometric operators.
        fill: colour of what comes from outside the image.

    Returns:
        (H, W, 3) uint8.
    """
    if op not in OPERATORS:
        raise unknown_name("operator", op, OPERATORS)
    if resample not in ("bilinear", "bicubic"):
        raise unknown_name("resampling", resample, ("bilinear", "bicubic"))
    image = np.ascontiguousarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise UserError(f"expected (H, W, 3) uint8, got {image.shape} {image.dtype}")
    out = np.empty_like(image)
    _apply(
        image, out, OPERATORS.index(op), float(arg), resample == "bicubic", np.array(fill, np.uint8)
    )
    return out


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
        _apply_all(
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
            values = _arguments(name, magnitudes[here], negative[here], self.increasing)
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
