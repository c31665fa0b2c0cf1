"""The closed form against the literal equations and against vectors of the authors' block."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.literal import LiteralCodedBottleneck
from codepath.codes import load_scheme
from codepath.core.provenance import REPO_ROOT
from codepath.evaluate import nearest_codeword
from codepath.models import CodedBottleneck, path_energies
from codepath.models.convert import convert_block
from codepath.models.script import draw_drop_mask
from codepath.train.losses import coding_loss

GOLDEN = REPO_ROOT.parent / "shared" / "golden"
GEOMETRIES = {"skip": (24, 24, 3, 1), "project": (24, 40, 4, 2)}


def make_block(geometry: str, cls: type[CodedBottleneck] = CodedBottleneck) -> CodedBottleneck:
    torch.manual_seed(1)
    in_chs, out_chs, width, stride = GEOMETRIES[geometry]
    block = cls(in_chs, out_chs, width, load_scheme("10-10-3"), stride).double()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return block


@pytest.fixture
def x() -> Tensor:
    return torch.randn(6, 24, 8, 8, dtype=torch.float64, generator=torch.manual_seed(2))


@pytest.fixture
def labels() -> Tensor:
    return torch.tensor([0, 9, 3, 3, 7, 1])


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("masks", ["none", "paths", "drop", "both"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_closed_form_equals_the_literal_equations(
    geometry: str, training: bool, masks: str, layout, x: Tensor, labels: Tensor
) -> None:
    results = []
    for cls in (CodedBottleneck, LiteralCodedBottleneck):
        block = make_block(geometry, cls).train(training)
        image = x.clone().to(memory_format=layout).requires_grad_()
        path_mask = block.codewords[labels] if masks in ("paths", "both") else None
        drop_mask = None
        if masks in ("drop", "both"):
            torch.manual_seed(5)
            drop_mask = draw_drop_mask(6, 10, 0.3, x.device)
        out, energies = block.forward_coded(image, path_mask, drop_mask)
        loss = coding_loss(energies, block.codewords[labels], block.ratio)
        ((out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum() + 6 * loss).backward()
        results.append([out, energies, loss, image.grad, *(p.grad for p in block.parameters())])
    for closed, literal in zip(*results, strict=True):
        torch.testing.assert_close(closed, literal, rtol=1e-9, atol=1e-10)


@pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"no vectors of the authors' block in {GOLDEN}")
@pytest.mark.parametrize("name", ["c10_3_10_stride2", "c10_5_10"])
def test_parity_with_the_authors_block(name: str) -> None:
    with np.load(Path(GOLDEN) / f"{name}.npz") as archive:
        v = {key: torch.from_numpy(archive[key]) for key in archive}
    C = v["sd/bn_expand.weight"].numel()
    width = v["sd/conv_expand.weight"].shape[1]
    stride = v["x"].shape[-1] // v["eval/out"].shape[-1]
    block = CodedBottleneck(
        v["x"].shape[1], C, width, v["sd/Mask_perClass"].numpy(), stride
    ).double()
    theirs = {key[len("sd/") :]: value for key, value in v.items() if key.startswith("sd/")}
    block.load_state_dict(convert_block(theirs), strict=False)
    tight = {"rtol": 1e-10, "atol": 1e-10}
    words = block.codewords[v["y"]]

    block.eval()
    out, energies = block.forward_coded(v["x"])
    torch.testing.assert_close(out, v["eval/out"], **tight)
    loss = coding_loss(energies, words, block.ratio)
    torch.testing.assert_close(loss, v["eval/loss"].view(()), **tight)
    decided = nearest_codeword(energies.detach().numpy(), block.scheme)
    assert decided.tolist() == v["eval/pred"].tolist()
    alone, _ = block.forward_coded(v["x"], path_mask=words)
    torch.testing.assert_close(alone, v["eval/out_only_active"], **tight)

    block.train()
    image = v["x"].clone().requires_grad_()
    out, energies = block.forward_coded(image)
    torch.testing.assert_close(out, v["train/out"], **tight)
    loss = coding_loss(energies, words, block.ratio)
    torch.testing.assert_close(loss, v["train/loss"].view(()), **tight)
    ((out * v["train/g"]).sum() + 6 * loss).backward()
    torch.testing.assert_close(image.grad, v["train/dx"], **tight)
    gradients = convert_block(
        {
            key[len("train/grad/") :]: value
            for key, value in v.items()
            if key.startswith("train/grad/") and value.numel()
        }
    )
    assert len(gradients) >= 7
    ours = dict(block.named_parameters())
    for name, gradient in gradients.items():
        torch.testing.assert_close(ours[name].grad, gradient, **tight)


def test_energies_sum_to_the_number_of_paths(x: Tensor) -> None:
    block = make_block("project")
    _, energies = block.forward_coded(x)
    torch.testing.assert_close(energies.sum(1), torch.full((6,), 10.0, dtype=torch.float64))
    removed = torch.tensor([1, 1, 0, 1, 1, 1, 1, 0, 1, 1])
    _, energies = block.forward_coded(x, path_mask=removed)
    assert (energies[:, removed == 0] == 0).all()
    torch.testing.assert_close(energies.sum(1), torch.full((6,), 10.0, dtype=torch.float64))


def test_removed_paths_leave_before_the_normaliser(x: Tensor) -> None:
    """Removing paths differs from dropping them: the others are scaled up."""
    block = make_block("skip").eval()
    mask = torch.tensor([1, 1, 1, 0, 0, 1, 1, 1, 1, 1])
    removed, _ = block.forward_coded(x, path_mask=mask)
    dropped, _ = block.forward_coded(x, drop_mask=mask)
    assert (removed - dropped).abs().max() > 1e-3


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16])
def test_masks_of_any_dtype(dtype: torch.dtype, x: Tensor) -> None:
    block = make_block("skip").eval()
    mask = torch.tensor([1, 0, 1, 0, 0, 1, 1, 1, 0, 1])
    expected, _ = block.forward_coded(x, path_mask=mask.double(), drop_mask=mask.double())
    got, _ = block.forward_coded(x, path_mask=mask.to(dtype), drop_mask=mask.to(dtype))
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_an_all_zero_sample_stays_finite(dtype: torch.dtype) -> None:
    block = make_block("skip").to(dtype)
    torch.nn.init.zeros_(block.bn2.weight)
    torch.nn.init.zeros_(block.bn2.bias)
    x = torch.zeros(2, 24, 5, 5, dtype=dtype, requires_grad=True)
    out, energies = block.forward_coded(x)
    (out.float().sum() + energies.sum()).backward()
    assert out.isfinite().all()
    assert energies.isfinite().all()
    assert x.grad is not None
    assert all(p.grad is None or p.grad.isfinite().all() for p in block.parameters())


def test_energies_are_float32_under_autocast(x: Tensor) -> None:
    block = make_block("skip").float().eval()
    exact = block.double().forward_coded(x)[1]
    block = block.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, energies = block.forward_coded(x.float())
    assert energies.dtype == torch.float32
    torch.testing.assert_close(energies.double(), exact, rtol=0, atol=0.05)


def test_path_energies_of_one_pixel() -> None:
    """Eq. 2 by hand: W = [[1, 2]], paths of width 1, h = (3, 5): energies 9 and 100."""
    h = torch.tensor([3.0, 5.0]).view(1, 2, 1, 1)
    weight = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1)
    assert path_energies(h, weight, paths=2).tolist() == [[9.0, 100.0]]


def test_drop_mask_keeps_the_expected_share() -> None:
    torch.manual_seed(0)
    mask = draw_drop_mask(4000, 10, 0.1, torch.device("cpu"))
    assert mask.shape == (4000, 10)
    kept = mask > 0
    assert kept.float().mean() == pytest.approx(0.9, abs=0.005)
    torch.testing.assert_close(mask[kept], torch.full_like(mask[kept], 1 / 0.9))


def test_dropping_happens_in_training_alone(x: Tensor) -> None:
    block = make_block("skip")
    block.p_drop = 0.5
    block.train()
    first, energies_first = block.forward_coded(x)
    second, energies_second = block.forward_coded(x)
    assert not torch.equal(first, second)
    torch.testing.assert_close(energies_first, energies_second)
    block.eval()
    assert torch.equal(block(x), block(x))


def test_start_of_conv3_is_that_of_separate_convolutions() -> None:
    torch.manual_seed(0)
    block = CodedBottleneck(512, 512, 22, load_scheme("10-10-5"))
    expected = (2 / (10 * 512)) ** 0.5
    assert float(block.conv3.weight.detach().std()) == pytest.approx(expected, rel=0.02)
    assert (block.bn3.weight == 0).all()


def test_a_loaded_scheme_changes_the_ratio() -> None:
    block = CodedBottleneck(16, 16, 2, load_scheme("10-10-5"))
    other = CodedBottleneck(16, 16, 2, load_scheme("10-10-3"))
    block.load_state_dict(other.state_dict())
    assert block.ratio == pytest.approx(0.3)
    with pytest.raises(ValueError, match="20 paths"):
        block.set_scheme(load_scheme("100-20-8"))
