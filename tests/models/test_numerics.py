"""Precision, layouts, second derivatives, compilation: the block's fused backward included."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from benchmarks.literal import LiteralCodedBottleneck
from codepath.codes import load_scheme
from codepath.models import CodedBottleneck
from codepath.models import normalised_sum as module
from codepath.run.objectives import ObjectiveConfig
from codepath.train.losses import TrainingObjective, coding_loss

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
LAYOUTS = [torch.contiguous_format, torch.channels_last]


def small_block(**options) -> CodedBottleneck:
    torch.manual_seed(0)
    block = CodedBottleneck(12, 20, 2, load_scheme("10-10-3"), stride=2, **options)
    torch.nn.init.normal_(block.bn3.weight)
    return block


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("masked", [False, True])
def test_backward_is_the_derivative_of_forward(layout: torch.memory_format, masked: bool) -> None:
    torch.manual_seed(0)
    h = torch.randn(2, 20, 3, 2, dtype=torch.float64).to(memory_format=layout).requires_grad_()
    weight = torch.randn(6, 20, 1, 1, dtype=torch.float64, requires_grad=True)
    path_mask = drop_mask = None
    if masked:
        path_mask = torch.ones(2, 10, dtype=torch.float64)
        path_mask[0, 4] = 0
        drop_mask = torch.rand(2, 10, dtype=torch.float64)

    def expand(h: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        return module.SumPaths.apply(h, weight, 10, torch.float64, path_mask, drop_mask)

    assert torch.autograd.gradcheck(expand, (h, weight))
    assert torch.autograd.gradgradcheck(expand, (h, weight))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("only", ["output", "energies"])
def test_gradients_of_one_output_alone(layout: torch.memory_format, only: str) -> None:
    found = []
    for cls in (CodedBottleneck, LiteralCodedBottleneck):
        torch.manual_seed(0)
        block = cls(12, 20, 2, load_scheme("10-10-3")).double()
        torch.nn.init.normal_(block.bn3.weight)
        x = torch.randn(3, 12, 4, 4, dtype=torch.float64).to(memory_format=layout)
        out, energies = block.forward_coded(x.requires_grad_())
        (out if only == "output" else energies).square().sum().backward()
        found.append([x.grad, *(p.grad for p in block.parameters())])
    for ours, literal in zip(*found, strict=True):
        if literal is None:
            assert ours is None
        else:
            torch.testing.assert_close(ours, literal, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_precision_and_layout(dtype: torch.dtype, layout: torch.memory_format) -> None:
    block = small_block().to(dtype).to(memory_format=layout)
    x = torch.randn(4, 12, 8, 8).to(dtype).to(memory_format=layout).requires_grad_()
    exact = small_block().double().forward_coded(x.detach().double())
    out, energies = block.forward_coded(x)
    assert out.dtype == dtype
    assert energies.dtype == torch.promote_types(dtype, torch.float32)
    tolerance = {torch.float16: 0.01, torch.bfloat16: 0.05}.get(dtype, 1e-4)
    torch.testing.assert_close(energies.double(), exact[1], rtol=0, atol=10 * tolerance)
    (out.float().mean() + energies.square().mean()).backward()
    assert x.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in block.parameters())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("autocast", [False, True])
def test_an_all_zero_image_gives_no_nan(dtype: torch.dtype, autocast: bool) -> None:
    if autocast and dtype != torch.float32:
        return
    block = small_block().to(dtype)
    with torch.no_grad():
        block.bn1.bias.fill_(-1)  # the ReLUs shut: h is zero in every path
        block.bn2.bias.fill_(-1)
    block.eval()
    x = torch.zeros(3, 12, 8, 8, dtype=dtype, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out, energies = block.forward_coded(x)
        loss = coding_loss(energies, block.codewords[torch.tensor([0, 1, 2])], block.ratio)
    (out.float().sum() + loss).backward()
    assert out.isfinite().all()
    assert (energies == 0).all()
    assert all(p.grad.isfinite().all() for p in block.parameters())


def test_bfloat16_energies_are_near_float64_ones() -> None:
    torch.manual_seed(0)
    model = timm.create_model("coded_resnext29_10x11d").train()
    for block in model.blocks:
        torch.nn.init.normal_(block.bn3.weight, std=0.3)
    for number in (4, 9):
        block = model.coded_blocks[number].eval()
        x = torch.randn(4, block.conv1.in_channels, 8, 8).relu()
        exact = block.double().forward_coded(x.double())[1]
        block.float()
        with torch.autocast("cpu", torch.bfloat16):
            found = block.forward_coded(x)[1]
        assert found.dtype == torch.float32
        assert (found.double() - exact).abs().max() < 0.02


def test_bfloat16_energies_on_trained_weights() -> None:
    """Most are within 0.02 of float64's; what is beyond is the convolutions' own rounding."""
    torch.manual_seed(0)
    pixels, classes = load_digits(return_X_y=True)
    images = torch.tensor(pixels / 16 - 0.3, dtype=torch.float32).view(-1, 1, 8, 8)
    labels = torch.tensor(classes)
    model = timm.create_model("coded_resnext20_10x4d", in_chans=1).train()
    objective = TrainingObjective(model, ObjectiveConfig(mu=6.0))
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, nesterov=True)
    for _ in range(60):
        chosen = torch.randint(0, 1500, (64,))
        optimizer.zero_grad()
        objective(images[chosen], labels[chosen]).total.backward()
        optimizer.step()
    x = model.eval()._stem(images[1500:])
    for number, block in enumerate(model.blocks, start=1):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            low = block.forward_coded(x)[1] if number in model.coded_blocks else None
        with torch.no_grad():
            exact = copy.deepcopy(block).double()
            if low is None:
                x = block(x)
                continue
            x, energies = exact.forward_coded(x.double())
            x = x.float()
        error = (low.double() - energies).abs()
        assert error.mean() < 0.005
        assert error.quantile(0.99) < 0.02
        assert error.max() < 0.04


@pytest.mark.parametrize("size", [1, 2])
def test_one_image_and_one_pixel(size: int) -> None:
    block = CodedBottleneck(20, 20, 2, load_scheme("10-10-3")).eval()
    torch.nn.init.normal_(block.bn3.weight)
    literal = LiteralCodedBottleneck(20, 20, 2, load_scheme("10-10-3")).eval()
    literal.load_state_dict(block.state_dict())
    x = torch.randn(1, 20, size, size).requires_grad_()
    for ours, theirs in zip(block.forward_coded(x), literal.forward_coded(x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    block(x).sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("training", [False, True])
def test_compiled_without_a_graph_break(training: bool) -> None:
    torch.manual_seed(0)
    model = timm.create_model("coded_resnext20_10x4d").train(training)
    for block in model.blocks:
        torch.nn.init.normal_(block.bn3.weight)
    x, labels = torch.randn(2, 3, 16, 16), torch.tensor([3, 5])
    objective = TrainingObjective(model, ObjectiveConfig(mu=6.0))
    torch._dynamo.reset()
    compiled = torch.compile(objective, fullgraph=True, backend="aot_eager")
    results = []
    for call in (objective, compiled):
        model.zero_grad()
        parts = call(x, labels)
        parts.total.backward()
        results.append([parts.total, parts.logits, *(p.grad.clone() for p in model.parameters())])
    for eager, graph in zip(*results, strict=True):
        torch.testing.assert_close(graph, eager, rtol=1e-3, atol=1e-4)
    assert torch.compile(model, fullgraph=True, backend="eager")(x).shape == (2, 10)


def test_exported_program_takes_any_batch() -> None:
    model = timm.create_model("coded_resnext20_10x4d").eval()
    for block in model.blocks:
        torch.nn.init.normal_(block.bn3.weight)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model, (torch.randn(2, 3, 16, 16),), dynamic_shapes=[{0: batch}])
    x = torch.randn(5, 3, 16, 16)
    torch.testing.assert_close(program.module()(x), model(x), rtol=1e-4, atol=1e-5)


def test_peak_of_saved_tensors_is_that_of_the_plain_block() -> None:
    """The fused backward saves h once, and moments that are small beside it."""
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    sizes = {}
    for fused in (True, False):
        saved.clear()
        block = CodedBottleneck(40, 40, 4, load_scheme("10-10-3")).train()
        x = torch.randn(8, 40, 16, 16).to(memory_format=torch.channels_last).requires_grad_()
        h = block.act2(block.bn2(block.conv2(block.act1(block.bn1(block.conv1(x))))))
        expand = module.SumPaths.apply if fused else module.sum_paths
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            expand(h, block.conv3.weight, 10, torch.float32, None, None)
        sizes[fused] = sum(saved.values()) / (h.numel() * 4)
    assert sizes[True] < 1.1
    assert sizes[False] > 1.9
