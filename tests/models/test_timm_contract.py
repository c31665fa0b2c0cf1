"""What timm asks of every model, for every network that is registered."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config
from timm.models import create_feature_extractor, group_modules, group_parameters
from timm.optim import create_optimizer_v2
from torch import nn

import codepath.models
from codepath.core.errors import UserError
from codepath.models.entry_points import REGISTERED
from tests.models.networks import image_for, randomise_last_norms

SMALL = "coded_resnext20_10x4d"
every_network = pytest.mark.parametrize("name", REGISTERED)
pytestmark = pytest.mark.filterwarnings("ignore:a coded network is being trained without")


def make(name: str, **kwargs) -> codepath.models.CodedResNeXt:
    torch.manual_seed(0)
    model = timm.create_model(name, **kwargs).eval()
    randomise_last_norms(model)
    return model


@every_network
def test_forward_and_its_parts(name: str) -> None:
    model = make(name)
    x = image_for(model, batch=1)
    with torch.no_grad():
        logits = model(x)
        features = model.forward_features(x)
        pooled = model.forward_head(features, pre_logits=True)
        torch.testing.assert_close(model.forward_head(features), logits)
    assert logits.shape == (1, model.num_classes)
    assert logits.isfinite().all()
    assert features.shape[1] == model.num_features
    assert pooled.shape == (1, model.head_hidden_size)


@every_network
def test_the_head_is_reset_and_left_out(name: str) -> None:
    model = make(name)
    x = image_for(model, batch=1)
    cfg = model.pretrained_cfg
    assert isinstance(model.get_submodule(cfg["first_conv"]), nn.Conv2d)
    assert model.get_submodule(cfg["classifier"]) is model.get_classifier()
    assert model.get_classifier(name_only=True) == cfg["classifier"]
    with torch.no_grad():
        features = model.forward_features(x)
        model.reset_classifier(0)
        torch.testing.assert_close(model(x), features.mean((2, 3)))
        model.reset_classifier(0, "")
        torch.testing.assert_close(model(x), features)
        model.reset_classifier(20, "avg")
        assert model(x).shape == (1, 20)
    assert all(block.scheme.classes == 20 for block in model.coded_blocks.values())


@every_network
def test_every_parameter_gets_a_gradient(name: str) -> None:
    model = make(name).train()
    model(image_for(model)).square().mean().backward()
    missing = [key for key, p in model.named_parameters() if p.grad is None]
    assert not missing
    assert all(p.grad.isfinite().all() for p in model.parameters())


@every_network
def test_features_only(name: str) -> None:
    model = timm.create_model(name, features_only=True).eval()
    size = 64
    with torch.no_grad():
        maps = model(torch.randn(1, 3, size, size))
    assert [m.shape[1] for m in maps] == model.feature_info.channels()
    assert [size // m.shape[-1] for m in maps] == model.feature_info.reduction()


@pytest.mark.parametrize("feature_cls", ["list", "dict", "hook", "fx", "getter"])
def test_features_only_by_every_extractor(feature_cls: str) -> None:
    whole = make(SMALL)
    x = image_for(whole)
    extractor = make(SMALL, features_only=True, out_indices=(1, 3), feature_cls=feature_cls)
    assert extractor.feature_info.channels() == [64, 256]
    with torch.no_grad():
        maps = extractor(x)
        maps = list(maps.values()) if isinstance(maps, dict) else maps
        expected = whole.forward_intermediates(x, [1, 3], intermediates_only=True)
    for got, want in zip(maps, expected, strict=True):
        torch.testing.assert_close(got, want)


@every_network
def test_intermediates(name: str) -> None:
    model = make(name)
    x = image_for(model, batch=1)
    with torch.no_grad():
        features, maps = model.forward_intermediates(x)
        torch.testing.assert_close(features, model.forward_features(x))
        assert [m.shape[1] for m in maps] == [info["num_chs"] for info in model.feature_info]
        torch.testing.assert_close(maps[-1], features)
        stem, first = model.forward_intermediates(x, [0, 1], intermediates_only=True)
        torch.testing.assert_close(stem, maps[0])
        torch.testing.assert_close(first, maps[1])
        early, (only,) = model.forward_intermediates(x, [1], stop_early=True)
        torch.testing.assert_close(early, maps[1])
        torch.testing.assert_close(only, maps[1])
        last_two = model.forward_intermediates(x, 2, intermediates_only=True)
        torch.testing.assert_close(last_two, maps[-2:])
    with pytest.raises(UserError, match="NCHW"):
        model.forward_intermediates(x, output_fmt="NLC")


@every_network
def test_pruned_to_an_intermediate(name: str) -> None:
    model = make(name)
    x = image_for(model, batch=1)
    with torch.no_grad():
        expected = model.forward_intermediates(x, [1, 2], intermediates_only=True)
        before = sum(p.numel() for p in model.parameters())
        assert model.prune_intermediate_layers([1, 2]) == [1, 2]
        assert sum(p.numel() for p in model.parameters()) < before
        features, maps = model.forward_intermediates(x, [1, 2])
        torch.testing.assert_close(maps, expected)
        assert features.shape[1] == model.num_features == model.head_hidden_size
        torch.testing.assert_close(model(x), expected[-1])
        model.prune_intermediate_layers([0])
        assert model.num_features == model.feature_info[0]["num_chs"]
        assert model(x).shape[1] == model.num_features


def test_pruning_nothing_but_the_head() -> None:
    model = make(SMALL)
    model.prune_intermediate_layers(1, prune_head=False)
    assert isinstance(model.fc, nn.Linear)
    model.prune_intermediate_layers(1)
    assert model.num_classes == 0
    assert len(model.blocks) == 6


@every_network
def test_fx_graph_gives_the_same(name: str) -> None:
    model = make(name)
    x = image_for(model, batch=1)
    graph = create_feature_extractor(model, {"layer2": "stage", "fc": "logits"}).eval()
    with torch.no_grad():
        out = graph(x)
        torch.testing.assert_close(out["logits"], model(x))
        (stage,) = model.forward_intermediates(x, [2], intermediates_only=True)
        torch.testing.assert_close(out["stage"], stage)
        larger = torch.randn(3, 3, x.shape[-1] + 16, x.shape[-1])
        torch.testing.assert_close(graph(larger)["logits"], model(larger))


@every_network
def test_grad_checkpointing_changes_nothing(name: str) -> None:
    results = []
    for enable in (False, True):
        kwargs = {"p_drop": 0.3} if name.startswith("coded") else {}
        model = make(name, **kwargs).train()
        model.set_grad_checkpointing(enable)
        x = image_for(model)
        torch.manual_seed(4)
        logits = model(x)
        logits.square().mean().backward()
        results.append([logits, *(p.grad for p in model.parameters())])
    for plain, checkpointed in zip(*results, strict=True):
        torch.testing.assert_close(plain, checkpointed)


@every_network
@pytest.mark.parametrize("coarse", [True, False])
def test_groups_cover_every_parameter(name: str, coarse: bool) -> None:
    model = timm.create_model(name)
    groups = group_parameters(model, model.group_matcher(coarse=coarse))
    named = [key for keys in groups.values() for key in keys]
    assert sorted(named) == sorted(key for key, _ in model.named_parameters())
    units = len(model.layer_names) if coarse else len(model.blocks)
    assert len(groups) == units + 2  # and the stem and the head
    by_module = group_modules(model, model.group_matcher(coarse=coarse))
    assert {module for modules in by_module.values() for module in modules} >= {"conv1", "fc"}


@every_network
def test_layer_decay(name: str) -> None:
    model = timm.create_model(name)
    optimizer = create_optimizer_v2(model, "sgd", lr=1.0, weight_decay=0.1, layer_decay=0.5)
    scales = {id(p): g["lr_scale"] for g in optimizer.param_groups for p in g["params"]}
    decays = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert set(scales) == {id(p) for p in model.parameters()}
    by_block = [scales[id(block.conv1.weight)] for block in model.blocks]
    assert scales[id(model.conv1.weight)] < by_block[0]
    assert by_block == sorted(set(by_block))
    assert by_block[-1] < scales[id(model.fc.weight)] == 1
    assert decays[id(model.bn1.weight)] == 0
    assert decays[id(model.fc.weight)] == 0.1


@every_network
def test_the_evaluation_transform_comes_from_the_model(name: str) -> None:
    model = timm.create_model(name)
    config = resolve_model_data_config(model)
    cfg = model.pretrained_cfg
    assert config["input_size"] == cfg["input_size"]
    transform = create_transform(**config, is_training=False)
    grey = Image.fromarray(np.full((300, 280, 3), 51, dtype=np.uint8))
    image = transform(grey)
    assert image.shape == cfg["input_size"]
    expected = (0.2 - torch.tensor(cfg["mean"])) / torch.tensor(cfg["std"])
    torch.testing.assert_close(image.mean((1, 2)), expected, atol=1e-3, rtol=1e-3)


@every_network
def test_state_dict_round_trip(name: str) -> None:
    model, other = make(name), timm.create_model(name).eval()
    other.load_state_dict(model.state_dict(), strict=True)
    x = image_for(model, batch=1)
    with torch.no_grad():
        assert torch.equal(model(x), other(x))


@pytest.mark.parametrize("name", [SMALL, "resnext20_10x4d"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_checkpoint_path(name: str, suffix: str, tmp_path) -> None:
    model = make(name, num_classes=7)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": model.state_dict()}, path)
    else:
        safetensors.torch.save_file(model.state_dict(), path)
    loaded = timm.create_model(name, num_classes=7, checkpoint_path=str(path)).eval()
    x = image_for(model)
    with torch.no_grad():
        assert torch.equal(model(x), loaded(x))


def test_other_channels_and_classes() -> None:
    model = make("coded_resnext29_10x11d", num_classes=37, in_chans=1)
    assert model(torch.randn(1, 1, 16, 16)).shape == (1, 37)
    assert model.coded_blocks[4].codewords.shape == (37, 10)
    with pytest.raises(UserError, match="252 different codewords"):
        timm.create_model("coded_resnext29_10x11d", num_classes=1000)


def test_pooling_of_every_kind() -> None:
    reference = make(SMALL)
    x = image_for(reference)
    with torch.no_grad():
        features = reference.forward_features(x)
    mean, most = features.mean((2, 3)), features.amax((2, 3))
    for pool, expected in {
        "avg": mean,
        "max": most,
        "avgmax": (mean + most) / 2,
        "catavgmax": torch.cat([mean, most], 1),
    }.items():
        model = make(SMALL, global_pool=pool)
        model.load_state_dict(reference.state_dict() | {"fc.weight": model.fc.weight})
        with torch.no_grad():
            pooled = model.forward_head(model.forward_features(x), pre_logits=True)
            torch.testing.assert_close(pooled, expected)
            assert pooled.shape[1] == model.head_hidden_size
            torch.testing.assert_close(model(x), pooled @ model.fc.weight.T)
    assert make(SMALL, num_classes=0, global_pool="")(x).shape == features.shape
    with pytest.raises(UserError, match="num_classes=0"):
        make(SMALL, global_pool="")


def test_dropout_before_the_head() -> None:
    model = make(SMALL, drop_rate=0.5)
    features = torch.ones(4, model.num_features, 2, 2)
    assert torch.equal(model.forward_head(features, pre_logits=True), torch.ones(4, 256))
    dropped = model.train().forward_head(features, pre_logits=True)
    assert set(dropped.unique().tolist()) == {0.0, 2.0}


def test_pretrained_configuration_is_overridden(tmp_path) -> None:
    model = make(SMALL, num_classes=5)
    path = tmp_path / "weights.pth"
    torch.save(model.state_dict(), path)
    cfg = dict(model.pretrained_cfg, num_classes=5, file=str(path), mean=(0.1, 0.2, 0.3))
    given = timm.create_model(SMALL, pretrained=True, pretrained_cfg=cfg).eval()
    assert given.num_classes == 5
    assert resolve_model_data_config(given)["mean"] == (0.1, 0.2, 0.3)
    overlaid = timm.create_model(
        SMALL, pretrained=True, pretrained_cfg_overlay={"num_classes": 5, "file": str(path)}
    ).eval()
    x = image_for(model)
    with torch.no_grad():
        expected = model(x)
        assert torch.equal(given(x), expected)
        assert torch.equal(overlaid(x), expected)


def test_weights_of_other_classes_and_channels_are_adapted(tmp_path) -> None:
    model = make(SMALL)
    path = tmp_path / "weights.pth"
    torch.save(model.state_dict(), path)
    tuned = timm.create_model(
        SMALL,
        pretrained=True,
        pretrained_cfg_overlay={"file": str(path)},
        num_classes=20,
        in_chans=1,
    ).eval()
    assert tuned.coded_blocks[3].scheme.classes == 20
    assert torch.equal(tuned.layer3[1].conv3.weight, model.layer3[1].conv3.weight)
    torch.testing.assert_close(tuned.conv1.weight, model.conv1.weight.sum(1, keepdim=True))
    headless = timm.create_model(
        SMALL, pretrained=True, pretrained_cfg_overlay={"file": str(path)}, num_classes=0
    ).eval()
    x = image_for(model)
    with torch.no_grad():
        pooled = model.forward_head(model.forward_features(x), pre_logits=True)
        assert torch.equal(headless(x), pooled)


def test_scheme_family() -> None:
    paper = make("coded_resnext29_20x6d", num_classes=100)
    best = make("coded_resnext29_20x6d", num_classes=100, scheme_family="best")
    pairs = [m.coded_blocks[9].scheme.pairs_at_min_distance for m in (paper, best)]
    assert pairs[1] < pairs[0]


def test_a_training_loop_without_the_coding_loss_is_warned_once() -> None:
    model = make(SMALL)
    x = image_for(model)
    with torch.no_grad():
        model.train()(x)
    assert not warnings_of(model.eval(), x)
    model.train()
    (message,) = warnings_of(model, x)
    assert "without its coding loss" in str(message.message)
    assert message.filename == __file__
    assert not warnings_of(model, x)

    heeded = make(SMALL).train()
    heeded.forward_coded(x)
    keeping = make(SMALL).train()
    keeping.keeps_energies = True
    plain = make("resnext20_10x4d").train()
    for model in (heeded, keeping, plain):
        assert not warnings_of(model, x)
    assert list(keeping.last_energies) == [3, 4, 5, 6]


def warnings_of(model: nn.Module, x: torch.Tensor) -> list:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model(x)
    return [w for w in caught if "coding loss" in str(w.message)]


def test_neither_compiling_nor_tracing_warns() -> None:
    model = make(SMALL).train()
    x = image_for(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        compiled(x).sum().backward()
        torch.export.export(model, (x,), strict=False)
        create_feature_extractor(model, ["layer1"])
    model.keeps_energies = True
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    logits = compiled(x)
    for energies in model.last_energies.values():
        torch.testing.assert_close(energies.sum(1), torch.full((2,), 10.0))
    (logits.sum() + sum(e.square().sum() for e in model.last_energies.values())).backward()
