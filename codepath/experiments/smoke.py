"""Smoke runs: an experiment's own networks and steps on images made up in memory, in seconds."""

from __future__ import annotations

import dataclasses

from codepath.run.config import DataConfig, RunConfig, TrainConfig

CLASSES = 20
"""Classes of the made-up data sets: few, so that binary classifiers and codes stay cheap."""


def smoke_of(run: RunConfig) -> RunConfig:
    """`run` at demo scale, on made-up images instead of its data set (`codepath.data`).

    Its numbers show that everything works; they say nothing about the paper.
    """
    return dataclasses.replace(
        run,
        scale="demo",
        model=dataclasses.replace(run.model, num_classes=CLASSES),
        data=DataConfig(source=f"generated-{run.data.source}", pad=2, flip=True),
        train=TrainConfig(
            epochs=4,
            batch_size=32,
            lr=0.05,
            lr_end=1e-4,
            mu=run.train.mu,
            exponent=run.train.exponent,
        ),
        evaluation=dataclasses.replace(run.evaluation, removal_draws=1),
    )
