"""The Triton kernels beside the plain expressions, by Triton's interpreter.

Run by test_candidates.py in a process of its own: TRITON_INTERPRET=1 must be there when Triton is
loaded.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from codepath.models import kernels
from codepath.models.energies import energies_from_grams, path_grams
from codepath.models.statistics import group_statistics
from tests.train.test_candidates import images, made_block, masks_of, results_of

SHAPES = [(10, 24, 16, 16), (3, 11, 5, 7), (2, 44, 8, 8), (4, 6, 1, 1), (2, 4, 9, 9)]
"""N, d', H, W."""
PRECISIONS = [(torch.float32, 1e-5), (torch.bfloat16, 1e-2), (torch.float16, 2e-3)]


def test_the_interpreter_is_there() -> None:
    assert kernels.INTERPRETED


def close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    largest = float(expected.float().abs().max())
    torch.testing.assert_close(
        found.float(), expected.float(), rtol=0, atol=tolerance * largest + 1e-12
    )


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize(("N", "d", "H", "W"), SHAPES)
def test_energies_and_their_gradients(
    N: int, d: int, H: int, W: int, dtype: torch.dtype, tolerance: float
) -> None:
    torch.manual_seed(0)
    h = torch.randn(3, N * d, H, W).relu().to(dtype).to(memory_format=torch.channels_last)
    weight = torch.randn(32, N * d, 1, 1)

    def found(energies: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        x, w = h.clone().requires_grad_(), weight.clone().requires_grad_()
        E = energies(x, path_grams(w, N, torch.float32))
        (E * torch.arange(1, N + 1)).square().mean().backward()
        assert x.grad is not None
        assert w.grad is not None
        assert x.grad.is_contiguous(memory_format=torch.channels_last)
        return E.detach(), x.grad, w.grad

    E, h_gradient, weight_gradient = found(kernels.energies_from_grams)
    expected = found(energies_from_grams)
    assert E.dtype == torch.float32
    assert h_gradient.dtype == dtype
    close(E, expected[0], 1e-5)  # its products are exact
    close(h_gradient, expected[1], tolerance)
    close(weight_gradient, expected[2], 1e-5)
    again = found(kernels.energies_from_grams)
    assert all(map(torch.equal, again, (E, h_gradient, weight_gradient)))


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize(
    ("size", "channels", "H", "W"), [(2, 40, 16, 16), (3, 5, 3, 3), (1, 64, 7, 5)]
)
def test_statistics_and_their_gradients(
    size: int, channels: int, H: int, W: int, dtype: torch.dtype, tolerance: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Also with several shares a group, of which the last is smaller."""
    torch.manual_seed(0)
    x = (3 * torch.randn(2 * size, channels, H, W) + 40).to(dtype)
    x = x.to(memory_format=torch.channels_last)

    def found(statistics: Callable[[Tensor, int], tuple[Tensor, Tensor]]) -> list[Tensor]:
        mine = x.clone().requires_grad_()
        mean, variance = statistics(mine, size)
        (mean * variance.sqrt()).square().mean().backward()
        assert mine.grad is not None
        return [mean.detach(), variance.detach(), mine.grad]

    expected = found(group_statistics)
    for programs in (1, 1024):
        monkeypatch.setattr(kernels, "_PROGRAMS", programs)
        mean, variance, gradient = found(kernels.group_statistics)
        close(mean, expected[0], 1e-6)
        close(variance, expected[1], 1e-5)
        close(gradient, expected[2], max(tolerance, 1e-4))
        assert torch.equal(found(kernels.group_statistics)[1], variance)


NAMES = [("kernels",), ("kernels", "folded"), ("statistics",), ("kernels", "folded", "statistics")]


@pytest.mark.parametrize("masks", ["", "path drop"])
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("names", NAMES, ids="+".join)
def test_a_block_with_kernels_is_the_block(
    names: tuple[str, ...], aligned: bool, masks: str
) -> None:
    x = images(torch.float32)
    exact = results_of(made_block(False, (), torch.float64), images(torch.float64), masks_of(masks))
    found = results_of(made_block(aligned, names, torch.float32), x, masks_of(masks))
    for name, value in exact.items():
        close(found[name], value, 2e-5)


@pytest.mark.parametrize("names", NAMES, ids="+".join)
def test_compilers_pass_over_kernels(names: tuple[str, ...]) -> None:
    x = images(torch.float32)
    torch._dynamo.reset()
    plain = results_of(made_block(True, names, torch.float32), x, masks_of("drop"))
    block = made_block(True, names, torch.float32)
    call = torch.compile(block.forward_coded, backend="aot_eager", fullgraph=True, dynamic=False)
    for name, value in results_of(block, x, masks_of("drop"), call).items():
        close(value, plain[name], 1e-5)


def test_an_all_zero_image_stays_finite() -> None:
    block = made_block(True, ("kernels", "folded", "statistics"), torch.float32)
    for value in results_of(block, torch.zeros(4, 12, 6, 6), {}).values():
        assert bool(value.isfinite().all())
