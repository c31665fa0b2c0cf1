"""What this suite adds to the paper's items, measured on Table 2's coded network."""

from __future__ import annotations

from collections.abc import Sequence

from codepath.experiments.cifar import table2_cifar10
from codepath.experiments.measured import coded_runs
from codepath.experiments.registry import experiment
from codepath.run.config import RunConfig


@experiment(
    "exits-cifar10",
    paper_item="ours",
    about="none; the paper's early decoders put to use.",
    usage="codepath run exits-cifar10 --scale paper --results results",
    cost="nothing beside table2-cifar10's coded run.",
    expected="a curve above that of one exit for all images.",
    scales=("cpu", "short", "paper"),
    kinds=("exits",),
    pictures=("exits",),
)
def exits_cifar10(scale: str, seed: int) -> Sequence[RunConfig]:
    """Early exits that stop: accuracy against multiply-adds, thresholds cross-fitted, CIFAR-10."""
    return coded_runs(table2_cifar10(scale, seed))


@experiment(
    "linear-cifar10",
    paper_item="ours",
    about="none; what the paper's early decoders leave unused in the energies.",
    usage="codepath run linear-cifar10 --scale cpu --results results",
    cost="nothing beside table2-cifar10's coded run.",
    expected="above Eq. 7 at every block, most at the first ones.",
    scales=("cpu", "short", "paper"),
    kinds=("decoders",),
    pictures=("linear",),
)
def linear_cifar10(scale: str, seed: int) -> Sequence[RunConfig]:
    """Early decoders fitted to training images in place of Eq. 7, CIFAR-10."""
    return coded_runs(table2_cifar10(scale, seed))


@experiment(
    "paths-cifar10",
    paper_item="ours",
    about="none.",
    usage="codepath run paths-cifar10 --scale paper --results results",
    cost="nothing beside table2-cifar10's coded run.",
    expected="r E near 1 on a class's own paths and near 0 on the others.",
    scales=("cpu", "short", "paper"),
    kinds=("paths",),
    pictures=("paths",),
)
def paths_cifar10(scale: str, seed: int) -> Sequence[RunConfig]:
    """Measured paths: mean energy of every class and path beside the codewords, CIFAR-10."""
    return coded_runs(table2_cifar10(scale, seed))


@experiment(
    "compression-cifar10",
    paper_item="ours",
    about="none; the paper's saving of parameters carried on.",
    usage=(
        "codepath run compression-cifar10 --scale cpu --results results; codepath extract"
        " RUN --curve --out DIR; codepath collect RUN --results results (RUN: Table 2's "
        "coded run)"
    ),
    cost="minutes a run on two cores, beside table2-cifar10's coded run.",
    expected="below 40 % of the parameters at no more than a point of F1.",
    scales=("cpu", "short", "paper"),
    kinds=("compression",),
    pictures=("compression",),
)
def compression_cifar10(scale: str, seed: int) -> Sequence[RunConfig]:
    """Binary classifiers made smaller without training: F1 against the kept share, CIFAR-10."""
    return coded_runs(table2_cifar10(scale, seed))
