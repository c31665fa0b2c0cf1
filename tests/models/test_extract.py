"""Binary classifiers: equal to the masked network, of the counted size, smaller on demand."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import timm
import torch
from torch import nn

from codepath.models import CodedResNeXt, extract_binary_classifier, extract_paths
from codepath.models.compress import compress, measure_effects
from codepath.models.extract import (
    SlicedBottleneck,
    class_paths,
    count_parameters,
    stored_numbers,
)
from codepath.runtime import UserError
from tests.models.networks import image_for, randomise_norms
from tests.models.test_networks import CODED

PHYSICAL = {
    "coded_resnext29_10x11d": (2_149_034, 0.463, 0.368),
    "coded_resnext29_20x6d": (1_777_744, 0.374, 0.268),
    "coded_resnext50_32x4d": (10_416_448, 0.416, 0.342),
}
"""Parameters of the sliced classifier, their share, and the share by ratios."""


def network(name: str, **kwargs: object) -> CodedResNeXt:
    torch.manual_seed(0)
    model = timm.create_model(name, **kwargs)
    randomise_norms(model)
    return model.eval()


@pytest.fixture(scope="module")
def small() -> CodedResNeXt:
    return network("coded_resnext20_10x4d")


@pytest.mark.parametrize("name", CODED)
def test_sliced_is_masked(name: str) -> None:
    model = network(name)
    some = 10 if model.num_classes < 1000 else 3
    assert_sliced_is_masked(model, range(model.num_classes - 1, -1, -(model.num_classes // some)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["coded_resnext29_20x6d", "coded_resnext50_32x4d"])
@torch.no_grad()
def test_sliced_is_masked_for_every_class(name: str) -> None:
    """Of the coded blocks, on small maps: what comes before them is the parent's own."""
    model = network(name)
    first = min(model.coded_blocks)
    features = model.forward_until(image_for(model)[:1, :, ::2, ::2], first)
    for k in range(model.num_classes):
        expected = model.forward_coded(features, keep=k, first_block=first).logits[:, k]
        x = features
        for number, kept in class_paths(model, k).items():
            x = SlicedBottleneck(model.coded_blocks[number], kept, model.paths).eval()(x)
        found = x.mean((2, 3)) @ model.fc.weight[k]
        assert float((found - expected).abs()) <= 1e-5 * max(float(expected.abs()), 1.0), k


@torch.no_grad()
def assert_sliced_is_masked(model: CodedResNeXt, classes: Iterable[int]) -> None:
    """To 1e-5 of the largest logit (at least 1) in float32, to 1e-10 in float64."""
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-10)):
        model = model.to(dtype)
        x = image_for(model).to(dtype)
        first = min(model.coded_blocks)
        features = model.forward_until(x, first)
        for k in classes:
            expected = model.forward_coded(features, keep=k, first_block=first).logits[:, k]
            size = max(float(expected.abs().max()), 1.0)
            classifier = extract_binary_classifier(model, k)
            for module in (classifier, classifier.fuse()):
                assert float((module(x) - expected).abs().max()) <= tolerance * size, (k, module)


@pytest.mark.parametrize("name", PHYSICAL)
def test_parameters_are_counted_both_ways(name: str) -> None:
    model = timm.create_model(name)
    physical, share, by_ratio = PHYSICAL[name]
    found = count_parameters(model, extract_binary_classifier(model, 0))
    assert found.physical == physical
    assert found.physical_share == pytest.approx(share, abs=5e-4)
    assert found.by_ratio_share == pytest.approx(by_ratio, abs=5e-4)


def test_extraction_leaves_the_parent_alone(small: CodedResNeXt) -> None:
    before = {key: value.clone() for key, value in small.state_dict().items()}
    classifier = extract_binary_classifier(small, 3)
    with torch.no_grad():
        for parameter in classifier.parameters():
            parameter.zero_()
    for key, value in small.state_dict().items():
        assert torch.equal(value, before[key]), key


@torch.no_grad()
def test_any_paths_of_coded_and_plain_networks(small: CodedResNeXt) -> None:
    kept = {3: [1, 4], 5: [0, 7, 9], 2: [8]}
    x = image_for(small)
    masks = {b: torch.zeros(10).index_fill(0, torch.tensor(kept[b]), 1) for b in (3, 5)}
    uncoded = small.blocks[1]
    removed = [n for n in range(10) if n not in kept[2]]
    weight = uncoded.conv3.weight.clone()
    for n in removed:
        uncoded.conv3.weight[:, 4 * n : 4 * n + 4] = 0
    expected = small.forward_coded(x, path_masks=masks).logits[:, 6]
    uncoded.conv3.weight.copy_(weight)
    found = extract_paths(small, kept, 6)(x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    plain = network("resnext20_10x4d")
    torch.testing.assert_close(extract_paths(plain, {}, 2)(x), plain(x)[:, 2], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda m: extract_binary_classifier(m, 10), "class 10 does not exist: classes are 0 to 9"),
        (lambda m: extract_binary_classifier(m, -1), "class -1 does not exist"),
        (lambda m: extract_paths(m, {4: []}, 0), "no path is left in block 4 for class 0"),
        (lambda m: extract_paths(m, {4: [0, 10]}, 0), "distinct numbers from 0 to 9"),
        (lambda m: extract_paths(m, {7: [0]}, 0), "no block 7: blocks are 1 to 6"),
    ],
)
def test_bad_requests(small: CodedResNeXt, build, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(small)


def test_networks_without_class_paths() -> None:
    with pytest.raises(UserError, match="no coded blocks"):
        extract_binary_classifier(timm.create_model("resnext20_10x4d"), 0)
    with pytest.raises(UserError, match="no coded blocks"):
        extract_binary_classifier(timm.create_model("resnet18"), 0)
    model = timm.create_model("coded_resnext20_10x4d")
    model.coded_blocks[5].codewords[2] = 0
    with pytest.raises(UserError, match="no path is left in block 5 for class 2"):
        extract_binary_classifier(model, 2)
    with pytest.raises(UserError, match="aggregate='sum'"):
        extract_binary_classifier(timm.create_model("coded_resnext20_10x4d", aggregate="concat"), 0)


def test_effects_are_first_order_changes_of_the_logit(small: CodedResNeXt) -> None:
    """By finite differences: scaling a channel's deviation changes the logit as its effect says."""
    classifier = extract_binary_classifier(small, 1).fuse()
    x = torch.randn(6, 3, 16, 16, generator=torch.manual_seed(3))
    found = measure_effects(classifier, x)
    last = len(classifier.blocks) - 1
    mean = found.stream_means[last]
    with torch.no_grad():
        features = classifier.blocks(classifier.maxpool(classifier.conv1(x).relu()))
        change = classifier.fc.weight[0] * (features - mean[:, None, None]).mean((2, 3))
    other = measure_effects(classifier, x).stream_effects[-1]
    torch.testing.assert_close(found.stream_effects[-1], other)
    lower = change.square().mean(0)
    # The stage's other block adds its own part, so that the last block's is a lower bound.
    assert (found.stream_effects[-1] >= lower * 0.999).all()
    assert found.stream_effects[-1].max() < 1e3 * lower.max()


@torch.no_grad()
def test_compression_reaches_its_size_and_degrades_slowly(small: CodedResNeXt) -> None:
    classifier = extract_binary_classifier(small, 4).fuse()
    x = torch.randn(64, 3, 16, 16, generator=torch.manual_seed(0))
    statistics = measure_effects(classifier, x)
    expected, whole = classifier(x), stored_numbers(classifier)
    assert compress(classifier, statistics, whole) is classifier
    errors = []
    for share in (0.98, 0.9, 0.6, 0.3):
        smaller = compress(classifier, statistics, int(share * whole))
        assert 0.95 * share * whole < stored_numbers(smaller) <= share * whole
        errors.append(float((smaller(x) - expected).std() / expected.std()))
    assert errors[0] < 0.05
    assert errors[1] < 0.25
    assert errors == sorted(errors)
    with pytest.raises(UserError, match="are the fewest that can be reached"):
        compress(classifier, statistics, 100)


@torch.no_grad()
def test_compression_of_what_is_constant_is_exact(small: CodedResNeXt) -> None:
    """On one repeated image every unit is its mean: whatever goes, the logit stays."""
    classifier = extract_binary_classifier(small, 0).fuse()
    x = torch.randn(1, 3, 1, 1, generator=torch.manual_seed(5)).expand(8, 3, 8, 8).contiguous()
    for module in classifier.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            module.padding_mode = "circular"
            module._reversed_padding_repeated_twice = [1, 1, 1, 1]
    statistics = measure_effects(classifier, x)
    smaller = compress(classifier, statistics, stored_numbers(classifier) // 2)
    for module in smaller.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            module.padding_mode = "circular"
            module._reversed_padding_repeated_twice = [1, 1, 1, 1]
    torch.testing.assert_close(smaller(x), classifier(x), rtol=1e-3, atol=1e-3)
