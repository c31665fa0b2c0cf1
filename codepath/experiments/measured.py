"""Figures that are measured on Table 2's coded networks: they need no training of their own."""

from __future__ import annotations

from collections.abc import Sequence

from codepath.experiments.cifar import table2_cifar10, table2_cifar100
from codepath.experiments.imagenet import table2_imagenet
from codepath.experiments.registry import experiment, override
from codepath.run.config import RunConfig


def coded_runs(runs: Sequence[RunConfig]) -> list[RunConfig]:
    """The runs without their baselines."""
    return [run for run in runs if run.model_role == "coded"]


@experiment(
    "fig2a-cifar10",
    paper_item="Fig 2a",
    items=("fig2a",),
    about="Fig 2a.",
    usage="codepath run fig2a-cifar10 --scale paper --results results",
    cost="nothing beside table2-cifar10's coded run.",
    expected=(
        "at paper scale 89.6 % without all five active paths, 95.4 % without all five "
        "inactive ones."
    ),
    scales=("cpu", "short", "paper"),
    kinds=("removal",),
    pictures=("fig2a",),
    references=("fig2a_removal",),
    tolerance=1.0,
)
def fig2a_cifar10(scale: str, seed: int) -> Sequence[RunConfig]:
    """Accuracy without some of block 6's paths (last of c3; block 4 at cpu scale), CIFAR-10."""
    return coded_runs(table2_cifar10(scale, seed))


@experiment(
    "fig2a-cifar100",
    paper_item="Fig 2a",
    items=("fig2a",),
    about="Fig 2a.",
    usage="codepath run fig2a-cifar100 --scale paper --results results",
    cost="nothing beside table2-cifar100's coded run.",
    expected=(
        "at paper scale 72.7 % without all eight active paths, 77.7 % without as many "
        "inactive ones."
    ),
    scales=("demo", "short", "paper"),
    smoke=("demo",),
    kinds=("removal",),
    pictures=("fig2a",),
    references=("fig2a_removal",),
    tolerance=1.0,
)
def fig2a_cifar100(scale: str, seed: int) -> Sequence[RunConfig]:
    """Accuracy without some of block 6's paths (last of c3), CIFAR-100."""
    return coded_runs(table2_cifar100(scale, seed))


@experiment(
    "fig2a-imagenet",
    paper_item="Fig 2a",
    items=("fig2a",),
    about="Fig 2a.",
    usage="codepath run fig2a-imagenet --scale paper --results results",
    cost="nothing beside table2-imagenet's coded run.",
    expected=(
        "at paper scale 73.3 % without all eight active paths, 78.7 % without as many "
        "inactive ones."
    ),
    scales=("demo", "paper"),
    smoke=("demo",),
    kinds=("removal",),
    pictures=("fig2a",),
    references=("fig2a_removal",),
    tolerance=1.0,
)
def fig2a_imagenet(scale: str, seed: int) -> Sequence[RunConfig]:
    """Accuracy without some of block 15's paths (second of c5), ImageNet."""
    return coded_runs(table2_imagenet(scale, seed))


@experiment(
    "fig2b-cifar10",
    paper_item="Fig 2b",
    items=("fig2b",),
    about="Fig 2b (negatives of CIFAR-10, and of CIFAR-100 where that was measured).",
    usage="codepath run fig2b-cifar10 --scale paper --results results",
    cost="nothing beside table2-cifar10's coded run.",
    expected="at paper scale recall of 70 to 82 % and precision of 82 to 98 %.",
    scales=("cpu", "short", "paper"),
    kinds=("binary",),
    pictures=("fig2b",),
    references=("fig2b_binary_cifar10",),
    tolerance=3.0,
)
def fig2b_cifar10(scale: str, seed: int) -> Sequence[RunConfig]:
    """Precision and recall of the ten binary classifiers, CIFAR-10."""
    return coded_runs(table2_cifar10(scale, seed))


@experiment(
    "fig2c-cifar100",
    paper_item="Fig 2c",
    items=("fig2c",),
    about="Fig 2c.",
    usage="codepath run fig2c-cifar100 --scale paper --results results",
    cost="nothing beside table2-cifar100's coded run.",
    expected="a cloud of a hundred points; the paper prints no numbers.",
    scales=("demo", "short", "paper"),
    smoke=("demo",),
    kinds=("binary",),
    pictures=("fig2c",),
)
def fig2c_cifar100(scale: str, seed: int) -> Sequence[RunConfig]:
    """Precision and recall of the hundred binary classifiers, CIFAR-100."""
    return coded_runs(table2_cifar100(scale, seed))


@experiment(
    "fig8-imagenet",
    paper_item="Fig 8",
    items=("fig8",),
    about="Fig 8.",
    usage="codepath run fig8-imagenet --scale paper --results results",
    cost=(
        "no training beside table2-imagenet's coded run, but an evaluation that scores 60"
        " million pairs of a class and an image: as much computing as about nine of the "
        "150 epochs."
    ),
    expected="a cloud of a thousand points; the paper prints no numbers.",
    scales=("demo", "paper"),
    smoke=("demo",),
    kinds=("binary",),
    pictures=("fig8",),
)
def fig8_imagenet(scale: str, seed: int) -> Sequence[RunConfig]:
    """Precision and recall of the thousand binary classifiers, ImageNet."""
    return coded_runs(table2_imagenet(scale, seed))


@experiment(
    "fig3-cifar10",
    paper_item="Fig 3",
    items=("fig3",),
    about="Fig 3.",
    usage="codepath run fig3-cifar10 --scale paper --results results",
    cost="nothing beside table2-cifar10's coded run.",
    expected="two separate heaps with the threshold between them; the paper prints no numbers.",
    scales=("cpu", "short", "paper"),
    kinds=("histograms",),
    pictures=("fig3",),
)
def fig3_cifar10(scale: str, seed: int) -> Sequence[RunConfig]:
    """Histogram of the first class's binary logit, for its images and for all others, CIFAR-10."""
    return coded_runs(table2_cifar10(scale, seed))


@experiment(
    "fig7-cifar10",
    paper_item="Fig 7",
    items=("fig7",),
    about="Fig 7.",
    usage="codepath run fig7-cifar10 --scale paper --results results",
    cost="nothing beside table2-cifar10's coded run.",
    expected="as Fig 3, ten times; the paper prints no numbers.",
    scales=("cpu", "short", "paper"),
    kinds=("histograms",),
    pictures=("fig7",),
)
def fig7_cifar10(scale: str, seed: int) -> Sequence[RunConfig]:
    """Histograms of the first ten classes' binary logits, CIFAR-10."""
    return coded_runs(table2_cifar10(scale, seed))


@experiment(
    "fig7-cifar100",
    paper_item="Fig 7",
    items=("fig7",),
    about="Fig 7.",
    usage="codepath run fig7-cifar100 --scale paper --results results",
    cost="nothing beside table2-cifar100's coded run.",
    expected="two heaps per class; the paper prints no numbers.",
    scales=("demo", "short", "paper"),
    smoke=("demo",),
    kinds=("histograms",),
    pictures=("fig7",),
)
def fig7_cifar100(scale: str, seed: int) -> Sequence[RunConfig]:
    """Histograms of the first ten classes' binary logits, CIFAR-100."""
    return coded_runs(table2_cifar100(scale, seed))


@experiment(
    "fig7-imagenet",
    paper_item="Fig 7",
    items=("fig7",),
    about="Fig 7.",
    usage="codepath run fig7-imagenet --scale paper --results results",
    cost="nothing beside table2-imagenet's coded run.",
    expected="two heaps per class; the paper prints no numbers.",
    scales=("demo", "paper"),
    smoke=("demo",),
    kinds=("histograms",),
    pictures=("fig7",),
)
def fig7_imagenet(scale: str, seed: int) -> Sequence[RunConfig]:
    """Histograms of the first ten classes' binary logits, ImageNet."""
    return coded_runs(table2_imagenet(scale, seed))


@experiment(
    "fig4-cifar10",
    paper_item="Fig 4",
    items=("fig4",),
    about="Fig 4.",
    usage="codepath run fig4-cifar10 --scale paper --results results",
    cost="nothing beside table2-cifar10's coded run.",
    expected="at paper scale 71.6 % at block 4, rising to 93.9 % at block 9.",
    scales=("cpu", "short", "paper"),
    kinds=("decoders", "accuracy"),
    pictures=("fig4",),
    references=("fig4_early_decoders",),
    tolerance=1.5,
)
def fig4_cifar10(scale: str, seed: int) -> Sequence[RunConfig]:
    """Accuracy of the early decoder of every coded block, CIFAR-10."""
    return coded_runs(table2_cifar10(scale, seed))


@experiment(
    "fig4-cifar100",
    paper_item="Fig 4",
    items=("fig4",),
    about="Fig 4.",
    usage="codepath run fig4-cifar100 --scale paper --results results",
    cost="nothing beside table2-cifar100's coded run.",
    expected="at paper scale 21.8 % at block 4, rising to 68.0 % at block 9.",
    scales=("demo", "short", "paper"),
    smoke=("demo",),
    kinds=("decoders", "accuracy"),
    pictures=("fig4",),
    references=("fig4_early_decoders",),
    tolerance=1.5,
)
def fig4_cifar100(scale: str, seed: int) -> Sequence[RunConfig]:
    """Accuracy of the early decoder of every coded block, CIFAR-100."""
    return coded_runs(table2_cifar100(scale, seed))


@experiment(
    "fig4-imagenet",
    paper_item="Fig 4",
    items=("fig4",),
    about="Fig 4.",
    usage="codepath run fig4-imagenet --scale paper --results results",
    cost="one run of 150 epochs a seed (mu = 4) beside table2-imagenet's coded run.",
    expected=(
        "at paper scale 73.4 % at the last block with mu = 4 (softmax 77.6 %), 65.5 % with mu = 1."
    ),
    scales=("demo", "paper"),
    smoke=("demo",),
    kinds=("decoders", "accuracy"),
    pictures=("fig4",),
    references=("fig4_early_decoders",),
    tolerance=1.5,
)
def fig4_imagenet(scale: str, seed: int) -> Sequence[RunConfig]:
    """Accuracy of the early decoder of every coded block with mu = 1 and mu = 4, ImageNet."""
    (base,) = coded_runs(table2_imagenet(scale, seed))
    return [base, override(base, ["train.mu=4"])]
