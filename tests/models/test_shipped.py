"""Networks that come with the package, as timm and the commands see them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch

import codepath.models
from codepath.core.provenance import REPO_ROOT
from codepath.data import Normalize, evaluation_loader
from codepath.evaluate import Predictions, predict
from codepath.models import CodedResNeXt
from codepath.models.hub import local_config
from codepath.models.shipped import BEST, FACTS, FOLDER, shipped_names
from codepath.pipeline.measure import DataFacts, load_images
from codepath.run.directory import WEIGHTS, read_config

NAMES = shipped_names()
CODED = [name for name in NAMES if name.startswith("coded_")]


def test_the_best_one_comes_along_and_its_tag_is_the_default() -> None:
    assert BEST in NAMES
    assert set(NAMES) <= set(timm.list_pretrained())
    network, _, tag = BEST.partition(".")
    assert timm.models.get_pretrained_cfg(network).tag == tag


@pytest.mark.parametrize("name", NAMES)
def test_timm_loads_it_with_what_must_be_known(name: str) -> None:
    model = timm.create_model(name, pretrained=True).eval()
    facts, cfg = DataFacts.load(FOLDER / name), model.pretrained_cfg
    saved = safetensors.torch.load_file(FOLDER / name / WEIGHTS)
    for key, value in model.state_dict().items():
        assert torch.equal(value, saved[key]), key
    assert (cfg["mean"], cfg["std"]) == (facts.mean, facts.std)
    assert cfg["input_size"] == facts.image_shape
    assert tuple(cfg["label_names"]) == facts.class_names
    assert cfg["num_classes"] == len(facts.class_names)
    assert cfg["license"] == "mit"
    about = json.loads((FOLDER / name / FACTS).read_text())
    told = f"top-1 {100 * about['top1']:.2f} % of {about['n']:,} test images"
    assert told in cfg["description"]
    card = (FOLDER / name / "README.md").read_text()
    assert f'timm.create_model("{name}", pretrained=True)' in card
    assert f"| top-1 on {about['n']:,} test images | {100 * about['top1']:.2f} % |" in card
    assert read_config(FOLDER / name).run_id in card
    assert (FOLDER / name / WEIGHTS).stat().st_size < 2_000_000


def test_other_classes_and_another_run_do_not_inherit_its_facts() -> None:
    assert codepath.models.__name__
    model = timm.create_model(BEST, pretrained=True, num_classes=37)
    assert isinstance(model, CodedResNeXt)
    assert {len(block.codewords) for block in model.coded_blocks.values()} == {37}
    fresh = timm.create_model(BEST.partition(".")[0], num_classes=10)
    assert not {"file", "description", "label_names"} & set(local_config(fresh)["pretrained_cfg"])


@pytest.mark.parametrize("name", CODED)
def test_its_predictions_are_the_card_s(name: str) -> None:
    about = json.loads((FOLDER / name / FACTS).read_text())
    saved = Predictions.load(FOLDER / name / "predictions" / "test.npz")
    assert float((saved.logits.argmax(1) == saved.labels).mean()) == about["top1"]
    exits = json.loads((FOLDER / name / "exits.json").read_text())
    assert exits["about"]["top1 of the whole network"] == about["top1"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_all_test_images_give_the_card_s_top1(name: str) -> None:
    named = os.environ.get("CODEPATH_CIFAR10_IMAGES")
    path = Path(named) if named else REPO_ROOT.parent / "shared/data/cifar10-jpeg-q75.tar.gz"
    if not path.exists():
        pytest.skip("no CIFAR-10 as images here: CODEPATH_CIFAR10_IMAGES names the archive")
    images = load_images(read_config(FOLDER / name), path)
    model = timm.create_model(name, pretrained=True).eval()
    cfg = model.pretrained_cfg
    found = predict(
        model,
        evaluation_loader(images.test),
        Normalize(cfg["mean"], cfg["std"]),
        torch.device("cpu"),
    )
    about = json.loads((FOLDER / name / FACTS).read_text())
    assert len(found.labels) == about["n"]
    assert np.mean(found.logits.argmax(1) == found.labels) == about["top1"]
