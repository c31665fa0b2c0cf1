"""Table 2 on ImageNet."""

from __future__ import annotations

from collections.abc import Sequence

from codepath.experiments.registry import baseline_of, experiment
from codepath.experiments.smoke import smoke_of
from codepath.run.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig


@experiment(
    "table2-imagenet",
    paper_item="Table 2",
    items=("table2",),
    also_measured=("fig2a", "fig4", "fig7", "fig8"),
    about=("Table 2; Fig 2a, 7, 8 and the mu = 1 points of Fig 4 are measured on its coded runs."),
    usage="make replicate-imagenet DATA=...",
    cost=(
        "2 runs a seed of 150 epochs over 1,281,167 images, decoded on the processor's "
        "cores. Demo scale: minutes, on made-up images."
    ),
    expected=("at paper scale top-1 of 78.12 % coded and 78.05 % plain. The demo scale is smoke."),
    scales=("demo", "paper"),
    smoke=("demo",),
    kinds=("accuracy",),
    pictures=("table2",),
    references=("table2_accuracy",),
    tolerance=0.5,
)
def table2_imagenet(scale: str, seed: int) -> Sequence[RunConfig]:
    """Coded against plain ResNeXt-50 on ImageNet at 160 pixels."""
    run = RunConfig(
        experiment="table2-imagenet",
        scale="paper",
        model_role="coded",
        seed=seed,
        model=ModelConfig(name="coded_resnext50_32x4d", num_classes=1000, p_drop=0.1),
        data=DataConfig(source="imagenet", crop=160, flip=True, randaugment="rand-m10-n2"),
        train=TrainConfig(
            epochs=150,
            batch_size=1024,
            lr=0.4,
            lr_end=1e-5,
            warmup_epochs=5,
            warmup_lr=1e-4,
            weight_decay=1e-4,
            decay_norm_and_bias=False,
            mu=1.0,
            precision="bfloat16",
            bn_batch=128,
        ),
        evaluation=EvalConfig(removal_block=15, removal_draws=1),
    )
    run = smoke_of(run) if scale == "demo" else run
    return [run, baseline_of(run, "resnext50_32x4d")]
