"""Every registered network: geometry, start, coding, export."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import timm
import torch

from codepath.codes import CodingScheme, design_scheme, load_scheme
from codepath.core.errors import UserError
from codepath.models import CodedBottleneck, create_model, model_names
from codepath.models.entry_points import REGISTERED
from codepath.run.config import ModelConfig
from tests.models.networks import image_for, randomise_last_norms

PARAMETERS = {
    "coded_resnext20_10x4d": 300_064,
    "coded_resnext20_10x6d": 471_536,
    "resnext20_10x6d": 471_536,
    "resnext20_10x4d": 300_064,
    "coded_resnext29_10x11d": 4_638_926,
    "resnext29_10x11d": 4_638_926,
    "coded_resnext29_20x6d": 4_749_136,
    "resnext29_20x6d": 4_749_136,
    "coded_resnext50_32x4d": 25_027_904,
}
CODED = [name for name in PARAMETERS if name.startswith("coded")]
CODED_BLOCKS = {
    "coded_resnext20_10x4d": range(3, 7),
    "coded_resnext20_10x6d": range(3, 7),
    "coded_resnext29_10x11d": range(4, 10),
    "coded_resnext29_20x6d": range(4, 10),
    "coded_resnext50_32x4d": range(8, 17),
}


def test_every_registered_network_is_pinned() -> None:
    assert set(PARAMETERS) == set(REGISTERED)
    assert set(REGISTERED) <= set(timm.list_models())
    assert set(CODED_BLOCKS) == set(CODED)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name: str) -> None:
    assert sum(p.numel() for p in timm.create_model(name).parameters()) == PARAMETERS[name]


def test_imagenet_geometry_is_timms() -> None:
    """Same names and shapes as timm's resnext50_32x4d, but for codewords and the head's bias."""
    ours = timm.create_model("coded_resnext50_32x4d").state_dict()
    theirs = timm.create_model("resnext50_32x4d").state_dict()
    shapes = {key: value.shape for key, value in ours.items() if "codewords" not in key}
    assert shapes == {key: v.shape for key, v in theirs.items() if key != "fc.bias"}


@pytest.mark.parametrize("training", [False, True])
def test_with_every_path_active_it_is_timms_network(training: bool) -> None:
    torch.manual_seed(0)
    theirs = timm.create_model("resnext50_32x4d", num_classes=20)
    randomise_last_norms(theirs)
    ours = timm.create_model("coded_resnext50_32x4d", num_classes=20, active=(32, 32, 32, 32))
    state = theirs.state_dict()
    bias = state.pop("fc.bias")
    ours.load_state_dict(state)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        found = ours.train(training)(x) + bias
        torch.testing.assert_close(found, theirs.train(training)(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CODED)
def test_coded_blocks_and_their_start(name: str) -> None:
    model = timm.create_model(name)
    assert list(model.coded_blocks) == list(CODED_BLOCKS[name])
    for number, block in enumerate(model.blocks, start=1):
        C = block.conv3.out_channels
        fan_out = C * model.paths if number in model.coded_blocks else C
        std = float(block.conv3.weight.detach().std())
        assert std == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)
        assert (block.bn3.weight == 0).all()


@pytest.mark.parametrize("name", CODED)
def test_forward_coded_agrees_with_forward(name: str) -> None:
    model = timm.create_model(name).eval()
    randomise_last_norms(model)
    x = image_for(model)
    with torch.no_grad():
        output = model.forward_coded(x)
        torch.testing.assert_close(output.logits, model(x))
        first = min(model.coded_blocks)
        resumed = model.forward_coded(model.forward_until(x, first), first_block=first)
    torch.testing.assert_close(resumed.logits, output.logits)
    assert list(output.energies) == list(CODED_BLOCKS[name])
    for energies in output.energies.values():
        torch.testing.assert_close(
            energies.sum(1), torch.full((2,), float(model.paths)), rtol=1e-4, atol=1e-4
        )


def test_keep_is_a_mask_by_codeword() -> None:
    model = timm.create_model("coded_resnext20_10x4d").eval()
    randomise_last_norms(model)
    x = image_for(model)
    with torch.no_grad():
        by_class = model.forward_coded(x, keep=7)
        masks = {number: block.codewords[7] for number, block in model.coded_blocks.items()}
        by_mask = model.forward_coded(x, path_masks=masks)
        mixed = model.forward_coded(x, keep=torch.tensor([7, 2]))
        full = model.forward_coded(x)
    torch.testing.assert_close(by_class.logits, by_mask.logits)
    torch.testing.assert_close(mixed.logits[0], by_class.logits[0])
    assert (mixed.logits[1] - by_class.logits[1]).abs().max() > 1e-4
    assert (by_class.logits - full.logits).abs().max() > 1e-4
    for number, block in model.coded_blocks.items():
        assert (by_class.energies[number][:, block.codewords[7] == 0] == 0).all()


def test_masks_for_blocks_that_are_not_coded_are_refused() -> None:
    model = timm.create_model("coded_resnext20_10x4d")
    x = torch.zeros(1, 3, 8, 8)
    with pytest.raises(UserError, match=r"no coded block 1.*\[3, 4, 5, 6\]"):
        model.forward_coded(x, path_masks={1: torch.ones(10)})
    with pytest.raises(UserError, match="none"):
        timm.create_model("resnext20_10x4d").forward_coded(x, keep=0)


def test_a_run_of_blocks_shares_its_drop_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    model = timm.create_model("coded_resnext20_10x4d", p_drop=0.5).train()
    seen: dict[int, torch.Tensor] = {}
    for number, block in model.coded_blocks.items():
        original = block.forward_coded

        def spy(x, path_mask=None, drop_mask=None, number=number, original=original):
            seen[number] = drop_mask
            return original(x, path_mask, drop_mask)

        monkeypatch.setattr(block, "forward_coded", spy)
    model.forward_coded(torch.randn(8, 3, 8, 8))
    assert torch.equal(seen[3], seen[4])
    assert torch.equal(seen[5], seen[6])
    assert not torch.equal(seen[3], seen[5])
    model.eval()
    model(torch.randn(8, 3, 8, 8))
    assert all(mask is None for mask in seen.values())


def test_runs_follow_the_loaded_schemes() -> None:
    one = timm.create_model("coded_resnext20_10x4d", active=(10, 5, 5), p_drop=0.1)
    assert one.drop_starts == [3]
    schemes = ["10-10-5", design_scheme(10, 10, 5, seed=4)]
    two = timm.create_model("coded_resnext20_10x4d", active=(10, 5, 5), schemes=schemes, p_drop=0.1)
    assert two.drop_starts == [3, 5]
    one.load_state_dict(two.state_dict())
    assert one.drop_starts == [3, 5]
    one.coded_blocks[4].set_scheme(design_scheme(10, 10, 5, seed=7))
    assert one.drop_starts == [3, 4, 5]
    one.p_drop = 0.0
    assert one.drop_starts == []


def test_whole_networks_are_copied_and_pickled() -> None:
    model = timm.create_model("coded_resnext20_10x4d").eval()
    x = image_for(model)
    torch.testing.assert_close(pickle.loads(pickle.dumps(model))(x), model(x))
    torch.testing.assert_close(copy.deepcopy(model)(x), model(x))


def test_schemes_are_saved_with_the_weights() -> None:
    other = [design_scheme(10, 10, 5, seed=4), design_scheme(10, 10, 3, seed=4)]
    model = timm.create_model("coded_resnext20_10x4d", schemes=other)
    fresh = timm.create_model("coded_resnext20_10x4d")
    assert not np.array_equal(fresh.coded_blocks[3].scheme.table, other[0].table)
    fresh.load_state_dict(model.state_dict())
    assert np.array_equal(fresh.coded_blocks[3].scheme.table, other[0].table)


@pytest.mark.parametrize(
    ("schemes", "message"),
    [
        ([load_scheme("10-10-5")], "1 schemes given, the network has 2 coded stages"),
        (["100-20-8", "100-20-4"], "codewords for 100 classes, the network has 10"),
        ([CodingScheme(np.eye(10, 12, dtype=int)), "10-10-3"], "12 paths"),
    ],
)
def test_schemes_that_do_not_fit_are_refused(schemes: list, message: str) -> None:
    with pytest.raises(UserError, match=message):
        timm.create_model("coded_resnext20_10x4d", schemes=schemes)


def test_create_model_by_configuration() -> None:
    model = create_model(ModelConfig(name="coded_resnext20_10x4d", num_classes=10, p_drop=0.2))
    assert all(block.p_drop == 0.2 for block in model.coded_blocks.values())
    assert "resnext50_32x4d" in model_names()
    with pytest.raises(UserError, match=r"did you mean .*coded_resnext29_10x11d"):
        create_model(ModelConfig(name="coded_resnext29_10x10d", num_classes=10))


def test_channels_last_and_bfloat16() -> None:
    model = timm.create_model("coded_resnext20_10x4d").eval()
    randomise_last_norms(model)
    x = image_for(model)
    with torch.no_grad():
        expected = model(x)
        last = model.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            low = model.forward_coded(x)
    torch.testing.assert_close(last, expected, rtol=1e-4, atol=1e-4)
    assert low.logits.isfinite().all()


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("coded_resnext20_10x4d", 16),
        ("coded_resnext29_10x11d", 32),
        pytest.param("coded_resnext29_20x6d", 32, marks=pytest.mark.slow),
        pytest.param("coded_resnext50_32x4d", 160, marks=pytest.mark.slow),
    ],
)
@torch.no_grad()
def test_exported_and_in_onnx_with_any_batch(name: str, side: int, tmp_path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model = timm.create_model(name).eval()
    randomise_last_norms(model)
    path = tmp_path / "model.onnx"
    x = torch.randn(3, 3, side, side)
    batch = {0: torch.export.Dim("batch", min=1)}
    program = torch.export.export(model, (x,), dynamic_shapes=(batch,))
    torch.onnx.export(program, (x,), path, dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for n in (1, 3, 5):
        images = torch.randn(n, 3, side, side)
        expected = model(images)
        scale = float(expected.abs().max())
        (got,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        for found in (torch.from_numpy(got), program.module()(images)):
            torch.testing.assert_close(found / scale, expected / scale, rtol=0, atol=1e-4)


def test_block_is_a_plain_module() -> None:
    block = timm.create_model("coded_resnext20_10x4d").layer2[0]
    assert isinstance(block, CodedBottleneck)
    names = {name for name, _ in block.named_children()}
    assert {"conv1", "bn1", "conv2", "bn2", "conv3", "bn3", "downsample"} <= names
