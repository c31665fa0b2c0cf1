"""The full, frozen description of a run (standard library only).

A run is determined by its `RunConfig` alone. Settings that change only speed and rounding (device,
loader backend, workers) are not part of it.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from codepath.core.errors import UserError
from codepath.core.plain import as_type
from codepath.run.objectives import ObjectiveConfig, added, require

SCALES = ("demo", "cpu", "short", "paper")
"""Ordered from the smallest to the paper's."""
PRECISIONS = ("float32", "bfloat16")

STATISTICS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4867, 0.4408), (0.2673, 0.2564, 0.2762)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""Data set -> mean and standard deviation per channel of pixels in [0, 1], as in the paper."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which network: a timm entry point and its arguments."""

    name: str
    num_classes: int
    in_chans: int = 3
    p_drop: float = 0.0
    """DropSubNNs: probability that a path's output is zeroed in training."""
    schemes: tuple[str, ...] = ()
    """A catalogue name or CSV file per coded stage; empty: the schemes of `scheme_family`."""
    scheme_family: str = "paper"
    """paper or best: which catalogue of coding schemes."""
    active: tuple[int | tuple[int, ...], ...] = ()
    """Nact per stage, or per block of a stage; empty: the network's own."""
    aggregate: str = "sum"
    """How the paths' outputs are combined: sum or concat."""

    def __post_init__(self) -> None:
        require(self.num_classes >= 2, f"num_classes is {self.num_classes}, at least 2 needed")
        require(0 <= self.p_drop < 1, f"p_drop is {self.p_drop}, must be in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images, and how training images are augmented."""

    source: str
    pad: int = 0
    """Pixels of black padding on each side before a random crop back to the image's size."""
    flip: bool = False
    randaugment: str = ""
    """timm's name of a RandAugment policy, such as rand-m4-n3; empty for none."""
    posterize_min_bits: int = 0
    """0: RandAugment's posterize gives a black image at magnitudes below 2.5, as on earlier Pillow;
    1: it keeps the highest bit."""
    crop: int = 0
    """For images of many sizes: side of the random resized crops in training and of the central
    crops in evaluation. 0: the source's own."""
    scale: tuple[float, float] = (0.08, 1.0)
    """Least and largest share of an image's area in a random resized crop."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Least and largest width / height of a random resized crop before it is resized."""
    subset: bool = False
    """Whether the images are meant to be only a part of the data set."""
    size: int = added(0)
    """For images of one's own in many sizes: each is cut to its central square and resized to so
    many pixels a side when it is read. 0: all have one size."""

    def __post_init__(self) -> None:
        require(self.pad >= 0, f"pad is {self.pad}, must not be negative")
        require(
            self.posterize_min_bits in (0, 1),
            f"posterize_min_bits is {self.posterize_min_bits}, must be 0 or 1",
        )
        require(self.crop >= 0, f"crop is {self.crop}, must not be negative")
        require(self.size >= 0, f"size is {self.size}, must not be negative")
        require(
            len(self.scale) == 2 and 0 < self.scale[0] <= self.scale[1] <= 1,
            f"scale is {self.scale}, must be two rising numbers in (0, 1]",
        )
        require(
            len(self.ratio) == 2 and 0 < self.ratio[0] <= self.ratio[1],
            f"ratio is {self.ratio}, must be two rising positive numbers",
        )

    def words(self) -> str:
        """The augmentation in words, in the order in which it is done."""
        crop = f"random resized crop {self.crop}" if self.crop else ""
        pad = f"pad {self.pad} and crop" if self.pad else ""
        flip = "flip" if self.flip else ""
        steps = [crop, flip, self.randaugment] if crop else [self.randaugment, pad, flip]
        return ", ".join(step for step in steps if step) or "no augmentation"


@dataclass(frozen=True, kw_only=True)
class TrainConfig(ObjectiveConfig):
    """The optimisation recipe with its objective."""

    epochs: int
    batch_size: int
    lr: float
    lr_end: float
    warmup_epochs: int = 0
    warmup_lr: float = 0.0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    decay_norm_and_bias: bool = True
    """Whether weight decay also covers normalisation parameters and biases."""
    precision: str = "float32"
    """The lowest precision that the recipe allows: float32, or bfloat16 by autocast over float32
    weights. A recipe with bfloat16 trains in float32 on devices that do not compute in bfloat16."""
    bn_batch: int = 0
    """Images over which batch norm takes its statistics (in the paper's runs those of a replica); a
    divisor of batch_size. 0: the images that a device holds at once, on one device the whole batch.
    """
    bn_momentum: float = 0.1
    """Weight of the newest statistics in the running statistics (PyTorch's sense)."""
    ema_decay: float = 0.0
    """Decay per step of the moving average of the weights that a run keeps as its own; 0: none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.epochs >= 1, f"epochs is {self.epochs}, at least 1 needed")
        require(self.batch_size >= 2, f"batch_size is {self.batch_size}, batch norm needs 2")
        require(self.lr > 0, f"lr is {self.lr}, must be positive")
        require(
            0 <= self.warmup_epochs < self.epochs,
            f"warmup_epochs is {self.warmup_epochs} of {self.epochs} epochs",
        )
        require(
            self.precision in PRECISIONS,
            f"precision is '{self.precision}', must be float32 or bfloat16",
        )
        require(
            self.bn_batch == 0 or (self.bn_batch > 1 and self.batch_size % self.bn_batch == 0),
            f"bn_batch is {self.bn_batch}, must be 0 or a divisor of batch_size, "
            f"{self.batch_size}, from 2",
        )
        require(0 < self.bn_momentum <= 1, f"bn_momentum is {self.bn_momentum}, must be in (0, 1]")
        require(0 <= self.ema_decay < 1, f"ema_decay is {self.ema_decay}, must be in [0, 1)")

    def check_precision(self, asked: str) -> None:
        """UserError unless this recipe may be asked for `asked`: "auto" or a precision's name."""
        if asked not in ("auto", *PRECISIONS):
            raise UserError(f"precision is '{asked}', must be auto, float32 or bfloat16")
        if asked == "bfloat16" and self.precision == "float32":
            raise UserError(
                "the recipe does not allow bfloat16: leave --precision out, or make another "
                "experiment of it by --set train.precision=bfloat16"
            )


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """How a trained network is measured."""

    removal_block: int = 0
    """Block (from 1) whose paths are removed for Fig 2a; 0: no removal (uncoded network)."""
    removal_draws: int = 5
    """Random choices of the removed paths, for each image and number of removed paths."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One training run with its evaluation."""

    experiment: str
    scale: str
    model_role: str
    """"coded" or "baseline": the model column of the results."""
    seed: int
    model: ModelConfig
    data: DataConfig
    train: TrainConfig
    evaluation: EvalConfig = field(default_factory=EvalConfig)

    def __post_init__(self) -> None:
        for key in ("experiment", "model_role"):  # a run's directory is called after them
            name = getattr(self, key)
            require(
                name not in ("", "..") and name == PurePath(name).name and name.isprintable(),
                f"{key} is '{name}', must be the name of a folder",
            )
        require(self.scale in SCALES, f"scale is '{self.scale}', must be one of {SCALES}")
        require(self.seed >= 0, f"seed is {self.seed}, must not be negative")

    @property
    def name(self) -> str:
        """The run's name within its experiment and scale, and the name of its directory."""
        return f"{self.model_role}-s{self.seed}"

    @functools.cached_property
    def run_id(self) -> str:
        """Experiment, scale, run and content hash, by which a row in results/ names its run."""
        return f"{self.experiment}-{self.scale}-{self.name}-{content_hash(self)}"


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as nested dicts of plain JSON values (tuples become lists)."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def run_config_from_dict(values: Any) -> RunConfig:
    """The inverse of `to_dict` for a RunConfig.

    UserError for unknown or missing keys, and for values of another type or out of their range.
    """
    try:
        config: RunConfig = as_type(values, RunConfig, "run")
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"bad configuration: {error}") from None
    return config


def content_hash(config: Any) -> str:
    """Ten hexadecimal digits of SHA-256 over the canonical JSON of a configuration.

    Settings that were added after runs were made count only where they differ from their defaults,
    so that these runs keep their ids.
    """
    values = _without_added_defaults(config, to_dict(config))
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]


def _without_added_defaults(config: Any, values: dict[str, Any]) -> dict[str, Any]:
    kept = {}
    for setting in dataclasses.fields(config):
        value = getattr(config, setting.name)
        if setting.metadata.get("added") and value == setting.default:
            continue
        plain = values[setting.name]
        nested = dataclasses.is_dataclass(value)
        kept[setting.name] = _without_added_defaults(value, plain) if nested else plain
    return kept


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Readable differences of two configurations as dicts: ["train.epochs: 10 -> 15", ...]."""
    found = []
    for key in sorted(set(old) | set(new)):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append(f"{prefix}{key}: {before} -> {after}")
    return found
