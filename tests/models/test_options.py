"""What the paper's ablations vary: Nact per block, concatenation, gradient masking, families."""

from __future__ import annotations

import dataclasses

import pytest
import timm
import torch
from torch import Tensor

from codepath.codes import find_scheme, load_scheme
from codepath.core.errors import UserError
from codepath.experiments import find_experiment
from codepath.experiments.registry import override
from codepath.models import CodedBottleneck, create_model
from codepath.models.hub import save_local
from codepath.run.config import ModelConfig, run_config_from_dict, to_dict
from codepath.run.objectives import ObjectiveConfig
from codepath.train.losses import TrainingObjective


def test_imagenet_variants_have_their_own_ratios() -> None:
    active = (32, 24, (16,) * 3 + (8,) * 3, 4)
    model = timm.create_model("coded_resnext50_32x4d", active=active, p_drop=0.1)
    found = [block.active for block in model.coded_blocks.values()]
    assert found == [24] * 4 + [16] * 3 + [8] * 3 + [4] * 3
    assert list(model.coded_blocks) == list(range(4, 17))
    assert sum(p.numel() for p in model.parameters()) == 25_027_904
    assert model.drop_starts == [4, 8, 11, 14]
    assert (model.coded_blocks[4].codewords.numpy() == load_scheme("1000-32-24").table).all()


def test_all_paths_active_is_the_plain_network() -> None:
    model = timm.create_model("coded_resnext29_10x11d", active=(10, 10, 10))
    assert not model.coded_blocks


def test_scheme_for_every_block() -> None:
    schemes = ["10-10-5", "best/10-10-5", "10-10-3", "best/10-10-3"]
    model = timm.create_model("coded_resnext20_10x4d", schemes=schemes)
    for block, name in zip(model.coded_blocks.values(), schemes, strict=True):
        assert (block.scheme.table == load_scheme(name).table).all()


def test_family_travels_with_the_configuration() -> None:
    config = ModelConfig(name="coded_resnext20_10x4d", num_classes=10, scheme_family="best")
    best = create_model(config)
    for block in best.coded_blocks.values():
        assert (block.scheme.table == find_scheme(10, 10, block.active, family="best").table).all()
    run = find_experiment("table2-digits").runs("demo", 0)[0]
    run = dataclasses.replace(run, model=dataclasses.replace(run.model, active=(10, (5, 3), 3)))
    assert run_config_from_dict(to_dict(run)) == run
    model = create_model(run.model)
    assert [block.active for block in model.coded_blocks.values()] == [5, 3, 3, 3]


def test_ratio_per_block_by_override() -> None:
    run = find_experiment("table2-digits").runs("demo", 0)[0]
    changed = override(run, ["model.active=10,(5,3),3", "train.gradient_masking=true"])
    assert changed.model.active == (10, (5, 3), 3)
    assert changed.train.gradient_masking
    with pytest.raises(UserError, match="write it as"):
        override(run, ["model.active=10,(5"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"active": (10, 5)}, "active has 2 entries, the network 3 stages"),
        ({"active": (10, (5, 5, 5), 3)}, "3 entries for stage 2, which has 2 blocks"),
        ({"active": (10, 11, 3)}, "active is 11 in stage 2: choose 1 to 10"),
        ({"aggregate": "mean"}, "unknown aggregate 'mean'"),
        ({"scheme_family": "worst"}, "unknown scheme family 'worst'"),
    ],
)
def test_impossible_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        timm.create_model("coded_resnext20_10x4d", **options)


def literal_concat(block: CodedBottleneck, x: Tensor, path_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Paths one by one: outputs, Eq. 2 over each path's channels, Eq. 3, side by side."""
    h = block.act2(block.bn2(block.conv2(block.act1(block.bn1(block.conv1(x))))))
    weights = block.conv3.weight.split(list(block.conv3.sizes))
    paths = zip(h.chunk(block.paths, 1), weights, strict=True)
    t = [torch.nn.functional.conv2d(part, weight) for part, weight in paths]
    t = [one * path_mask[:, n, None, None, None] for n, one in enumerate(t)]
    energies = torch.stack([one.square().mean((1, 2, 3)) for one in t], 1)
    scale = energies.mean(1).rsqrt()
    out = block.bn3(torch.cat(t, 1) * scale[:, None, None, None])
    skip = x if block.downsample is None else block.downsample(x)
    return (out + skip).relu(), energies * scale[:, None] ** 2


@pytest.mark.parametrize("channels", [40, 43])
def test_concatenated_paths(channels: int) -> None:
    torch.manual_seed(0)
    scheme = load_scheme("10-10-3")
    block = CodedBottleneck(channels, channels, 3, scheme, aggregate="concat").double()
    torch.nn.init.normal_(block.bn3.weight)
    assert block.conv3.weight.shape == (channels, 3, 1, 1)
    assert sum(block.conv3.sizes) == channels
    assert max(block.conv3.sizes) - min(block.conv3.sizes) <= 1
    x = torch.randn(4, channels, 5, 5, dtype=torch.float64, requires_grad=True)
    mask = torch.ones(4, 10, dtype=torch.float64)
    mask[1, 3] = 0
    out, energies = block.eval().forward_coded(x, mask)
    expected = literal_concat(block, x, mask)
    torch.testing.assert_close(out, expected[0])
    torch.testing.assert_close(energies, expected[1])
    assert energies[1, 3] == 0


def test_concatenation_matches_the_parameters() -> None:
    model = timm.create_model("coded_resnext29_10x11d", aggregate="concat")
    count = sum(p.numel() for p in model.parameters())
    assert abs(count / 4_638_926 - 1) < 0.02
    widths = [block.conv2.in_channels // 10 for block in model.coded_blocks.values()]
    assert widths[0] > 22
    assert widths[-1] > 44
    assert model.eval()(torch.randn(1, 3, 32, 32)).isfinite().all()


def test_gradient_masking_reaches_own_paths_alone() -> None:
    torch.manual_seed(0)
    block = CodedBottleneck(20, 20, 3, load_scheme("10-10-3")).double()
    torch.nn.init.normal_(block.bn3.weight)
    x = torch.randn(2, 20, 4, 4, dtype=torch.float64)
    own = block.codewords[torch.tensor([4, 4])]
    plain, _ = block.eval().forward_coded(x)
    out, _ = block.forward_coded(x, gradient_mask=own)
    torch.testing.assert_close(out, plain)
    out.sum().backward()
    per_path = block.conv3.weight.grad.view(20, 10, 3).abs().sum((0, 2))
    assert ((per_path > 0) == own[0].bool()).all()


def test_gradient_masking_replaces_the_coding_loss() -> None:
    torch.manual_seed(0)
    model = timm.create_model("coded_resnext20_10x4d").train()
    for block in model.blocks:
        torch.nn.init.normal_(block.bn3.weight)
    images, labels = torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 3])
    parts = TrainingObjective(model, ObjectiveConfig(mu=6.0, gradient_masking=True))(images, labels)
    assert torch.equal(parts.total, parts.cross_entropy)
    assert sorted(parts.coding) == [3, 4, 5, 6]
    parts.total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    "options",
    [
        {"active": (10, (5, 3), 3), "aggregate": "concat"},
        {"schemes": ["10-10-5", "best/10-10-5", "10-10-3", "best/10-10-3"]},
        {"scheme_family": "best", "p_drop": 0.2},
    ],
)
def test_options_travel_with_the_folder(options: dict, tmp_path) -> None:
    torch.manual_seed(0)
    model = timm.create_model("coded_resnext20_10x4d", **options).eval()
    for block in model.blocks:
        torch.nn.init.normal_(block.bn3.weight)
    save_local(model, tmp_path)
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert (again.aggregate, again.p_drop) == (model.aggregate, model.p_drop)
    for ours, theirs in zip(model.coded_blocks.values(), again.coded_blocks.values(), strict=True):
        assert torch.equal(ours.codewords, theirs.codewords)
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(again(x), model(x))
