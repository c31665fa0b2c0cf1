"""What a row of results/ says.

One file per kind of measurement, all with the same columns in long format: what was run
(experiment .. seed), which part of the network or data the number is about (block, path,
class, metric, x), the number, and where it comes from (n .. created).
"""

from __future__ import annotations

from dataclasses import dataclass

KINDS = (
    "accuracy",
    "decoders",
    "removal",
    "binary",
    "histograms",
    "cost",
    "exits",
    "paths",
    "extraction",
    "compression",
)

ON_REQUEST = ("compression",)
"""Kinds that a command of their own measures: evaluating a run again leaves their rows."""

COLUMNS = {
    "experiment": "string",
    "run_id": "string",
    "scale": "string",
    "dataset": "string",
    "source": "string",
    "split": "string",
    "model": "string",  # coded or baseline
    "seed": "Int64",
    "block": "Int64",  # from 1
    "path": "Int64",  # from 0
    "class": "string",
    "metric": "string",
    "x": "Float64",  # coordinate where there is one: paths removed, a bin's left edge
    "value": "Float64",
    "n": "Int64",  # images behind the value
    "device": "string",
    "commit": "string",
    "dirty": "boolean",
    "created": "string",  # UTC
}

KEY = (
    "experiment",
    "scale",
    "dataset",
    "source",
    "split",
    "model",
    "seed",
    "block",
    "path",
    "class",
    "metric",
    "x",
)
"""Columns that say what was measured: of rows equal in these the latest created counts."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One number that an evaluation yields."""

    kind: str
    metric: str
    value: float
    n: int
    split: str = "test"
    block: int | None = None
    path: int | None = None
    class_name: str | None = None
    x: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of measurement '{self.kind}'")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where the numbers of one run come from."""

    experiment: str
    run_id: str
    scale: str
    dataset: str
    source: str
    model: str
    seed: int
    device: str
    commit: str
    dirty: bool
    created: str
