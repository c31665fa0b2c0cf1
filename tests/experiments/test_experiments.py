from __future__ import annotations

import pytest

from codepath.codes import load_scheme
from codepath.config import content_hash
from codepath.experiments import all_experiments, find_experiment
from codepath.experiments.paper import REFERENCE, reference
from codepath.experiments.registry import experiment, override
from codepath.models import model_names
from codepath.runtime import UserError


@pytest.mark.parametrize("name", [e.name for e in all_experiments()])
def test_every_experiment_is_described_and_can_be_planned(name: str) -> None:
    found = find_experiment(name)
    assert "Command:" in found.description
    assert "Cost:" in found.description
    assert "Expected:" in found.description
    for scale in found.scales:
        runs = found.runs(scale, seed=2)
        assert len({config.name for config in runs}) == len(runs) > 0
        for config in runs:
            assert config.experiment == name
            assert (config.scale, config.seed) == (scale, 2)
            assert config.model.name in model_names()


def test_the_baseline_differs_in_the_coding_alone() -> None:
    coded, plain = find_experiment("table2-digits").runs("demo", 0)
    assert (coded.model_role, plain.model_role) == ("coded", "baseline")
    assert (coded.train.mu, plain.train.mu) == (6.0, 0.0)
    assert (coded.model.p_drop, plain.model.p_drop) == (0.1, 0.0)
    assert coded.data == plain.data
    assert coded.train.lr == plain.train.lr


def test_unknown_names_and_scales() -> None:
    with pytest.raises(UserError, match="did you mean table2-digits"):
        find_experiment("table2-digit")
    with pytest.raises(UserError, match="choose demo"):
        find_experiment("table2-digits").runs("paper", 0)


def test_overrides_are_typed_and_change_name_and_hash() -> None:
    (config, _) = find_experiment("table2-digits").runs("demo", 0)
    changed = override(
        config, ["train.epochs=2", "data.flip=true", "model.schemes=10-10-5,10-10-3"]
    )
    assert changed.train.epochs == 2
    assert changed.data.flip is True
    assert changed.model.schemes == ("10-10-5", "10-10-3")
    assert changed.experiment.startswith("table2-digits+train.epochs=2+")
    assert content_hash(changed) != content_hash(config)
    assert override(config, []) is config


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.epoch=2", "did you mean epochs"),
        ("trian.epochs=2", "did you mean train"),
        ("train.epochs=two", "'two' is not of type int"),
        ("data.flip=maybe", "write true or false"),
        ("train.epochs", r"write section\.key=value"),
        ("train.epochs=0", "epochs is 0"),
    ],
)
def test_bad_overrides(setting: str, message: str) -> None:
    config = find_experiment("table2-digits").runs("demo", 0)[0]
    with pytest.raises(UserError, match=message):
        override(config, [setting])


def test_experiments_need_a_new_name_and_a_docstring() -> None:
    with pytest.raises(ValueError, match="docstring"):
        experiment("undescribed", "Table 2", ("demo",))(lambda scale, seed: [])  # noqa: ARG005

    def again(scale: str, seed: int) -> list:  # noqa: ARG001
        """Described."""
        return []

    with pytest.raises(ValueError, match="registered twice"):
        experiment("table2-digits", "Table 2", ("demo",))(again)


def test_references_are_readable() -> None:
    for path in REFERENCE.glob("*.csv"):
        assert len(reference(path.stem)) > 0
    coded = reference("table2_accuracy").query("model == 'coded' and dataset == 'cifar10'")
    assert coded["top1"].tolist() == [94.41]
    assert load_scheme("10-10-5").class_names[0] == "airplane"
