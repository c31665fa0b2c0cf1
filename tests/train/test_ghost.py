"""Batch norm over groups of a batch."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from codepath.models import create_model
from codepath.models.statistics import group_statistics
from codepath.run.config import RunConfig
from codepath.train.ghost import GhostBatchNorm2d, _ghost_norm, use_ghost_batches


def pair(channels: int, group: int) -> tuple[nn.BatchNorm2d, nn.Sequential]:
    """A batch norm and its counterpart over groups, with equal parameters."""
    plain = nn.BatchNorm2d(channels, momentum=0.3)
    nn.init.uniform_(plain.weight)
    nn.init.normal_(plain.bias)
    ghost = nn.Sequential(copy.deepcopy(plain))
    use_ghost_batches(ghost, group, 0.3)
    return plain, ghost


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("last", [False, True])
def test_groups_are_normalised_one_by_one(dtype: torch.dtype, last: bool) -> None:
    plain, ghost = pair(6, 4)
    if dtype == torch.float64:
        plain.double()
        ghost.double()
    x = torch.randn(12, 6, 5, 3, dtype=torch.float64).to(dtype)
    if last:
        x = x.to(memory_format=torch.channels_last)
    a, b = (x.clone().requires_grad_() for _ in range(2))
    expected = torch.cat([plain(group) for group in a.split(4)])
    found = ghost(b)
    assert torch.equal(found, expected)
    pulled = torch.randn_like(expected)
    expected.backward(pulled)
    found.backward(pulled)
    assert a.grad is not None
    assert b.grad is not None
    assert torch.equal(a.grad, b.grad)
    torch.testing.assert_close(plain.weight.grad, ghost[0].weight.grad)
    torch.testing.assert_close(plain.bias.grad, ghost[0].bias.grad)


def test_running_statistics_are_those_of_averaged_replicas() -> None:
    plain, ghost = pair(6, 4)
    replicas = [copy.deepcopy(plain) for _ in range(3)]
    for _ in range(5):
        x = 2 * torch.randn(12, 6, 5, 3) + 1
        ghost(x)
        for replica, group in zip(replicas, x.split(4), strict=True):
            replica(group)
    for name in ("running_mean", "running_var"):
        mean = torch.stack([getattr(replica, name) for replica in replicas]).mean(0)
        torch.testing.assert_close(getattr(ghost[0], name), mean)
    assert int(ghost[0].num_batches_tracked) == 5
    x = torch.randn(7, 6, 5, 3)
    assert torch.equal(ghost.eval()(x), ghost[0].eval()(x))
    plain.load_state_dict(ghost[0].state_dict())
    assert torch.equal(ghost(x), plain.eval()(x))


def test_what_a_compiler_sees_is_the_same() -> None:
    plain, ghost = pair(6, 4)
    x = torch.randn(12, 6, 5, 3)
    out, means, variances = _ghost_norm(x, plain.weight, plain.bias, 4, plain.eps, group_statistics)
    torch.testing.assert_close(out, ghost(x))
    for i, group in enumerate(x.split(4)):
        variance, mean = torch.var_mean(group, (0, 2, 3))
        torch.testing.assert_close(means[i], mean)
        torch.testing.assert_close(variances[i], variance)


def test_a_network_keeps_its_state_and_its_names(tiny_config: RunConfig) -> None:
    model = create_model(tiny_config.model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    norms = use_ghost_batches(model, 8, 0.2)
    assert dict.fromkeys(before, True) == dict.fromkeys(model.state_dict(), True)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert len(norms) == sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert all(type(m) is GhostBatchNorm2d for m in norms)
    assert {(m.momentum, m.group) for m in norms} == {(0.2, 8)}
    with pytest.raises(ValueError, match="12 images cannot be split into groups of 8"):
        norms[0](torch.randn(12, norms[0].num_features, 2, 2))
