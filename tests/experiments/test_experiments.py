from __future__ import annotations

import csv
import dataclasses
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from codepath import store
from codepath.codes import load_scheme
from codepath.core.errors import UserError
from codepath.core.provenance import REPO_ROOT
from codepath.experiments import all_experiments, find_experiment, registry
from codepath.experiments.coverage import complete_seeds, gap_at, other_configuration
from codepath.experiments.reference import REFERENCE, reference
from codepath.experiments.registry import experiment, override
from codepath.experiments.run_time import cost_lines
from codepath.experiments.scales import in_full
from codepath.models import model_names
from codepath.run.config import RunConfig, content_hash, differences, to_dict
from codepath.store.schema import benchmark_columns
from tests.made_up import provenance_of

PAPER_ITEMS = Path(__file__).with_name("paper_items.csv")
"""What the paper shows, and the experiments that must cover it."""


@pytest.mark.parametrize("name", [e.name for e in all_experiments()])
def test_every_experiment_is_described_and_can_be_planned(name: str) -> None:
    found = find_experiment(name)
    assert all((found.title, found.about, found.usage, found.cost, found.expected))
    for part in ("Run it:", "What comes out:", "In the paper:", "How long:"):
        assert part in found.description
    assert found.pictures
    for scale in found.scales:
        runs = found.runs(scale, seed=2)
        assert bool(runs) != bool(found.benchmarks)
        assert len({(config.experiment, config.name) for config in runs}) == len(runs)
        for config in runs:
            assert (config.scale, config.seed) == (scale, 2)
            assert config.model.name in model_names()
            owner = config.experiment.split("+")[0]
            assert scale in find_experiment(owner).scales


def test_every_item_of_the_paper_is_an_experiment_at_its_scale() -> None:
    with PAPER_ITEMS.open() as file:
        items = {row["item"]: row["experiments"].split() for row in csv.DictReader(file)}
    known = {e.name: e for e in all_experiments()}
    for item, names in items.items():
        for name in names:
            assert known[name].paper_item == item
            assert "paper" in known[name].scales
    of_paper = {
        e.name
        for e in all_experiments()
        if "(" not in e.paper_item and e.paper_item != "ours" and e.name != "table2-digits"
    }
    assert of_paper == {name for names in items.values() for name in names}


def test_the_papers_settings_are_all_there() -> None:
    def settings(name: str, scale: str, of: Callable[[RunConfig], object]) -> list[object]:
        return [of(run) for run in find_experiment(name).runs(scale, 0)]

    assert settings("fig5-cifar100", "paper", lambda r: r.train.mu) == [0, 2, 4, 6, 10, 14, 18]
    assert settings("fig6-cifar10", "paper", lambda r: r.model.p_drop) == [0, 0.1, 0.2]
    assert settings("exponent-cifar10", "cpu", lambda r: r.train.exponent) == [4, 2, 1]
    assert settings("concat-cifar10", "cpu", lambda r: r.model.aggregate) == ["sum", "concat"]
    pairs = settings("variants-imagenet", "paper", lambda r: (r.train.mu, r.model.p_drop))
    assert set(pairs) == {(1, 0.1), (4, 0.1), (6, 0.1), (4, 0.05)}
    active = settings("variants-imagenet", "paper", lambda r: r.model.active)
    assert (32, 24, 16, 8) in active
    assert (32, 32, (16, 16, 16, 8, 8, 8), 4) in active


def test_ablations_share_the_run_of_table_2() -> None:
    coded = find_experiment("table2-cifar10").runs("cpu", 0)[0]
    for name in ("fig2a-cifar10", "fig5-cifar10", "fig6-cifar10", "exponent-cifar10"):
        assert coded in find_experiment(name).runs("cpu", 0)


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_the_short_scale_is_the_papers_recipe_with_fewer_epochs(dataset: str) -> None:
    found = find_experiment(f"table2-{dataset}")
    pairs = list(zip(found.runs("short", 1), found.runs("paper", 1), strict=True))
    assert len(pairs) == 2
    for short, paper in pairs:
        assert differences(to_dict(paper), to_dict(short)) == [
            "scale: paper -> short",
            "train.epochs: 300 -> 60",
        ]
    assert in_full("short") == "short scale: the paper's network and recipe, 60 of 300 epochs"


def test_the_short_scale_is_of_what_needs_table_2s_runs_alone() -> None:
    cifar = [e for e in all_experiments() if "-cifar" in e.name]
    for found in cifar:
        own = {f"table2-{data}" for data in ("cifar10", "cifar100")}
        alone = {run.experiment for run in found.runs("paper", 0)} <= own
        assert ("short" in found.scales) == alone, found.name
    assert {e.name for e in all_experiments() if "short" in e.scales} <= {e.name for e in cifar}


def test_smoke_and_the_short_scale_are_taken_only_where_named() -> None:
    assert find_experiment("table2-cifar10").usual_scales == ("cpu", "paper")
    for name in ("table2-cifar100", "fig5-cifar100", "variants-imagenet"):
        found = find_experiment(name)
        assert found.usual_scales == ("paper",)
        assert {run.data.source for run in found.runs("demo", 0)} <= {
            "generated-cifar100",
            "generated-imagenet",
        }


def test_costs_come_from_measured_speeds(tmp_path: Path) -> None:
    found = find_experiment("table2-cifar10")
    assert list(cost_lines(found, tmp_path)) == []

    def write(path: Path, rows: list[dict[str, object]], same: dict[str, object]) -> None:
        columns = itertools.chain(*benchmark_columns(path.stem.split("-")[0]))
        frame = pd.DataFrame([{"created": "2026"} | same | row for row in rows])
        frame.reindex(columns=list(columns)).to_csv(path, index=False)

    folder = tmp_path / "benchmarks"
    folder.mkdir()
    network = [
        {"network": name, "variant": variant, "precision": precision, "value": 0.032 * times}
        for name, speed in (("C10", 1), ("cpu scale", 0.5))
        for variant, coding in (("plain", 1), ("coded", 2))
        for precision, rounding in (("float32", 2), ("bfloat16", 1))
        if (times := speed * coding * rounding)
    ]
    write(folder / "network-cpu.csv", network, {"what": "train", "batch": 64, "device": "a CPU"})
    shutil.copy(REPO_ROOT / "results" / "benchmarks" / "architectures.csv", folder)
    hours = 300 * 50_000 * 1.5 / 1000 / 3600
    at_cpu, at_short, short_assumed, at_paper, assumed = cost_lines(found, tmp_path)
    assert at_cpu.startswith(
        "cpu scale, 2 runs of a seed: 19 min in float32, 9 min in bfloat16 of training on a CPU "
        "(measured speeds: network-cpu.csv"
    )
    assert f": {2 * hours:.1f} h in float32, {hours:.1f} h in bfloat16 " in at_paper
    assert f": {2 * hours / 5:.1f} h in float32, 75 min in bfloat16 " in at_short
    assert "short scale, 2 runs of a seed: about 0.4 GPU hours, if a GPU" in short_assumed
    assert "paper scale, 2 runs of a seed: about 1.9 GPU hours, if a GPU" in assumed
    assert "no row holds a GPU's speed" in assumed
    step = [
        {"network": "C10", "model": model, "way": way, "value": value, "created": "2026-02"}
        for model in ("coded", "baseline")
        for way, value in (("compiled", 0.0256), ("launched", 0.1))
    ]
    old = [dict(row, value=0.001, created="2026-01") for row in step]
    same = {"precision": "bfloat16", "batch": 512, "device": "a GPU"}
    write(folder / "step-cuda.csv", [*old, *step], same)
    *_, short, _, line = cost_lines(found, tmp_path)
    assert "short scale, 2 runs of a seed: 5 min in bfloat16 of training on a GPU" in short
    assert "paper scale, 2 runs of a seed: 25 min in bfloat16 of training on a GPU" in line
    assert "(measured speeds: step-cuda.csv" in line


def test_the_baseline_differs_in_the_coding_alone() -> None:
    coded, plain = find_experiment("table2-digits").runs("demo", 0)
    assert (coded.model_role, plain.model_role) == ("coded", "baseline")
    assert (coded.train.mu, plain.train.mu) == (6.0, 0.0)
    assert (coded.model.p_drop, plain.model.p_drop) == (0.1, 0.0)
    assert coded.data == plain.data
    assert coded.train.lr == plain.train.lr


def test_kinds_on_request_have_a_command_of_their_own(tmp_path: Path) -> None:
    assert set(registry.ON_REQUEST) == set(store.ON_REQUEST)
    run = "runs/cpu/table2-cifar10/coded-s0"
    assert find_experiment("compression-cifar10").command("cpu") == (
        "codepath run compression-cifar10 --scale cpu --results results; "
        f"codepath extract {run} --curve --formats none --turns 0 --out {run}/classifiers; "
        f"codepath collect {run} --results results"
    )
    assert find_experiment("table1").command("paper") == "codepath bench architectures"
    assert find_experiment("table1").command("paper", REPO_ROOT / "results") == (
        "codepath bench architectures"
    )
    demo = find_experiment("fig5-digits").command("demo", REPO_ROOT / "results" / "demo")
    assert demo == "codepath run fig5-digits --scale demo --results results/demo"
    gap = gap_at(find_experiment("compression-cifar10"), "cpu", tmp_path)
    assert gap is not None
    assert "no rows at cpu scale of table2-cifar10 coded" in gap.what
    assert f"codepath extract {run} --curve" in gap.command


def test_runs_count_with_all_kinds_and_their_present_configuration(tmp_path: Path) -> None:
    found = find_experiment("fig6-cifar10")
    (run, *_) = [r for r in found.runs("paper", 0) if r.model.p_drop == 0.1]
    base = provenance_of(run)

    def put(kind: str, seed: int, run_id: str = "") -> None:
        present = dataclasses.replace(run, seed=seed).run_id
        row = store.Measurement(kind=kind, metric="top1", value=0.9, n=10)
        provenance = dataclasses.replace(base, seed=seed, run_id=run_id or present)
        store.append_rows(tmp_path, store.rows_of([row], provenance))

    for seed in (0, 1, 2):
        put("accuracy", seed)
    assert complete_seeds(found, run, tmp_path) == set()
    gap = gap_at(found, "paper", tmp_path)
    assert gap is not None
    assert "no binary rows at paper scale of table2-cifar10 coded" in gap.what
    put("binary", 0)
    put("binary", 1, run.run_id.replace(run.run_id[-10:], "0123456789"))
    assert complete_seeds(found, run, tmp_path) == {0}
    assert other_configuration([run.run_id]) == []
    assert other_configuration(["x", run.run_id[:-10] + "0123456789"]) == [
        run.run_id[:-10] + "0123456789",
        "x",
    ]


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
    words = dict.fromkeys(("about", "usage", "cost", "expected"), "words")
    with pytest.raises(ValueError, match="docstring"):
        experiment("undescribed", "Table 2", ("demo",), **words)(lambda scale, seed: [])  # noqa: ARG005

    def again(scale: str, seed: int) -> list:  # noqa: ARG001
        """Described."""
        return []

    with pytest.raises(ValueError, match="registered twice"):
        experiment("table2-digits", "Table 2", ("demo",), **words)(again)


def test_references_are_readable() -> None:
    for path in REFERENCE.glob("*.csv"):
        assert len(reference(path.stem)) > 0
    coded = reference("table2_accuracy").query("model == 'coded' and dataset == 'cifar10'")
    assert coded["top1"].tolist() == [94.41]
    assert load_scheme("10-10-5").class_names[0] == "airplane"


def test_settings_that_need_each_other_come_in_any_order() -> None:
    config = find_experiment("table2-imagenet").runs("paper", 0)[0]
    settings = ["train.batch_size=10", "train.bn_batch=0"]
    for order in (settings, settings[::-1]):
        train = override(config, order).train
        assert (train.batch_size, train.bn_batch) == (10, 0)
    with pytest.raises(UserError, match="bn_batch is 128"):
        override(config, settings[:1])
