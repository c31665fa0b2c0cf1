"""Items that need no training: architectures, coding schemes, costs (scripts of benchmarks/)."""

from __future__ import annotations

from collections.abc import Sequence

from codepath.config import RunConfig
from codepath.experiments.registry import experiment


@experiment(
    "table1",
    paper_item="Table 1",
    scales=("paper",),
    pictures=("table1",),
    references=("table1_architectures",),
    tolerance=0.0,
    benchmarks=("architectures",),
)
def table1(scale: str, seed: int) -> Sequence[RunConfig]:  # noqa: ARG001
    """Architectures and parameters, counted on the registered networks.

    Paper item: Table 1.

    Command: codepath bench architectures
    Cost: half a minute on a CPU.
    Expected: 4,638,926, 4,749,136 and 25,027,904 parameters.
    """
    return []


@experiment(
    "table3",
    paper_item="Table 3",
    scales=("paper",),
    pictures=("table3", "codes"),
    references=("coding_schemes_cifar10",),
    benchmarks=("codes",),
)
def table3(scale: str, seed: int) -> Sequence[RunConfig]:  # noqa: ARG001
    """CIFAR-10's coding schemes, and how all schemes stand against the bounds.

    Paper item: Table 3.

    Command: codepath bench codes
    Cost: about 80 seconds on a CPU (the table itself needs nothing: the schemes are shipped).
    Expected: the paper's codewords, bit for bit.
    """
    return []


@experiment(
    "table4",
    paper_item="Table 4",
    scales=("paper",),
    pictures=("table4", "cost"),
    references=("table4_costs",),
    benchmarks=("architectures", "network", "block"),
)
def table4(scale: str, seed: int) -> Sequence[RunConfig]:  # noqa: ARG001
    """Multiply-adds, parameters, throughput and memory of ImageNet's network and its baseline.

    Paper item: Table 4 (at 160 pixels).

    Command: codepath bench architectures; codepath bench network; codepath bench block
    Cost: half a minute for the counts; the two timings take a CPU far longer (not timed).
    Expected: 2.196 and 2.269 GFLOPs, 25.0M parameters; the paper's speeds are those of a TPU.
    """
    return []


@experiment(
    "parameters",
    paper_item="Text: parameters kept",
    scales=("paper",),
    pictures=("parameters",),
    references=("binary_parameters",),
    tolerance=1.0,
    benchmarks=("architectures",),
)
def parameters(scale: str, seed: int) -> Sequence[RunConfig]:  # noqa: ARG001
    """The share of the parameters that a binary classifier keeps, counted both ways.

    Paper item: a sentence of the text.

    Command: codepath bench architectures
    Cost: half a minute on a CPU.
    Expected: by the paper 38, 27 and 35 %. Every parameter of a coded stage scaled by r comes
    close to that; a classifier that is cut out keeps more, since stem, c2 and skips stay whole.
    """
    return []


@experiment(
    "decoding",
    paper_item="Decoding (ours)",
    scales=("paper",),
    pictures=("decoding",),
    benchmarks=("decoding",),
)
def decoding(scale: str, seed: int) -> Sequence[RunConfig]:  # noqa: ARG001
    """Error of the nearest codeword under normal noise, the paper's schemes and the best.

    Paper item: none.

    Command: codepath bench decoding
    Cost: a CPU; not timed.
    Expected: nothing is known.
    """
    return []
