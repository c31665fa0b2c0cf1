"""Named experiments: what to run for which item of the paper (no torch)."""

from codepath.experiments import (  # noqa: F401  (they register)
    ablations,
    cifar,
    counted,
    digits,
    imagenet,
    measured,
    objectives,
    ours,
)
from codepath.experiments.registry import Experiment, all_experiments, find_experiment

__all__ = ["Experiment", "all_experiments", "find_experiment"]
