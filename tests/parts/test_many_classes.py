"""The commands on a run whose images stay in files, a folder of photographs of many sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from rich.console import Console

from codepath.core.errors import UserError
from codepath.data import FileSplit, Normalize, evaluation_loader, load_data_set
from codepath.evaluate import DrawnScores, load_binary_scores, spread
from codepath.parts import classifier_files as classifiers
from codepath.parts.classifier_files import ExtractOptions, extract_run
from codepath.parts.explanation import explain_image
from codepath.pipeline.measure import evaluate_run, load_images
from codepath.run.config import DataConfig, EvalConfig, ModelConfig, RunConfig, TrainConfig
from codepath.train import fit
from tests.data.photographs import TRAIN, make_folders

CLASSES = 20
CPU = torch.device("cpu")
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    wnids = tuple(f"n{k:08d}" for k in range(CLASSES))
    return make_folders(tmp_path_factory.mktemp("photographs"), wnids)


@pytest.fixture(scope="module")
def run_dir(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = RunConfig(
        experiment="table2-imagenet",
        scale="demo",
        model_role="coded",
        seed=0,
        model=ModelConfig(name="coded_resnext20_10x4d", num_classes=CLASSES),
        data=DataConfig(source="imagenet", crop=16, subset=True, flip=True),
        train=TrainConfig(epochs=1, batch_size=20, lr=0.05, lr_end=1e-4),
        evaluation=EvalConfig(),
    )
    images = load_images(config, data)
    run_dir = tmp_path_factory.mktemp("runs") / "coded"
    fit(config, images, run_dir, CPU, QUIET)
    evaluate_run(run_dir, data=data)
    return run_dir


def test_some_images_of_a_split_in_files(data: Path) -> None:
    train = load_data_set("imagenet", data, 16, subset=True).train
    some = spread(train, 30)
    assert isinstance(some, FileSplit)
    assert len(some) == 30
    assert len(np.unique(some.labels)) > CLASSES / 2  # the split itself is in class order
    (batch,) = evaluation_loader(some)
    assert batch.labels.tolist() == some.labels.tolist()
    (whole,) = evaluation_loader(train)
    order = np.random.default_rng(0).permutation(len(train))[:30]
    assert torch.equal(batch.images, whole.images[torch.from_numpy(order)])
    for index in (0, 29):
        assert some.files.member(index) == train.files.member(int(order[index]))
        assert some.files.name(index) == train.files.name(int(order[index]))


def test_evaluation_scores_drawn_negatives(run_dir: Path) -> None:
    train = load_binary_scores(run_dir / "predictions" / "binary-train.npz")
    assert isinstance(train, DrawnScores)
    assert len(train.draws) < CLASSES * CLASSES * TRAIN
    rows = pd.read_csv(run_dir / "rows" / "binary.csv")
    prevalence = rows[(rows["metric"] == "prevalence") & (rows["negatives"] == "9to1")]["value"]
    assert len(prevalence) == CLASSES
    assert np.allclose(prevalence, 0.1)


def test_compression_sees_training_images_of_all_classes(
    run_dir: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    measure = classifiers.measure_effects

    def watch(fused, images):
        seen.append(len(images))
        assert len(images.flatten(1).unique(dim=0)) == len(images)
        calibrated.append(images)
        return measure(fused, images)

    calibrated: list[torch.Tensor] = []
    monkeypatch.setattr(classifiers, "CALIBRATION_IMAGES", 40)
    monkeypatch.setattr(classifiers, "THRESHOLD_IMAGES", 30)
    monkeypatch.setattr(classifiers, "measure_effects", watch)
    options = ExtractOptions("3", compress=0.4, curve=True, formats=(), latency_turns=0)
    (card,) = extract_run(run_dir, tmp_path, options, data, QUIET)
    assert seen == [40, 40]
    images = load_data_set("imagenet", data, 16, subset=True)
    (whole,) = evaluation_loader(images.train)
    every = Normalize(images.mean, images.std)(whole.images)
    places = [int((every - x).abs().flatten(1).sum(1).argmin()) for x in calibrated[0]]
    assert len(set(images.train.labels[places])) > CLASSES / 2
    assert card.threshold_origin == "f1 on 30 training images"
    assert card.metrics["prevalence"] == pytest.approx(0.1)
    assert card.metrics["n"] == 20  # of 40: two positives, eighteen drawn negatives
    curve = pd.read_csv(run_dir / "rows" / "compression.csv")
    assert set(curve["n"]) == {20}


def test_whole_classifiers_are_judged_on_the_first_draw(
    run_dir: Path, data: Path, tmp_path: Path
) -> None:
    options = ExtractOptions("3", formats=(), latency_turns=0)
    (saved,) = extract_run(run_dir, tmp_path / "a", options, data, QUIET)
    predictions = run_dir / "predictions" / "binary-test.npz"
    predictions.rename(run_dir / "aside.npz")
    (again,) = extract_run(run_dir, tmp_path / "b", options, data, QUIET)
    (run_dir / "aside.npz").rename(predictions)
    assert saved.threshold_origin == again.threshold_origin == "f1 on 50 training images"
    assert saved.threshold == pytest.approx(again.threshold, abs=1e-4)
    assert saved.metrics["average_precision"] == pytest.approx(again.metrics["average_precision"])
    assert saved.metrics["n"] == again.metrics["n"] == 20


def test_any_image_is_explained(run_dir: Path, data: Path, tmp_path: Path) -> None:
    images = load_data_set("imagenet", data, 16, subset=True)
    (batch,) = evaluation_loader(images.test)
    for index in (0, 7, 39):
        found = explain_image(run_dir, f"test:{index}", 3, data)
        assert found.truth == images.class_names[index // 2]
        assert np.array_equal(found.pixels, batch.images[index].permute(1, 2, 0).numpy())
    file = data / images.test.files.member(39)
    file = file if file.exists() else data / "val" / images.test.files.member(39)
    again = explain_image(run_dir, str(file), 3, None)
    assert again.truth is None
    assert again.pixels == found.pixels
    assert [view.scaled_energies for view in again.blocks] == [
        view.scaled_energies for view in found.blocks
    ]
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 61), np.uint8)).save(
        tmp_path / "grey.png"
    )
    assert np.shape(explain_image(run_dir, str(tmp_path / "grey.png"), 3, None).pixels) == (
        16,
        16,
        3,
    )
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(UserError, match=r"cannot read the image .*text\.png"):
        explain_image(run_dir, str(tmp_path / "text.png"), 3, None)
    with pytest.raises(UserError, match=r"cannot read absent\.png"):
        explain_image(run_dir, "absent.png", 3, None)
    with pytest.raises(UserError, match="test images are test:0 to test:39"):
        explain_image(run_dir, "test:40", 3, data)
