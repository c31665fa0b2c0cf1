from __future__ import annotations

import dataclasses

import pytest

from codepath.core.errors import UserError
from codepath.run import config
from codepath.run.config import RunConfig, TrainConfig


def test_round_trip_through_plain_values(tiny_config: RunConfig) -> None:
    changed = dataclasses.replace(
        tiny_config, model=dataclasses.replace(tiny_config.model, schemes=("10-10-5", "10-10-3"))
    )
    assert config.run_config_from_dict(config.to_dict(changed)) == changed


def test_hash_follows_the_content(tiny_config: RunConfig) -> None:
    same = config.run_config_from_dict(config.to_dict(tiny_config))
    other = dataclasses.replace(tiny_config, seed=tiny_config.seed + 1)
    assert config.content_hash(same) == config.content_hash(tiny_config)
    assert config.content_hash(other) != config.content_hash(tiny_config)
    assert tiny_config.run_id.startswith("table2-tiny-demo-coded-s3-")


def test_unknown_and_missing_keys_are_errors(tiny_config: RunConfig) -> None:
    values = config.to_dict(tiny_config)
    values["train"]["epoch"] = 5
    with pytest.raises(UserError, match=r"unknown key run\.train\.epoch"):
        config.run_config_from_dict(values)
    values = config.to_dict(tiny_config)
    del values["model"]["name"]
    with pytest.raises(UserError, match="name"):
        config.run_config_from_dict(values)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("", [], "run is a list, must be an object"),
        ("model", "x", "run.model is 'x', must be an object"),
        ("model.name", 5, "run.model.name is 5, must be a text"),
        ("train.epochs", 3.5, "run.train.epochs is 3.5, must be a whole number"),
        ("train.lr", "0.1", "run.train.lr is '0.1', must be a finite number"),
        ("train.weight_decay", float("nan"), "run.train.weight_decay is nan"),
        ("seed", True, "run.seed is True"),
        ("model.schemes", ["10-10-5", 3], r"run.model.schemes\[1\] is 3"),
        ("experiment", "../../elsewhere", "experiment is '../../elsewhere', must be the name"),
        ("experiment", "", "experiment is '', must be the name"),
        ("model_role", "..", "model_role is '..', must be the name"),
    ],
)
def test_values_of_other_types_are_refused(
    tiny_config: RunConfig, path: str, value: object, message: str
) -> None:
    """Names with folders in them, too: a run's directory is called after them."""
    values: object = config.to_dict(tiny_config)
    *sections, key = path.split(".")
    holder = values
    for section in sections:
        holder = holder[section]
    if key:
        holder[key] = value
    with pytest.raises(UserError, match=message):
        config.run_config_from_dict(values if key else value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"warmup_epochs": 3}, "warmup_epochs is 3 of 3"),
        ({"lr": 0.0}, "lr is 0.0"),
        ({"mu": -1.0}, "mu is -1.0"),
        ({"precision": "float8"}, "precision is 'float8'"),
        ({"batch_size": 1}, "batch_size is 1"),
    ],
)
def test_impossible_recipes_are_refused(tiny_config: RunConfig, change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(tiny_config.train, **change)


def test_differences_name_the_key() -> None:
    old = config.to_dict(TrainConfig(epochs=3, batch_size=2, lr=1, lr_end=0))
    assert config.differences({"train": old}, {"train": {**old, "epochs": 4}}) == [
        "train.epochs: 3 -> 4"
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bn_batch": 5}, "bn_batch is 5, must be 0 or a divisor of batch_size, 32"),
        ({"bn_batch": 1}, "bn_batch is 1"),
        ({"bn_momentum": 0.0}, "bn_momentum is 0.0"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0"),
        ({"label_smoothing": 1.0}, "label_smoothing is 1.0"),
    ],
)
def test_impossible_switches_are_refused(
    tiny_config: RunConfig, change: dict, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(tiny_config.train, **change)
