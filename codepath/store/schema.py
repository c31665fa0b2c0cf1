"""What the tables of results/ hold.

runs.csv has one line for each time that a run was measured, with all that the numbers measured
then have in common. KIND.csv has one line for each number: the key of its line in runs.csv (`run`),
the dimensions of its kind (which part of the network or data, which decoder, ...), metric, value
and n. benchmarks/NAME.csv holds what `codepath bench NAME` measured, independently of any run's
evaluation.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from dataclasses import dataclass

ALL, DRAWN = "all", "9to1"
"""Negatives of a binary classifier: all of the split, or nine drawn for each positive. Any other
value is the name of another data set, whose images are the negatives."""

RUN_COLUMNS = {
    "run": "string",  # the key
    "run_id": "string",
    "experiment": "string",
    "scale": "string",
    "dataset": "string",
    "source": "string",
    "model": "string",  # coded or baseline
    "seed": "Int64",
    "precision": "string",  # in which the run was trained
    "device": "string",  # on which the run was measured
    "commit": "string",
    "dirty": "boolean",
    "created": "string",  # UTC
}

IDENTITY = ("experiment", "scale", "dataset", "source", "model", "seed")
"""Columns of runs.csv that identify a run; of lines equal in them the latest `created` counts."""

_DTYPES = {
    "split": "string",  # of the judged images: test or train; empty where there are none
    "block": "Int64",  # from 1; 0: the network's end
    "path": "Int64",  # from 0
    "class": "string",  # empty: the mean over classes
    "decoder": "string",  # eq7, linear or combined
    "criterion": "string",  # of an early exit: margin, softmax or agreement
    "fitted": "string",  # images that thresholds were fitted on: train, or crossfit (test halves)
    "target": "string",  # what limits early exits: budget (multiply-adds) or loss (of top-1)
    "limit": "float64",  # the target's, as a share
    "objective": "string",  # of a threshold: f1, precision>=0.9, ...
    "negatives": "string",  # see ALL and DRAWN
    "removed_from": "string",  # active or inactive paths
    "removed": "Int64",  # how many
    "group": "string",  # of a histogram's images: positive or negative
    "left": "float64",  # a bin's left edge
    "stage": "string",  # stem, layer1, ..., head; empty: the whole network
    "asked": "float64",  # share of the network's parameters that a classifier may keep
}

DIMENSIONS: dict[str, tuple[str, ...]] = {
    "accuracy": ("split",),
    "decoders": ("split", "block", "decoder"),
    "removal": ("split", "block", "removed_from", "removed"),
    "binary": ("split", "class", "objective", "fitted", "negatives"),
    "histograms": ("split", "class", "group", "left"),
    "cost": ("stage",),
    "exits": ("split", "block", "decoder", "criterion", "fitted", "target", "limit"),
    "paths": ("split", "block", "path", "class"),
    "extraction": (),
    "compression": ("split", "class", "asked"),
}
"""Kind of measurement -> the dimensions of its numbers."""

KINDS = tuple(DIMENSIONS)

ON_REQUEST = ("compression",)
"""Kinds that only a command of their own measures; evaluating a run again keeps their rows."""

_NUMBER = {"metric": "string", "value": "float64", "n": "Int64"}  # n: images behind the value


def columns_of(kind: str) -> dict[str, str]:
    """The columns of KIND.csv in order, with their types."""
    return {"run": "string"} | {name: _DTYPES[name] for name in DIMENSIONS[kind]} | _NUMBER


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One number that an evaluation yields: kind, metric, value, n, and its kind's dimensions.

    Raises ValueError for an unknown kind, for a dimension that the kind does not have, and for NaN.
    """

    kind: str
    metric: str
    value: float
    n: int
    split: str | None = "test"
    """Ignored for kinds without this dimension; None where no images are judged."""
    block: int | None = None
    path: int | None = None
    class_name: str | None = None
    decoder: str | None = None
    criterion: str | None = None
    fitted: str | None = None
    target: str | None = None
    limit: float | None = None
    objective: str | None = None
    negatives: str | None = None
    removed_from: str | None = None
    removed: int | None = None
    group: str | None = None
    left: float | None = None
    stage: str | None = None
    asked: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in DIMENSIONS:
            raise ValueError(f"unknown kind of measurement '{self.kind}'")
        given = [name for name, value in self._dimensions().items() if value is not None]
        wrong = sorted(set(given) - set(DIMENSIONS[self.kind]) - {"split"})
        if wrong:
            raise ValueError(f"a measurement of kind '{self.kind}' has no dimension '{wrong[0]}'")
        if math.isnan(self.value):
            raise ValueError(f"{self.kind} {self.metric} is not a number")

    def _dimensions(self) -> dict[str, object]:
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)[4:]}
        return {"class" if name == "class_name" else name: of for name, of in values.items()}

    def row(self) -> dict[str, object]:
        """The columns of its kind, without the run's key."""
        every = self._dimensions()
        own = {name: every[name] for name in DIMENSIONS[self.kind]}
        return own | {"metric": self.metric, "value": self.value, "n": self.n}


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where the numbers of one run come from: a line of runs.csv without its key."""

    experiment: str
    run_id: str
    scale: str
    dataset: str
    source: str
    model: str
    seed: int
    precision: str
    device: str
    commit: str
    dirty: bool
    created: str

    @property
    def key(self) -> str:
        """Seven letters and digits that stand for the line in the other tables.

        The key is a checksum of run and time. It begins with a letter, so that no reader takes it
        for a number.
        """
        letters = "abcdefghijklmnopqrstuvwxyz234567"
        digest = hashlib.sha256(f"{self.run_id} {self.created}".encode()).digest()
        return letters[digest[0] % 26] + "".join(letters[byte % 32] for byte in digest[1:7])


_ORIGIN = ("device", "commit", "dirty", "created")
_BENCHMARKS = {
    "architectures": (
        "network dataset model baseline stage active",
        "pixels blocks channels width paths ratio parameters baseline_parameters kept scaled macs "
        "baseline_macs literal_operations",
    ),
    "binary": ("run source scale method class metric", "draw parameters n value"),
    "block": ("stage precision what variant", "batch value coded_ratio"),
    "codes": (
        "algorithm",
        "classes paths active seed distance largest_distance least_column most_column pairs "
        "fewest_pairs seconds",
    ),
    "convolutions": (
        "network torch",
        "width channels groups pixels batch grouped_ms dense_ms grouped_by_dense",
    ),
    "decoding": ("family", "classes paths active distance seed noise error n"),
    "early_exit": (
        "run dataset scale method layout source",
        "seed budget n timed top1 top1_whole macs macs_share p50 p95 network_p50",
    ),
    "explore": ("model what", "value least most n threads"),
    "extraction": ("network layout module metric", "pixels batch value turns"),
    "loader": (
        "recipe loader policy source",
        "images_per_second slowest fastest ratio first_batch_seconds memory_mib images turns "
        "processes batch workers",
    ),
    "loader_cores": ("source recipe loader", "batch workers cores turns images_per_second"),
    "loader_memory": ("source recipe loader", "batch workers epoch memory_mib"),
    "loader_start": (
        "source recipe loader kernels",
        "batch workers first_batch_seconds processes",
    ),
    "network": ("network precision what variant", "pixels batch value coded_ratio"),
    "objectives": (
        "model objective source precision metric",
        "epochs seed p_drop mu score_weight score_scale asked question_weight own_share place "
        "value n",
    ),
    "profile": (
        "network model precision torch way kernel what",
        "batch calls seconds share",
    ),
    "redraw": ("what", "cores turns runs rows value least most processor_seconds"),
    "roofline": ("network way stage operation card", "batch bytes multiply_adds value"),
    "step": (
        "network model precision torch way",
        "batch value images_per_second peak_bytes speed_up coded_ratio",
    ),
    "train": (
        "network precision policy what variant source",
        "batch value least most ratio share count workers steps",
    ),
}
"""Benchmark -> its columns of text and its columns of numbers; each has `_ORIGIN` as well."""

BENCHMARKS = tuple(_BENCHMARKS)


def benchmark_columns(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns of text (with `_ORIGIN`) and the columns of numbers of benchmarks/NAME.csv.

    Raises ValueError for an unknown benchmark.
    """
    if name not in _BENCHMARKS:
        raise ValueError(f"no benchmark is called '{name}': add its columns to {__name__}")
    text, numbers = (tuple(names.split()) for names in _BENCHMARKS[name])
    return text + _ORIGIN, numbers


BENCHMARK_SETTINGS = {
    "step": ("network", "model", "precision", "batch", "way"),
    "profile": ("network", "model", "precision", "batch", "way"),
}
"""Benchmark that a lease measures -> columns in which a new row equals the one it replaces."""
