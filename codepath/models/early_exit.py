"""A coded network that stops as soon as a block's energies say enough.

Shapes: B batch, N paths, K classes. The decision of an exit is made from the energies of Eq. 2
alone, and these from the Gram matrices of conv3: an image that leaves at block l never runs the
conv3, the projection skip and the addition of that block.

Scores of an exit are s_l(k) = -|r_l E_l - w_{l,k}|^2, so that the largest is Eq. 7's decision; with
`readouts`, s_l = V_l E_l + c_l of a fitted (K,N) matrix and (K,) offsets, as many multiply-adds as
Eq. 7; with `weights`, sum over the exits so far of a_{l,j} s_j(k): the soft information of all
earlier blocks.
Criteria of confidence:
    margin     difference of the two largest scores,
    softmax    largest softmax of the scores,
    agreement  number of exits in a row, this one included, that made the same decision.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codepath.codes.decoding import codeword_scores
from codepath.core.errors import UserError, unknown_name
from codepath.core.files import read_json, write_text
from codepath.core.plain import as_type
from codepath.models.coded_block import CodedBottleneck
from codepath.models.coded_resnext import CodedResNeXt
from codepath.models.energies import energies_from_grams, normalise_energies, path_grams

_Value = TypeVar("_Value")
CRITERIA = ("margin", "softmax", "agreement")
NETWORK_END = 0
"""Stands for the network's own end among the numbers of exits."""


def combined_scores(scores: Sequence[Tensor], weights: Sequence[float] | None) -> Tensor:
    """(B, K) scores of the exits so far -> (B, K); the last one's alone without weights."""
    if weights is None:
        return scores[-1]
    total = weights[0] * scores[0]
    for weight, score in zip(weights[1:], scores[1:], strict=True):
        total = total + weight * score
    return total


def confidence(criterion: str, scores: Tensor, agreeing: Tensor) -> Tensor:
    """(B,) confidence in the largest of (B, K) scores; `agreeing` (B,) as of "agreement"."""
    if criterion == "agreement":
        return agreeing.to(scores.dtype)
    top = scores.topk(2, dim=1).values
    if criterion == "margin":
        return top[:, 0] - top[:, 1]
    return (top[:, 0] - scores.logsumexp(1)).exp()


def count_agreeing(decisions: Tensor, previous: Tensor | None, agreeing: Tensor | None) -> Tensor:
    """(B,) exits in a row with this decision; `previous` and `agreeing` are the last exit's."""
    ones = torch.ones_like(decisions)
    if previous is None or agreeing is None:
        return ones
    return torch.where(decisions == previous, agreeing + 1, ones)


class Readout(NamedTuple):
    """Scores of classes that are linear in a block's energies: V E + c."""

    weight: Tensor
    """V, (K, N)"""
    bias: Tensor
    """c, (K,)"""


class ExitOutput(NamedTuple):
    """What `EarlyExit` returns."""

    classes: Tensor
    """(B,) decisions"""
    exits: Tensor
    """(B,) block at which each image left; NETWORK_END (0) for the network's end"""


class _Decoder(nn.Module):
    """(B, N) energies of a block -> (B, K) scores: those of Eq. 7, or a readout's."""

    codewords: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, block: CodedBottleneck, readout: Readout | None) -> None:
        super().__init__()
        self.ratio = block.ratio
        self.fitted = readout is not None
        if readout is None:
            self.register_buffer("codewords", block.codewords, persistent=False)
            return
        fits = readout.weight.shape == block.codewords.shape
        if not fits or readout.bias.shape != block.codewords.shape[:1]:
            raise UserError(
                f"a readout of shape {tuple(readout.weight.shape)} for a block of "
                f"{tuple(block.codewords.shape)} classes and paths"
            )
        for name, values in readout._asdict().items():
            values = torch.as_tensor(values).to(block.conv3.weight.device)
            self.register_buffer(name, values, persistent=False)

    def forward(self, energies: Tensor) -> Tensor:
        if self.fitted:
            weight, bias = self.weight.to(energies.dtype), self.bias.to(energies.dtype)
            return F.linear(energies, weight, bias)
        return codeword_scores(energies, self.codewords, self.ratio)


class EarlyExit(nn.Module):
    """A coded network with exits at some of its blocks.

    A batch loses its images as they leave: later blocks run on those that remain, and nothing
    runs once none does. Weights are taken as they are at construction.

    Args:
        model: a coded network; it is put into evaluation mode and shared, not copied.
        blocks: coded blocks with an exit; all of them by default.
        criterion: of CRITERIA.
        thresholds: block number -> least confidence with which an image leaves; a number for
            all; infinity (the default) lets none leave.
        weights: block number -> weights a_{l,j} of the scores of the exits so far, this one's
            last; None decides by Eq. 7.
        readouts: block number -> `Readout` in place of Eq. 7's scores; None for Eq. 7's.
    """

    def __init__(
        self,
        model: CodedResNeXt,
        blocks: Sequence[int] | None = None,
        criterion: str = "margin",
        thresholds: Mapping[int, float] | float = math.inf,
        weights: Mapping[int, Sequence[float]] | None = None,
        readouts: Mapping[int, Readout] | None = None,
    ) -> None:
        super().__init__()
        coded = model.coded_blocks
        if not coded:
            raise UserError(
                "early exits need coded blocks, and the network has none: take a network with "
                "Nact < N in some stage"
            )
        if criterion not in CRITERIA:
            raise unknown_name("criterion", criterion, CRITERIA)
        if model.aggregate != "sum":
            raise UserError("early exits are for networks with aggregate='sum'")
        self.blocks = tuple(sorted(coded if blocks is None else blocks))
        unknown = set(self.blocks) - set(coded)
        if unknown or not self.blocks:
            raise UserError(
                f"no exit at block {min(unknown) if unknown else ''}: coded blocks of this "
                f"network: {sorted(coded)}"
            )
        if not isinstance(thresholds, Mapping):
            thresholds = dict.fromkeys(self.blocks, thresholds)
        given_by_block: tuple[tuple[str, Mapping[int, Any] | None], ...] = (
            ("thresholds", thresholds), ("weights", weights), ("readouts", readouts)
        )  # fmt: skip
        for name, given in given_by_block:
            if given is not None and set(given) != set(self.blocks):
                raise UserError(f"{name} are for blocks {sorted(given)}, exits are {self.blocks}")
        for place, block in enumerate(self.blocks, start=1):
            if weights is not None and len(weights[block]) != place:
                raise UserError(f"block {block} is exit {place}: it needs {place} weights")
        self.model = model.eval()
        self.criterion = criterion
        self.thresholds = {block: float(thresholds[block]) for block in self.blocks}
        self.weights = None if weights is None else {b: tuple(weights[b]) for b in self.blocks}
        for number, coded_block in coded.items():
            weight = coded_block.conv3.weight.detach()
            high = torch.promote_types(weight.dtype, torch.float32)
            grams = path_grams(weight, coded_block.paths, high)
            self.register_buffer(f"grams{number}", grams, persistent=False)
        self.readouts = None if readouts is None else {b: readouts[b] for b in self.blocks}
        self.decoders = nn.ModuleDict(
            {
                str(b): _Decoder(coded[b], None if readouts is None else readouts[b])
                for b in self.blocks
            }
        )

    def _energies(self, number: int, h: Tensor) -> tuple[Tensor, Tensor]:
        """Energies (B, N) of Eq. 3 and its factor (B, 1) of a coded block."""
        raw = energies_from_grams(h, getattr(self, f"grams{number}"))
        energies, factor = normalise_energies(raw, None, None)
        return energies, factor[:, :1]

    @torch.no_grad()
    def forward(self, x: Tensor) -> ExitOutput:
        """(B, in_chans, H, W) -> decisions and where they were made."""
        model = self.model
        B = len(x)
        classes = torch.zeros(B, dtype=torch.long, device=x.device)
        exits = torch.full_like(classes, NETWORK_END)
        inside = torch.arange(B, device=x.device)
        history: list[Tensor] = []
        previous = agreeing = None
        last = self.blocks[-1]
        x = model._stem(x)
        for number, block in enumerate(model.blocks, start=1):
            if not isinstance(block, CodedBottleneck):
                x = block(x)
                continue
            h = block.forward_hidden(x)
            energies, factor = self._energies(number, h)
            if number in self.thresholds:
                history.append(self.decoders[str(number)](energies))
                weights = None if self.weights is None else self.weights[number]
                scores = combined_scores(history, weights)
                decisions = scores.argmax(1)
                agreeing = count_agreeing(decisions, previous, agreeing)
                previous = decisions
                leaves = confidence(self.criterion, scores, agreeing) >= self.thresholds[number]
                if leaves.any():
                    gone = inside[leaves]
                    classes[gone] = decisions[leaves]
                    exits[gone] = number
                    stays = (~leaves).nonzero().flatten()
                    if not len(stays):
                        return ExitOutput(classes, exits)
                    inside, previous, agreeing = inside[stays], previous[stays], agreeing[stays]
                    x, h, factor = _rows(x, stays), _rows(h, stays), factor[stays]
                    history = [score[stays] for score in history] if number < last else []
            x = _complete(block, x, h, factor)
        classes[inside] = model.forward_head(x).argmax(1)
        return ExitOutput(classes, exits)

    def at(self, block: int) -> StaticExit:
        """The network up to one exit, without decisions on the way: what can be exported."""
        return StaticExit(self, block)


def _rows(x: Tensor, rows: Tensor) -> Tensor:
    """Some images of a batch, in its memory format."""
    last = x.is_contiguous(memory_format=torch.channels_last)
    chosen = x.index_select(0, rows)
    return chosen.contiguous(memory_format=torch.channels_last) if last else chosen


def _complete(block: CodedBottleneck, x: Tensor, h: Tensor, factor: Tensor) -> Tensor:
    """What is left of a coded block behind its energies; factor is (B, 1)."""
    assert isinstance(block.conv3, nn.Conv2d)
    z = h * factor.to(h.dtype)[:, :, None, None]
    out = block.bn3(F.conv2d(z, block.conv3.weight))
    out += x if block.downsample is None else block.downsample(x)
    return block.act3(out)


class StaticExit(nn.Module):
    """A coded network up to the energies of one exit: (B, in_chans, H, W) -> (B, K) scores.

    It holds no conv3, bn3 and projection of its last block, whose Gram matrices stand for them.
    """

    grams: Tensor

    def __init__(self, parent: EarlyExit, block: int) -> None:
        super().__init__()
        if block not in parent.blocks:
            raise UserError(f"no exit at block {block}: exits are {parent.blocks}")
        model = parent.model
        self.weights = None if parent.weights is None else parent.weights[block]
        self.stem = nn.Sequential(model.conv1, model.bn1, model.act1, model.maxpool)
        self.before = nn.ModuleList(model.blocks[: block - 1])
        last = model.coded_blocks[block]
        self.last = nn.Sequential(last.conv1, last.bn1, last.act1, last.conv2, last.bn2, last.act2)
        self.decoded = tuple(b for b in parent.blocks if b <= block) if self.weights else (block,)
        self.register_buffer("grams", getattr(parent, f"grams{block}"))
        self.decoders = nn.ModuleDict({str(n): parent.decoders[str(n)] for n in self.decoded})
        self.fitted = parent.readouts is not None
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, K), the larger the likelier."""
        x = self.stem(x)
        history = []
        for number, block in enumerate(self.before, start=1):
            if number in self.decoded:
                assert isinstance(block, CodedBottleneck)
                x, energies = block.forward_coded(x)
                history.append(self.decoders[str(number)](energies))
            else:
                x = block(x)
        raw = energies_from_grams(self.last(x), self.grams)
        energies, _ = normalise_energies(raw, None, None)
        history.append(self.decoders[str(len(self.before) + 1)](energies))
        return combined_scores(history, self.weights)

    @property
    def stored_values(self) -> int:
        """Parameters, the Gram matrices and readouts: what deciding at this exit needs."""
        readouts = sum(part.numel() for part in self.decoders.buffers()) if self.fitted else 0
        return sum(p.numel() for p in self.parameters()) + self.grams.numel() + readouts


def save_exit_settings(exits: EarlyExit, path: Path, about: Mapping[str, object]) -> None:
    """Write criterion, thresholds, weights and readouts as JSON.

    `about` says how they were chosen.
    """
    weights = readouts = None
    if exits.weights is not None:
        weights = {str(block): list(values) for block, values in exits.weights.items()}
    if exits.readouts is not None:
        readouts = {
            str(block): {name: values.tolist() for name, values in readout._asdict().items()}
            for block, readout in exits.readouts.items()
        }
    settings = {
        "criterion": exits.criterion,
        "thresholds": {str(b): None if math.isinf(t) else t for b, t in exits.thresholds.items()},
        "weights": weights,
        "readouts": readouts,
        "about": dict(about),
    }
    write_text(path, json.dumps(settings, indent=1) + "\n")


def load_early_exit(model: CodedResNeXt, path: Path | str) -> EarlyExit:
    """`model` with the exits of a file that `codepath exits` wrote (null: none leaves there)."""
    try:
        settings: _Settings = as_type(read_json(Path(path)), _Settings, "exits")
        thresholds = {
            b: math.inf if t is None else t for b, t in _by_block(settings.thresholds).items()
        }
        weights = None if settings.weights is None else _by_block(settings.weights)
        readouts = (
            None
            if settings.readouts is None
            else {
                b: Readout(torch.tensor(r.weight), torch.tensor(r.bias))
                for b, r in _by_block(settings.readouts).items()
            }
        )
        criterion = settings.criterion
        return EarlyExit(model, sorted(thresholds), criterion, thresholds, weights, readouts)
    except (ValueError, OSError) as error:
        raise UserError(
            f"{path} holds no settings of exits ({error}): codepath exits RUN"
        ) from None


def _by_block(values: Mapping[str, _Value]) -> dict[int, _Value]:
    """Values by block number; ValueError for keys that are none."""
    found = {int(key): value for key, value in values.items()}
    if list(map(str, found)) != list(values):
        raise ValueError(f"blocks {', '.join(values)}")
    return found


@dataclass(frozen=True)
class _SavedReadout:
    weight: tuple[tuple[float, ...], ...]
    bias: tuple[float, ...]


@dataclass(frozen=True)
class _Settings:
    """What `save_exit_settings` writes."""

    criterion: str
    thresholds: dict[str, float | None]
    weights: dict[str, tuple[float, ...]] | None
    about: dict[str, Any]
    readouts: dict[str, _SavedReadout] | None = None
