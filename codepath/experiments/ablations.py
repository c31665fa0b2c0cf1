"""Ablations: Table 2's coded run with one setting changed, beside the run itself.

A changed run bears the name that `--set` gives it (`table2-cifar10+train.mu=4`).
"""

from __future__ import annotations

from collections.abc import Sequence

from codepath.experiments.cifar import table2_cifar10, table2_cifar100
from codepath.experiments.digits import table2_digits
from codepath.experiments.imagenet import table2_imagenet
from codepath.experiments.registry import RunsOf, experiment, override
from codepath.run.config import RunConfig

MU = (0, 2, 4, 6, 10, 14, 18)
MU_CPU = (0, 2, 6, 12)
MU_DEMO = (0, 2, 6, 18)
P_DROP = (0.0, 0.1, 0.2)
EXPONENTS = (4, 2, 1)


def _varied(base: RunsOf, scale: str, seed: int, settings: Sequence[str]) -> list[RunConfig]:
    """The coded run with each item's settings (joined by blanks); for "" it is left as it is."""
    coded = next(run for run in base(scale, seed) if run.model_role == "coded")
    return [override(coded, setting.split()) for setting in settings]


def _mu(base: RunsOf, scale: str, seed: int, values: Sequence[int]) -> list[RunConfig]:
    return _varied(base, scale, seed, ["" if mu == 6 else f"train.mu={mu}" for mu in values])


def _p_drop(base: RunsOf, scale: str, seed: int) -> list[RunConfig]:
    settings = ["" if p == 0.1 else f"model.p_drop={p:g}" for p in P_DROP]
    return _varied(base, scale, seed, settings)


def _exponent(base: RunsOf, scale: str, seed: int) -> list[RunConfig]:
    settings = ["" if e == 4 else f"train.exponent={e}" for e in EXPONENTS]
    return _varied(base, scale, seed, settings)


def _aggregate(base: RunsOf, scale: str, seed: int) -> list[RunConfig]:
    return _varied(base, scale, seed, ["", "model.aggregate=concat"])


@experiment(
    "fig5-cifar100",
    paper_item="Fig 5",
    items=("fig5",),
    about="Fig 5 (mu of 0, 2, 4, 6, 10, 14 and 18; decoders of blocks 6 and 9).",
    usage="codepath run fig5-cifar100 --scale paper --results results",
    cost="6 runs of 300 epochs a seed beside table2-cifar100's coded run.",
    expected=(
        "at paper scale the softmax peaks at 78.28 % with mu = 6 and falls to 76.1 % with"
        " mu = 18, while block 6's decoder rises from 1.5 to 52.8 %."
    ),
    scales=("demo", "paper"),
    smoke=("demo",),
    kinds=("accuracy", "decoders"),
    pictures=("fig5",),
    references=("fig5_mu",),
    tolerance=1.0,
)
def fig5_cifar100(scale: str, seed: int) -> Sequence[RunConfig]:
    """Accuracy of softmax and early decoders against mu, the weight of the coding loss,
    CIFAR-100.
    """
    return _mu(table2_cifar100, scale, seed, MU if scale == "paper" else MU_DEMO)


@experiment(
    "fig5-cifar10",
    paper_item="Fig 5 (ours)",
    items=("fig5",),
    about="none; the shape of Fig 5.",
    usage="codepath run fig5-cifar10 --scale cpu --results results",
    cost=(
        "beside table2-cifar10's coded run 3 runs of 15 epochs a seed at cpu scale, 6 of "
        "300 at paper scale."
    ),
    expected=(
        "the paper has no numbers for CIFAR-10; by Fig 5 the decoders rise with mu and "
        "the softmax has an optimum between the ends."
    ),
    scales=("cpu", "paper"),
    kinds=("accuracy", "decoders"),
    pictures=("fig5",),
)
def fig5_cifar10(scale: str, seed: int) -> Sequence[RunConfig]:
    """Fig 5's question on CIFAR-10, where it can be asked without a GPU."""
    return _mu(table2_cifar10, scale, seed, MU if scale == "paper" else MU_CPU)


@experiment(
    "fig5-digits",
    paper_item="Fig 5 (demo)",
    items=("fig5",),
    about="none; the shape of Fig 5.",
    usage="codepath run fig5-digits --seeds 3",
    cost="3 runs of about 20 seconds a seed on two cores of an AMD EPYC.",
    expected="decoders near chance with mu = 0, rising with mu.",
    scales=("demo",),
    kinds=("accuracy", "decoders"),
    pictures=("fig5",),
)
def fig5_digits(scale: str, seed: int) -> Sequence[RunConfig]:
    """Fig 5's question on digits."""
    return _mu(table2_digits, scale, seed, MU_DEMO)


@experiment(
    "fig6-cifar10",
    paper_item="Fig 6",
    items=("fig6",),
    about="Fig 6.",
    usage="codepath run fig6-cifar10 --scale paper --results results",
    cost=(
        "2 runs a seed beside table2-cifar10's coded run: 15 epochs at cpu scale, 300 at "
        "paper scale."
    ),
    expected=(
        "at paper scale top-1 of 94.33, 94.41 and 93.57 %; with p_drop = 0 a precision of"
        " 12 to 26 %, with 0.1 and 0.2 above 80 %."
    ),
    scales=("cpu", "paper"),
    kinds=("accuracy", "binary"),
    pictures=("fig6",),
    references=("fig6_pdrop",),
    tolerance=0.5,
)
def fig6_cifar10(scale: str, seed: int) -> Sequence[RunConfig]:
    """Precision and recall of the binary classifiers with DropSubNNs at 0, 0.1 and 0.2,
    CIFAR-10.
    """
    return _p_drop(table2_cifar10, scale, seed)


@experiment(
    "fig6-digits",
    paper_item="Fig 6 (demo)",
    items=("fig6",),
    about="none; the shape of Fig 6.",
    usage="codepath run fig6-digits --seeds 3",
    cost="2 runs of about 20 seconds a seed on two cores of an AMD EPYC.",
    expected="binary classifiers that are better with p_drop of 0.1 than with 0.",
    scales=("demo",),
    kinds=("accuracy", "binary"),
    pictures=("fig6",),
)
def fig6_digits(scale: str, seed: int) -> Sequence[RunConfig]:
    """Fig 6's question on digits."""
    return _p_drop(table2_digits, scale, seed)


@experiment(
    "exponent-cifar10",
    paper_item="Text: exponent",
    about="a sentence of the text on Eq. 5.",
    usage="codepath run exponent-cifar10 --scale paper --results results",
    cost=(
        "2 runs a seed beside table2-cifar10's coded run: 15 epochs at cpu scale, 300 at "
        "paper scale."
    ),
    expected="at paper scale 94.4, 93.1 and 87.1 %.",
    scales=("cpu", "paper"),
    kinds=("accuracy",),
    pictures=("exponent",),
    references=("exponent_ablation",),
    tolerance=0.5,
)
def exponent_cifar10(scale: str, seed: int) -> Sequence[RunConfig]:
    """Top-1 with exponents 4, 2 and 1 (absolute value) in the coding loss, CIFAR-10."""
    return _exponent(table2_cifar10, scale, seed)


@experiment(
    "exponent-digits",
    paper_item="Text: exponent (demo)",
    about="none; the shape of the text's sentence.",
    usage="codepath run exponent-digits --seeds 3",
    cost="2 runs of about 20 seconds a seed on two cores of an AMD EPYC.",
    expected="the least accuracy with exponent 1.",
    scales=("demo",),
    kinds=("accuracy",),
    pictures=("exponent",),
)
def exponent_digits(scale: str, seed: int) -> Sequence[RunConfig]:
    """The exponent of the coding loss on digits."""
    return _exponent(table2_digits, scale, seed)


@experiment(
    "concat-cifar10",
    paper_item="Text: concatenation",
    about=(
        "a sentence of the text. Path n gives floor(C/N) channels, the first C mod N "
        "paths one more; d is raised until the parameters match."
    ),
    usage="codepath run concat-cifar10 --scale paper --results results",
    cost=(
        "one run a seed beside table2-cifar10's coded run: 15 epochs at cpu scale, 300 at"
        " paper scale."
    ),
    expected="useless binary classifiers; the paper prints no number.",
    scales=("cpu", "paper"),
    kinds=("accuracy", "binary"),
    pictures=("concat",),
)
def concat_cifar10(scale: str, seed: int) -> Sequence[RunConfig]:
    """Paths' outputs side by side instead of summed, CIFAR-10."""
    return _aggregate(table2_cifar10, scale, seed)


@experiment(
    "concat-digits",
    paper_item="Text: concatenation (demo)",
    about="none; the shape of the text's sentence.",
    usage="codepath run concat-digits --seeds 3",
    cost="one run of about 20 seconds a seed on two cores of an AMD EPYC.",
    expected="worse binary classifiers than with the sum.",
    scales=("demo",),
    kinds=("accuracy", "binary"),
    pictures=("concat",),
)
def concat_digits(scale: str, seed: int) -> Sequence[RunConfig]:
    """Paths' outputs side by side instead of summed, digits."""
    return _aggregate(table2_digits, scale, seed)


@experiment(
    "variants-imagenet",
    paper_item="Text: ImageNet variants",
    about=(
        "sentences of the text: (mu, p_drop) of (6, 0.1), (4, 0.1), (4, 0.05) and (1, "
        "0.1); c3 coded with 24 of 32; c4's last three blocks with 8 of 32 and c5 with 4 "
        "of 32."
    ),
    usage="codepath run variants-imagenet --scale paper --results results",
    cost=("5 runs of 150 epochs a seed beside table2-imagenet's coded run, one fig4-imagenet's."),
    expected=(
        "at paper scale 78.12 % with (1, 0.1) and 77.6 % with (4, 0.1); of the others the"
        " paper prints no number that we have."
    ),
    scales=("demo", "paper"),
    smoke=("demo",),
    kinds=("accuracy",),
    pictures=("variants",),
    references=("table2_accuracy",),
    tolerance=0.5,
)
def variants_imagenet(scale: str, seed: int) -> Sequence[RunConfig]:
    """Other mu, p_drop and ratios on ImageNet."""
    return _varied(
        table2_imagenet,
        scale,
        seed,
        [
            "",
            "train.mu=4",
            "train.mu=6",
            "train.mu=4 model.p_drop=0.05",
            "model.active=32,24,16,8",
            "model.active=32,32,(16,16,16,8,8,8),4",
        ],
    )


@experiment(
    "ratio-cifar10",
    paper_item="Ratios (ours)",
    about=(
        "none; the shape of the ImageNet variants. Codewords of 7 and 2 ones are designed"
        " (`codepath codes design`): the paper has none."
    ),
    usage="codepath run ratio-cifar10 --scale cpu --results results",
    cost=(
        "2 runs a seed beside table2-cifar10's coded run: 15 epochs at cpu scale, 300 at "
        "paper scale."
    ),
    expected="the paper has no number for CIFAR-10.",
    scales=("cpu", "paper"),
    kinds=("accuracy", "decoders", "binary"),
    pictures=("variants",),
)
def ratio_cifar10(scale: str, seed: int) -> Sequence[RunConfig]:
    """The ImageNet variants' ratios on CIFAR-10: one more coded stage, and fewer paths per
    class.
    """
    deep = "5,3" if scale == "cpu" else "5,5,3"
    settings = ["", "model.active=7,5,3", f"model.active=10,({deep}),2"]
    return _varied(table2_cifar10, scale, seed, settings)


@experiment(
    "schemes-cifar10",
    paper_item="Schemes (ours)",
    also_measured=("table3",),
    about="none; it is what a better code than Table 3's is worth.",
    usage="codepath run schemes-cifar10 --scale cpu --results results",
    cost=(
        "one run a seed beside table2-cifar10's coded run: 15 epochs at cpu scale, 300 at"
        " paper scale."
    ),
    expected="nothing is known.",
    scales=("cpu", "paper"),
    kinds=("accuracy", "decoders", "binary"),
    pictures=("variants",),
)
def schemes_cifar10(scale: str, seed: int) -> Sequence[RunConfig]:
    """The paper's coding schemes against the best of the same size, CIFAR-10."""
    return _varied(table2_cifar10, scale, seed, ["", "model.scheme_family=best"])
