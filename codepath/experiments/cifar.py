"""Table 2 on CIFAR-10 and CIFAR-100."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from codepath.experiments.registry import baseline_of, experiment
from codepath.experiments.scales import GPU_SCALES, PAPER, PAPER_EPOCHS, SHORT, SHORT_EPOCHS
from codepath.experiments.smoke import smoke_of
from codepath.run.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig

_PAPER_RECIPE = TrainConfig(
    epochs=PAPER_EPOCHS,
    batch_size=512,
    lr=0.1,
    lr_end=1e-4,
    mu=6.0,
    precision="bfloat16",
    bn_batch=64,
)
_RECIPES = {PAPER: _PAPER_RECIPE, SHORT: dataclasses.replace(_PAPER_RECIPE, epochs=SHORT_EPOCHS)}
_CPU_RECIPE = TrainConfig(
    epochs=15, batch_size=64, lr=0.05, lr_end=1e-4, mu=6.0, precision="bfloat16"
)


@experiment(
    "table2-cifar10",
    paper_item="Table 2",
    items=("table2",),
    also_measured=("fig2a", "fig2b", "fig3", "fig4", "fig7"),
    about="Table 2; Fig 2a, 2b, 3, 4 and 7 are measured on its coded runs.",
    usage="make replicate-cifar10 [SCALE=cpu|short|paper] [SEEDS=3]",
    cost="2 runs a seed: 15 epochs at cpu scale, 60 at short scale, 300 at paper scale.",
    expected=(
        "at paper scale top-1 of 94.41 % coded and 93.66 % plain. The cpu scale is a "
        "proxy: a smaller network, 15 epochs, no RandAugment. So is the short scale: the "
        "paper's network and recipe, 60 of 300 epochs. The demo scale is smoke: the cpu "
        "scale's networks on made-up images."
    ),
    scales=("demo", "cpu", "short", "paper"),
    smoke=("demo",),
    kinds=("accuracy",),
    pictures=("table2",),
    references=("table2_accuracy",),
    tolerance=0.5,
)
def table2_cifar10(scale: str, seed: int) -> Sequence[RunConfig]:
    """Coded against plain ResNeXt on CIFAR-10."""
    if scale in GPU_SCALES:
        coded, plain = "coded_resnext29_10x11d", "resnext29_10x11d"
        data = DataConfig(source="cifar10", pad=4, flip=True, randaugment="rand-m4-n3")
        recipe, block = _RECIPES[scale], 6
    else:
        coded, plain = "coded_resnext20_10x6d", "resnext20_10x6d"
        data, recipe, block = DataConfig(source="cifar10", pad=4, flip=True), _CPU_RECIPE, 4
    run = RunConfig(
        experiment="table2-cifar10",
        scale=scale,
        model_role="coded",
        seed=seed,
        model=ModelConfig(name=coded, num_classes=10, p_drop=0.1),
        data=data,
        train=recipe,
        evaluation=EvalConfig(removal_block=block, removal_draws=2),
    )
    run = smoke_of(run) if scale == "demo" else run
    return [run, baseline_of(run, plain)]


@experiment(
    "table2-cifar100",
    paper_item="Table 2",
    items=("table2",),
    also_measured=("fig2a", "fig2c", "fig4", "fig5", "fig7"),
    about=(
        "Table 2; Fig 2a, 2c, 4, 7 and the mu = 6 points of Fig 5 are measured on its coded runs."
    ),
    usage="make replicate-cifar100 SCALE=paper|short [SEEDS=3]",
    cost=(
        "2 runs a seed: 60 epochs at short scale, 300 at paper scale. Demo scale: some "
        "minutes, on made-up images."
    ),
    expected=(
        "at paper scale top-1 of 78.28 % coded and 76.86 % plain. The short scale is a "
        "proxy: the paper's network and recipe, 60 of 300 epochs. The demo scale is "
        "smoke."
    ),
    scales=("demo", "short", "paper"),
    smoke=("demo",),
    kinds=("accuracy",),
    pictures=("table2",),
    references=("table2_accuracy",),
    tolerance=0.5,
)
def table2_cifar100(scale: str, seed: int) -> Sequence[RunConfig]:
    """Coded against plain ResNeXt on CIFAR-100."""
    run = RunConfig(
        experiment="table2-cifar100",
        scale=scale,
        model_role="coded",
        seed=seed,
        model=ModelConfig(name="coded_resnext29_20x6d", num_classes=100, p_drop=0.1),
        data=DataConfig(source="cifar100", pad=4, flip=True, randaugment="rand-m2-n1"),
        train=_RECIPES.get(scale, _PAPER_RECIPE),
        evaluation=EvalConfig(removal_block=6, removal_draws=2),
    )
    run = smoke_of(run) if scale == "demo" else run
    return [run, baseline_of(run, "resnext29_20x6d")]
