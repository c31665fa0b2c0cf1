"""Packed runs and networks that come along, through the commands that take a RUN."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import timm
from typer.testing import CliRunner

from codepath import cli
from codepath.core.errors import UserError
from codepath.evaluate.thresholds import Objective
from codepath.experiments.registry import baseline_of
from codepath.explore.samples import samples
from codepath.models.shipped import BEST, FOLDER
from codepath.parts.judgement import kept_judgement, kept_threshold
from codepath.parts.packing import pack_run
from codepath.parts.trained_run import find_run
from codepath.run.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from tests.parts.test_apply import trained

TAG = "coded_resnext20_10x4d.digits"


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return RunConfig(
        experiment="table2-digits",
        scale="demo",
        model_role="coded",
        seed=0,
        model=ModelConfig(name="coded_resnext20_10x4d", num_classes=10, in_chans=1),
        data=DataConfig(source="digits"),
        train=TrainConfig(epochs=2, batch_size=64, lr=0.1, lr_end=1e-4, mu=6.0),
    )


@pytest.fixture(scope="module")
def run_dir(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(config, tmp_path_factory.mktemp("runs") / "coded")


@pytest.fixture(scope="module")
def packed(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_run(run_dir, tmp_path_factory.mktemp("packed"), TAG)


def invoke(*words: str) -> str:
    done = CliRunner().invoke(cli.app, list(words), env={"COLUMNS": "160"})
    assert done.exit_code == 0, done.output
    return done.output


def test_a_packed_run_says_the_same_as_the_run(run_dir: Path, packed: Path) -> None:
    image = str(samples()[0].path)
    assert invoke("explain", str(packed), image) == invoke("explain", str(run_dir), image)
    for k in (0, 7):
        for objective in (Objective("f1"), Objective("precision", 0.9)):
            kept = kept_judgement(packed, k, 10, objective)
            assert kept == kept_judgement(run_dir, k, 10, objective)
            assert kept is not None
            assert kept_threshold(packed, k, 10, objective) == kept.threshold
    about = json.loads((packed / "pretrained.json").read_text())
    top1 = pd.read_csv(run_dir / "rows" / "accuracy.csv")["value"].iloc[0]
    assert about["top1"] == pytest.approx(top1)
    card = (packed / "README.md").read_text()
    assert f'timm.create_model("{TAG}", pretrained=True)' in card
    assert "mean F1 of 10 binary classifiers" in card
    assert not (packed / "ckpt").exists()


def test_extract_from_a_packed_run_needs_no_images(packed: Path, tmp_path: Path) -> None:
    arguments = ("--out", str(tmp_path), "--formats", "none", "--turns", "0")
    invoke("extract", str(packed), "--class", "7", *arguments)
    card = json.loads((tmp_path / "7" / "card.json").read_text())
    kept = kept_judgement(packed, 7, 10, Objective("f1"))
    assert kept is not None
    assert (card["threshold"], card["metrics"]) == (kept.threshold, kept.metrics)


def test_a_plain_run_packs_without_exits_and_classifiers(config: RunConfig, tmp_path: Path) -> None:
    plain = trained(baseline_of(config, "resnext20_10x4d"), tmp_path / "plain")
    folder = pack_run(plain, tmp_path, "resnext20_10x4d.digits")
    files = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "README.md", "pretrained.json"} <= files
    assert not {"exits.json", "classifiers.json", "predictions"} & files


def test_mistakes_end_in_one_line(run_dir: Path, packed: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must be coded_resnext20_10x4d\.TAG"):
        pack_run(run_dir, tmp_path, "resnext20_10x4d.digits")
    damaged = tmp_path / "damaged"
    shutil.copytree(packed, damaged)
    (damaged / "classifiers.json").write_text("[{}]")
    with pytest.raises(UserError, match=r"classifiers\.json is damaged"):
        kept_threshold(damaged, 0, 10, Objective("f1"))
    done = CliRunner().invoke(cli.app, ["paths", "coded_resnext20_10x6d.cifar"])
    assert isinstance(done.exception, UserError)
    assert BEST in str(done.exception)


def test_commands_take_the_name_of_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in FOLDER.rglob("*")}
    sample = samples()[-1]
    default = json.loads(invoke("explain", "--json", str(sample.path)))
    named = json.loads(invoke("explain", "--json", str(sample.path), "--model", BEST))
    assert default == named == json.loads(invoke("explain", "--json", BEST, str(sample.path)))
    assert len(default["answers"]) == 10
    assert "block 6: bit-error rate" in invoke("paths", BEST)
    assert (tmp_path / "paths.png").exists()
    assert not (tmp_path / "runs").exists()
    classifier = ("--class", "ship", "--formats", "none", "--turns", "0", "--out", "out")
    invoke("extract", BEST, *classifier)
    assert (tmp_path / "out" / "ship" / "card.json").exists()
    assert "with exits" in invoke("exits", BEST, "--loss", "0.02")
    own = tmp_path / "runs" / "pretrained" / BEST
    assert json.loads((own / "exits.json").read_text())["about"]["asked"] == "loss 0.02"
    explained = json.loads(invoke("explain", "--json", BEST, str(sample.path)))
    assert explained["probabilities"] == default["probabilities"]
    assert {path: path.stat().st_mtime_ns for path in FOLDER.rglob("*")} == before
    assert BEST in invoke("pretrained")
    assert timm.is_model(BEST.partition(".")[0])


def test_an_older_copy_of_a_network_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = find_run(BEST, writes=True)
    assert find_run(BEST) == own
    with (own / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    with pytest.raises(
        UserError, match=r"other weights than .* in this version: remove the folder"
    ):
        find_run(BEST)


def test_linear_decoders_need_a_run_that_is_not_packed(packed: Path) -> None:
    done = CliRunner().invoke(cli.app, ["exits", str(packed), "--decoder", "linear"])
    assert isinstance(done.exception, UserError)
    assert "a packed run goes without" in str(done.exception)
