from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F

from codepath.run.objectives import ObjectiveConfig
from codepath.train.losses import TrainingObjective, coding_loss, mean_cost, power_costs


def test_coding_loss_by_hand() -> None:
    """r = 1/2, energies (2, 0), codeword (1, 0): exact. (1, 1): differences 1/2 and -1/2."""
    word = torch.tensor([[1, 0]])
    assert coding_loss(torch.tensor([[2.0, 0.0]]), word, 0.5) == 0
    flat = torch.tensor([[1.0, 1.0]])
    assert float(coding_loss(flat, 1 - word, 0.5)) == pytest.approx(0.5**4)
    assert float(coding_loss(flat, word, 0.5, exponent=2)) == pytest.approx(0.25)
    assert float(coding_loss(flat, word, 0.5, exponent=1)) == pytest.approx(0.5)


def test_coding_loss_is_a_mean_over_paths_and_batch() -> None:
    energies, words = torch.rand(7, 5), (torch.rand(7, 5) > 0.5).to(torch.uint8)
    expected = ((0.4 * energies - words) ** 4).mean()
    torch.testing.assert_close(coding_loss(energies, words, 0.4), expected)


def test_objective_is_the_sum_of_its_parts() -> None:
    torch.manual_seed(0)
    model = timm.create_model("coded_resnext20_10x4d").eval()
    images, labels = torch.randn(4, 3, 16, 16), torch.tensor([0, 5, 5, 9])
    parts = TrainingObjective(model, ObjectiveConfig(mu=6.0))(images, labels)
    assert list(parts.coding) == [3, 4, 5, 6]
    torch.testing.assert_close(parts.total, parts.cross_entropy + 6 * sum(parts.coding.values()))
    torch.testing.assert_close(parts.cross_entropy, F.cross_entropy(model(images), labels))
    energies = model.forward_coded(images).energies[5]
    words = model.coded_blocks[5].codewords[labels]
    torch.testing.assert_close(parts.coding[5], coding_loss(energies, words, 0.3))


def test_plain_networks_have_cross_entropy_alone() -> None:
    model = timm.create_model("resnext20_10x4d").eval()
    parts = TrainingObjective(model, ObjectiveConfig(mu=0.0))(
        torch.randn(4, 3, 8, 8), torch.arange(4)
    )
    assert parts.coding == {}
    assert parts.total == parts.cross_entropy


@pytest.mark.parametrize("exponent", [1, 2, 4])
def test_soft_coding_loss_is_the_expectation_over_classes(exponent: float) -> None:
    torch.manual_seed(0)
    energies = torch.rand(6, 10, dtype=torch.float64) * 3
    codewords = (torch.rand(7, 10) < 0.4).to(torch.uint8)
    targets = torch.rand(6, 7, dtype=torch.float64)
    targets /= targets.sum(1, keepdim=True)
    expected = sum(
        targets[b, k] * coding_loss(energies[b], codewords[k], 0.4, exponent) / 6
        for b in range(6)
        for k in range(7)
    )
    got = mean_cost(power_costs(energies, codewords, targets, 0.4, exponent))
    torch.testing.assert_close(got, expected)

    labels = torch.tensor([0, 6, 2, 2, 5, 1])
    hard = coding_loss(energies, codewords[labels], 0.4, exponent)
    soft = mean_cost(power_costs(energies, codewords, F.one_hot(labels, 7), 0.4, exponent))
    torch.testing.assert_close(soft, hard)
