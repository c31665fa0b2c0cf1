"""This suite's own training objective beside the paper's and the plain network."""

from __future__ import annotations

from collections.abc import Sequence

from codepath.experiments.cifar import table2_cifar10
from codepath.experiments.digits import table2_digits
from codepath.experiments.registry import RunsOf, experiment, override
from codepath.run.config import RunConfig

OWN = ("train.objective=extraction_and_cross_entropy", "model.p_drop=0")
"""The settings of this suite's objective."""
SECOND = (*OWN, "train.score_scale=4")
"""The settings that came second in the search; run at cpu scale alone."""


def _with_own(base: RunsOf, scale: str, seed: int) -> list[RunConfig]:
    runs = list(base(scale, seed))
    return [*runs, *(override(run, OWN) for run in runs if run.model_role == "coded")]


@experiment(
    "objective-cifar10",
    paper_item="ours",
    about="none; a training of the same network that asks for what it is used for.",
    usage="codepath run objective-cifar10 --scale cpu --seeds 3 --results results",
    cost=(
        "beside table2-cifar10's two runs of 15 epochs a seed at cpu scale, one of 300 epochs at "
        "paper scale."
    ),
    expected=(
        "binary classifiers and early decoders that are better than with the paper's "
        "objective, and top-1 that is not worse."
    ),
    scales=("cpu", "paper"),
    kinds=("accuracy", "decoders", "binary", "exits"),
    pictures=("objective",),
)
def objective_cifar10(scale: str, seed: int) -> Sequence[RunConfig]:
    """Training for extraction: questions in place of dropped paths, CIFAR-10."""
    runs = _with_own(table2_cifar10, scale, seed)
    if scale != "cpu":
        return runs
    return [*runs, *(override(r, SECOND) for r in runs[:2] if r.model_role == "coded")]


@experiment(
    "objective-digits",
    paper_item="ours (demo)",
    about="none; the same question where it takes seconds.",
    usage="codepath run objective-digits --seeds 3",
    cost="one run of about 20 seconds a seed on two cores of an AMD EPYC.",
    expected="binary classifiers that are better than with the paper's objective.",
    scales=("demo",),
    kinds=("accuracy", "decoders", "binary", "exits"),
    pictures=("objective",),
)
def objective_digits(scale: str, seed: int) -> Sequence[RunConfig]:
    """Training for extraction on digits."""
    return _with_own(table2_digits, scale, seed)
