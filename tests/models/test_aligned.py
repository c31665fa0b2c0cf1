"""Aligned bottlenecks compute what the others do."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor

from codepath.models.aligned import aligned_width, crop_paths, pad_paths
from codepath.run.objectives import ObjectiveConfig
from codepath.train.ghost import use_ghost_batches
from codepath.train.losses import TrainingObjective


@pytest.mark.parametrize(
    ("width", "paths", "expected"),
    [(11, 10, 12), (22, 10, 24), (44, 10, 44), (6, 20, 6), (3, 3, 8)],
)
def test_padding_reaches_a_multiple_of_eight(width: int, paths: int, expected: int) -> None:
    assert aligned_width(width, paths) == expected
    values = torch.arange(2 * width * paths).view(2, -1)
    padded = pad_paths(values, 1, paths, expected)
    assert padded.shape == (2, paths * expected)
    assert padded.shape[1] % 8 == 0
    assert torch.equal(crop_paths(padded, 1, paths, width), values)
    assert int(padded.sum()) == int(values.sum())


@pytest.mark.parametrize("group", [0, 2])
@pytest.mark.parametrize("masking", [False, True])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("coded_resnext20_10x6d", {"p_drop": 0.2}),
        ("coded_resnext20_10x6d", {"aggregate": "concat"}),
        ("resnext20_10x6d", {}),
        ("coded_resnext29_20x6d", {}),
    ],
)
def test_an_aligned_network_is_the_same_network(
    name: str, options: dict[str, object], masking: bool, group: int
) -> None:
    """Losses, gradients, running statistics, and in evaluation the logits."""
    torch.manual_seed(0)
    images = torch.randn(4, 3, 16, 16, dtype=torch.float64)
    labels = torch.arange(4)
    found: list[dict[str, Tensor]] = []
    for aligned in (False, True):
        torch.manual_seed(1)
        model = timm.create_model(name, **options).double()
        for block in model.blocks:
            torch.nn.init.normal_(block.bn3.weight)
        use_ghost_batches(model, group, 0.1, aligned)
        masks = {n: torch.full((4, model.paths), 1.25) for n in model.drop_starts}
        for mask in masks.values():
            mask[:, 2] = 0
        objective = TrainingObjective(
            model.train(), ObjectiveConfig(mu=6.0, gradient_masking=masking)
        )
        total = objective(images, labels, masks or None).total
        total.backward()
        gradients = {f"gradient of {n}": p.grad for n, p in model.named_parameters()}
        found.append({"total": total, "logits": model.eval()(images)})
        found[-1] |= gradients | model.state_dict()  # type: ignore[operator]
    assert found[0].keys() == found[1].keys()
    for key, value in found[0].items():
        torch.testing.assert_close(found[1][key], value, rtol=1e-8, atol=1e-8, msg=key)
