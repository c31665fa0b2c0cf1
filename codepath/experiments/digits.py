"""The demo: the paper's main experiment on scikit-learn's digits."""

from __future__ import annotations

from collections.abc import Sequence

from codepath.experiments.registry import baseline_of, experiment
from codepath.run.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig


@experiment(
    "table2-digits",
    paper_item="Table 2",
    items=("table2",),
    also_measured=("fig2a", "fig2b", "fig3", "fig4", "fig7"),
    about=(
        "the shape of Table 2 and Fig 2a, 2b, 3, 4 and 7. No number of the paper belongs "
        "to this data set: it shows the method at work, offline and in minutes."
    ),
    usage="make demo",
    cost="2 runs a seed, about 20 seconds a run on two cores of an AMD EPYC, measured.",
    expected="top-1 of at least 95 % for both, last early decoder of at least 90 %.",
    scales=("demo",),
    kinds=("accuracy", "removal", "binary", "histograms", "decoders", "exits", "paths"),
    pictures=(
        *("table2", "fig2a", "fig2b", "fig3", "fig4", "fig7"),
        *("exits", "linear", "paths", "compression"),
    ),
)
def table2_digits(scale: str, seed: int) -> Sequence[RunConfig]:
    """Coded against plain ResNeXt on handwritten digits of 8 x 8 pixels."""
    coded = RunConfig(
        experiment="table2-digits",
        scale=scale,
        model_role="coded",
        seed=seed,
        model=ModelConfig(name="coded_resnext20_10x4d", num_classes=10, in_chans=1, p_drop=0.1),
        data=DataConfig(source="digits", pad=1),
        train=TrainConfig(epochs=30, batch_size=64, lr=0.1, lr_end=1e-4, mu=6.0),
        evaluation=EvalConfig(removal_block=4),
    )
    return [coded, baseline_of(coded, "resnext20_10x4d")]
