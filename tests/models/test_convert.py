"""The authors' layout, made out of our networks by the inverse mapping, and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor
from typer.testing import CliRunner

from codepath import cli
from codepath.core.errors import UserError
from codepath.models import CodedBottleneck, CodedResNeXt
from codepath.models.convert import convert_block, convert_checkpoint, read_checkpoint
from tests.models import authors
from tests.models.authors import AuthorsNetwork
from tests.models.networks import image_for, randomise_last_norms

OUR_NAMES = {
    "conv1": "conv_reduce",
    "bn1": "bn_reduce",
    "conv2": "conv_internal",
    "bn2": "bn_internal",
    "conv3": "conv_expand",
    "bn3": "bn_expand",
    "downsample.0": "skip_connection.conv_skip",
    "downsample.1": "skip_connection.bn_skip",
}


def in_the_authors_layout(model: CodedResNeXt) -> dict[str, Tensor]:
    """Stem conv, norm, ReLU (and pooling), blocks, pooling, linear: one numbered list."""
    state = {f"net_list.0.{k}": v for k, v in model.conv1.state_dict().items()}
    state |= {f"net_list.1.{k}": v for k, v in model.bn1.state_dict().items()}
    number = 4 if isinstance(model.maxpool, torch.nn.MaxPool2d) else 3
    for block in model.blocks:
        coded = isinstance(block, CodedBottleneck)
        mask = block.codewords.bool() if coded else torch.ones(10, model.paths, dtype=torch.bool)
        state[f"net_list.{number}.Mask_perClass"] = mask
        for key, value in block.state_dict().items():
            if key == "codewords":
                continue
            layer, _, kind = key.rpartition(".")
            if layer == "conv3" and coded:
                C, hidden = value.shape[:2]
                d = hidden // model.paths
                paths = [value[:, n * d : (n + 1) * d] for n in range(model.paths)]
                value = torch.cat(paths).reshape(model.paths * C, d, 1, 1)
            state[f"net_list.{number}.{OUR_NAMES[layer]}.{kind}"] = value
        number += 1
    return state | {f"net_list.{number + 1}.weight": model.fc.weight.detach()}


def make(name: str, **kwargs) -> CodedResNeXt:
    model = timm.create_model(name, **kwargs).eval()
    randomise_last_norms(model)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean)
    return model


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("coded_resnext20_10x4d", {}),
        ("coded_resnext20_10x4d", {"scheme_family": "best"}),
        ("resnext20_10x4d", {}),
        ("coded_resnext50_32x4d", {}),
    ],
)
def test_the_same_logits_after_conversion(name: str, kwargs: dict) -> None:
    model = make(name, **kwargs)
    theirs = in_the_authors_layout(model)
    fresh = timm.create_model(name).eval()
    fresh.load_state_dict(convert_checkpoint(theirs, fresh))
    x = image_for(model)
    with torch.no_grad():
        assert torch.equal(fresh(x), model(x))
    for number, block in model.coded_blocks.items():
        assert torch.equal(fresh.coded_blocks[number].codewords, block.codewords)


@pytest.mark.parametrize(
    ("theirs", "name"),
    [
        (authors.cifar10, "coded_resnext29_10x11d"),
        (authors.cifar100, "coded_resnext29_20x6d"),
        (authors.imagenet, "coded_resnext50_32x4d"),
    ],
)
def test_networks_of_the_authors_form(
    theirs: Callable[[], AuthorsNetwork], name: str, tmp_path: Path
) -> None:
    """Their equations, saved as a training script saves, against the converted network."""
    torch.manual_seed(0)
    network = theirs().eval()
    torch.save({"epoch": 3, "state_dict": network.state_dict()}, tmp_path / "last.pth.tar")
    words = ["convert", str(tmp_path / "last.pth.tar"), "--model", name]
    done = CliRunner().invoke(
        cli.app, [*words, "--out", str(tmp_path / "out")], catch_exceptions=False
    )
    assert done.exit_code == 0
    ours = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    x = image_for(ours).double()
    with torch.no_grad():
        expected, found = network.double()(x), ours.double()(x)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_prefix_of_distributed_training() -> None:
    model = make("coded_resnext20_10x4d")
    theirs = in_the_authors_layout(model)
    converted = convert_checkpoint({f"module.{k}": v for k, v in theirs.items()}, model)
    assert set(converted) == set(model.state_dict())


def change(state: dict, key: str, value: Tensor | None) -> dict:
    state = dict(state)
    if value is None:
        del state[key]
    else:
        state[key] = value
    return state


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("net_list.4.bn_reduce.bias", None, r"nothing for layer1\.1\.bn1\.bias"),
        ("net_list.4.gate.weight", torch.ones(1), r"net_list\.4\.gate\.weight is no weight"),
        ("fc.weight", torch.ones(1), r"fc\.weight is no weight of the authors' networks"),
        (
            "net_list.0.bias",
            torch.ones(1),
            r"no conv1\.bias for the checkpoint's net_list\.0\.bias",
        ),
        (
            "net_list.5.bn_internal.bias",
            torch.ones(3),
            r"net_list\.5\.bn2\.bias has the shape \(3,\), layer2\.0\.bn2\.bias .* \(80,\)",
        ),
        (
            "net_list.5.conv_expand.weight",
            torch.ones(100, 7, 1, 1),
            r"net_list\.5\.conv_expand\.weight has the shape \(100, 7, 1, 1\)",
        ),
        ("net_list.5.conv_reduce.weight", None, r"net_list\.5\.conv_reduce\.weight is missing"),
    ],
)
def test_what_does_not_fit_is_named(key: str, value: Tensor | None, message: str) -> None:
    model = make("coded_resnext20_10x4d")
    with pytest.raises(UserError, match=message):
        convert_checkpoint(change(in_the_authors_layout(model), key, value), model)


def test_another_network_is_refused() -> None:
    theirs = in_the_authors_layout(make("coded_resnext20_10x4d"))
    with pytest.raises(UserError, match=r"resnext20_10x4d has no layer2\.0\.codewords"):
        convert_checkpoint(theirs, timm.create_model("resnext20_10x4d"))
    with pytest.raises(UserError, match="6 blocks, the network 9"):
        convert_checkpoint(theirs, timm.create_model("coded_resnext29_10x11d"))


def test_a_block_with_one_path_stays_dense() -> None:
    weight = torch.randn(6, 4, 1, 1)
    state = {"conv_reduce.weight": torch.zeros(4, 2, 1, 1), "conv_expand.weight": weight}
    assert torch.equal(convert_block(state)["conv3.weight"], weight)


@pytest.mark.parametrize("ema", [False, True])
def test_the_command(ema: bool, tmp_path) -> None:
    model = make("coded_resnext20_10x4d", num_classes=10)
    other = make("coded_resnext20_10x4d", num_classes=10)
    file = tmp_path / "authors.ckpt"
    content = {
        "state_dict": in_the_authors_layout(other if ema else model),
        "state_dict_ema": in_the_authors_layout(model if ema else other),
        "epoch": 3,
    }
    torch.save(content, file)
    arguments = ["convert", str(file), "--model", "coded_resnext20_10x4d", "--out"]
    arguments += [str(tmp_path / "out"), *(["--ema"] if ema else [])]
    result = CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    loaded = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    x = image_for(model)
    with torch.no_grad():
        assert torch.equal(loaded(x), model(x))


def test_number_of_classes_is_the_checkpoints(tmp_path) -> None:
    model = make("coded_resnext20_10x4d", num_classes=7)
    torch.save(in_the_authors_layout(model), tmp_path / "weights.pth")
    out = tmp_path / "out"
    arguments = ["convert", str(tmp_path / "weights.pth"), "--model", "coded_resnext20_10x4d"]
    CliRunner().invoke(cli.app, [*arguments, "--out", str(out)], catch_exceptions=False)
    assert timm.create_model(f"local-dir:{out}", pretrained=True).num_classes == 7


def test_files_that_are_no_weights(tmp_path) -> None:
    with pytest.raises(UserError, match="is not there"):
        read_checkpoint(tmp_path / "absent.pth")
    text = tmp_path / "text.pth"
    text.write_text("nothing")
    with pytest.raises(UserError, match="cannot be read as weights"):
        read_checkpoint(text)
    torch.save({"epoch": 3}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="holds no state_dict"):
        read_checkpoint(tmp_path / "other.pth")
    with pytest.raises(UserError, match="no moving average"):
        read_checkpoint(tmp_path / "other.pth", ema=True)
    with pytest.raises(UserError, match="did you mean"):
        CliRunner().invoke(
            cli.app,
            ["convert", str(text), "--model", "coded_resnext20_10x4", "--out", str(tmp_path)],
            catch_exceptions=False,
        )
