"""Items that need no training: architectures, coding schemes, costs (scripts of benchmarks/)."""

from __future__ import annotations

from collections.abc import Sequence

from codepath.experiments.registry import experiment
from codepath.run.config import RunConfig


@experiment(
    "table1",
    paper_item="Table 1",
    items=("table1",),
    about="Table 1.",
    usage="codepath bench architectures",
    cost="half a minute on a CPU.",
    expected="4,638,926, 4,749,136 and 25,027,904 parameters.",
    scales=("paper",),
    pictures=("table1",),
    references=("table1_architectures",),
    tolerance=0.0,
    benchmarks=("architectures",),
)
def table1(scale: str, seed: int) -> Sequence[RunConfig]:  # noqa: ARG001
    """Architectures and parameters, counted on the registered networks."""
    return []


@experiment(
    "table3",
    paper_item="Table 3",
    items=("table3",),
    about="Table 3.",
    usage="codepath bench codes",
    cost=("about 80 seconds on a CPU (the table itself needs nothing: the schemes are shipped)."),
    expected="the paper's codewords, bit for bit.",
    scales=("paper",),
    pictures=("table3", "codes"),
    references=("coding_schemes_cifar10",),
    benchmarks=("codes",),
)
def table3(scale: str, seed: int) -> Sequence[RunConfig]:  # noqa: ARG001
    """CIFAR-10's coding schemes, and how all schemes stand against the bounds."""
    return []


@experiment(
    "table4",
    paper_item="Table 4",
    items=("table4",),
    about="Table 4 (at 160 pixels).",
    usage="codepath bench architectures; codepath bench network; codepath bench block",
    cost="half a minute for the counts; the two timings take a CPU far longer (not timed).",
    expected="2.196 and 2.269 GFLOPs, 25.0M parameters; the paper's speeds are those of a TPU.",
    scales=("paper",),
    pictures=("table4", "cost"),
    references=("table4_costs",),
    benchmarks=("architectures", "network", "block"),
)
def table4(scale: str, seed: int) -> Sequence[RunConfig]:  # noqa: ARG001
    """Multiply-adds, parameters, throughput and memory of ImageNet's network and its baseline."""
    return []


@experiment(
    "parameters",
    paper_item="Text: parameters kept",
    about="a sentence of the text.",
    usage="codepath bench architectures",
    cost="half a minute on a CPU.",
    expected=(
        "by the paper 38, 27 and 35 %. Every parameter of a coded stage scaled by r comes"
        " close to that; a classifier that is cut out keeps more, since stem, c2 and "
        "skips stay whole."
    ),
    scales=("paper",),
    pictures=("parameters",),
    references=("binary_parameters",),
    tolerance=1.0,
    benchmarks=("architectures",),
)
def parameters(scale: str, seed: int) -> Sequence[RunConfig]:  # noqa: ARG001
    """The share of the parameters that a binary classifier keeps, counted both ways."""
    return []


@experiment(
    "decoding",
    paper_item="Decoding (ours)",
    about="none.",
    usage="codepath bench decoding",
    cost="a CPU; not timed.",
    expected="nothing is known.",
    scales=("paper",),
    pictures=("decoding",),
    benchmarks=("decoding",),
)
def decoding(scale: str, seed: int) -> Sequence[RunConfig]:  # noqa: ARG001
    """Error of the nearest codeword under normal noise, the paper's schemes and the best."""
    return []
