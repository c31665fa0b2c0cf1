"""Saved networks come back through timm as they were."""

from __future__ import annotations

import json

import numpy as np
import pytest
import timm
import torch
from timm.data import resolve_model_data_config
from torch import nn

from codepath.codes import CodingScheme
from codepath.core.errors import UserError
from codepath.models.hub import save_local
from tests.models.networks import image_for, randomise_last_norms

SMALL = "coded_resnext20_10x4d"


def custom_schemes(classes: int) -> list[CodingScheme]:
    """Cyclic words of weight 4 and 2: in neither family, and of other weight than the stages'."""
    first = np.stack([np.roll([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], k) for k in range(classes)])
    second = np.stack([np.roll([1, 0, 0, 1, 0, 0, 0, 0, 0, 0], k) for k in range(classes)])
    return [CodingScheme(first), CodingScheme(second)]


def make(name: str, **kwargs):
    torch.manual_seed(3)
    model = timm.create_model(name, **kwargs).eval()
    randomise_last_norms(model)
    return model


def load(folder, **kwargs):
    return timm.create_model(f"local-dir:{folder}", pretrained=True, **kwargs).eval()


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        (SMALL, {}),
        (SMALL, {"num_classes": 37}),
        (SMALL, {"num_classes": 9, "schemes": custom_schemes(9), "in_chans": 1}),
        (SMALL, {"schemes": ["best/10-10-5", "10-10-3"], "p_drop": 0.2, "drop_rate": 0.1}),
        (SMALL, {"global_pool": "catavgmax"}),
        (SMALL, {"num_classes": 0, "global_pool": ""}),
        (SMALL, {"stem_width": 16, "scheme_family": "best"}),
        ("resnext20_10x4d", {"num_classes": 5, "in_chans": 1, "global_pool": "max"}),
        (SMALL, {"stages": [(64, 4, 10, 1), (96, 6, 5, 3)], "schemes": ["10-10-5"]}),
        ("coded_resnext29_20x6d", {}),
    ],
)
def test_the_same_logits_after_loading(name: str, kwargs: dict, tmp_path) -> None:
    model = make(name, **kwargs)
    save_local(model, tmp_path / "saved")
    loaded = load(tmp_path / "saved")
    x = image_for(model)
    with torch.no_grad():
        assert torch.equal(loaded(x), model(x))
        for (_, ours), (_, theirs) in zip(
            model.forward_coded(x).energies.items(),
            loaded.forward_coded(x).energies.items(),
            strict=True,
        ):
            assert torch.equal(ours, theirs)
    assert loaded.num_classes == model.num_classes
    assert (loaded.p_drop, loaded.drop_rate) == (model.p_drop, model.drop_rate)
    assert loaded.scheme_family == model.scheme_family
    for number, block in model.coded_blocks.items():
        assert np.array_equal(loaded.coded_blocks[number].scheme.table, block.scheme.table)
        assert loaded.coded_blocks[number].ratio == block.ratio


def test_schemes_given_after_creation_travel(tmp_path) -> None:
    """The codewords of the moment count, not those that create_model was given."""
    model = make(SMALL, schemes=["10-10-5", "10-10-3"])
    for block, scheme in zip(model.layer2, [custom_schemes(10)[0]] * 2, strict=True):
        block.set_scheme(scheme)
    loaded = load(save_local(model, tmp_path))
    assert loaded.coded_blocks[3].active == 4
    assert loaded.coded_blocks[5].active == 3
    again = load(save_local(loaded, tmp_path / "again"))
    assert np.array_equal(again.coded_blocks[3].scheme.table, custom_schemes(10)[0].table)


def test_loaded_for_other_classes_and_channels(tmp_path) -> None:
    model = make(SMALL, num_classes=9, schemes=custom_schemes(9))
    folder = save_local(model, tmp_path)
    tuned = load(folder, num_classes=20, in_chans=1)
    assert tuned.fc.out_features == 20
    assert [b.scheme.classes for b in tuned.coded_blocks.values()] == [20] * 4
    assert torch.equal(tuned.layer3[1].conv2.weight, model.layer3[1].conv2.weight)
    x = image_for(model)
    headless = load(folder, num_classes=0)
    maps = load(folder, features_only=True)(x)
    with torch.no_grad():
        features, expected = model.forward_intermediates(x)
        assert torch.equal(headless(x), model.forward_head(features, pre_logits=True))
        for got, want in zip(maps, expected, strict=True):
            assert torch.equal(got, want)


def test_configuration_is_readable_and_describes_the_input(tmp_path) -> None:
    model = make(SMALL, in_chans=1)
    folder = save_local(model, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    assert config["architecture"] == SMALL
    assert (config["num_classes"], config["num_features"]) == (10, 256)
    assert not {"url", "file", "source"} & set(config["pretrained_cfg"])
    data = resolve_model_data_config(load(folder))
    assert tuple(data["input_size"]) == (1, 32, 32)
    assert data["mean"] == pytest.approx([np.mean(model.pretrained_cfg["mean"])])


def test_timms_baseline_is_saved_too(tmp_path) -> None:
    model = timm.create_model("resnet10t", num_classes=3).eval()
    loaded = load(save_local(model, tmp_path))
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded(x), model(x))


def test_what_timm_cannot_make_again_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match="Linear was not made by timm"):
        save_local(nn.Linear(2, 2), tmp_path)
    model = make(SMALL)
    model.prune_intermediate_layers([1])
    with pytest.raises(UserError, match="lost stages"):
        save_local(model, tmp_path)
