"""Binary classifiers: equal to the masked network, of the counted size, smaller on demand."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import timm
import torch
from torch import Tensor, nn

from codepath.core.errors import UserError
from codepath.models import CodedResNeXt, extract_binary_classifier, extract_paths
from codepath.models.compress import compress
from codepath.models.effects import Statistics, measure_effects
from codepath.models.extract import (
    SlicedBottleneck,
    class_paths,
    count_parameters,
    fuse_block,
    stored_values,
)
from codepath.models.fused import FusedClassifier
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
@pytest.mark.parametrize("name", CODED)
@torch.no_grad()
def test_sliced_is_masked_for_every_class(name: str) -> None:
    """The sliced and the fused form, in float64, on small maps.

    Of the coded blocks: what comes before them is the parent's own for every class, and the fused
    form of it is compared once.
    """
    model = network(name).double()
    first = min(model.coded_blocks)
    x = image_for(model)[:1, :, ::2, ::2].double()
    features = model.forward_until(x, first)
    start = extract_paths(model, {}, 0).fuse()
    found = start.blocks[: first - 1](start.maxpool(start.conv1(x).relu_()))
    torch.testing.assert_close(found, features, rtol=1e-10, atol=1e-10)
    for k in range(model.num_classes):
        expected = model.forward_coded(features, keep=k, first_block=first).logits[:, k]
        sliced = fused = features
        for number, kept in class_paths(model, k).items():
            block = SlicedBottleneck(model.coded_blocks[number], kept, model.paths).eval()
            sliced = block(sliced)
            fused = fuse_block(block)(fused)
        for x in (sliced, fused):
            logit = x.mean((2, 3)) @ model.fc.weight[k]
            assert float((logit - expected).abs()) <= 1e-10 * max(float(expected.abs()), 1.0), k


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


STEP = 1e-6


def shifted_logits(
    classifier: FusedClassifier, x: Tensor, module: nn.Module, shift: Tensor, before: bool = False
) -> Tensor:
    """(n,) logits with something added to what a module gives, or to what it is given."""
    if before:
        handle = module.register_forward_pre_hook(lambda _, given: (given[0] + shift,))
    else:
        handle = module.register_forward_hook(lambda _, __, output: output + shift)
    try:
        return classifier(x)
    finally:
        handle.remove()


def value_at(classifier: FusedClassifier, x: Tensor, module: nn.Module, before: bool) -> Tensor:
    """What a module gives, or what it is given."""
    kept = []
    register = module.register_forward_pre_hook if before else module.register_forward_hook
    handle = register(lambda _, given, *output: kept.append(given[0] if before else output[0]))
    classifier(x)
    handle.remove()
    return kept[0]


def change_of_logit(
    classifier: FusedClassifier, x: Tensor, module: nn.Module, part: Tensor, before: bool = False
) -> float:
    """Mean over images of (dz/dt)^2 for a module's value plus t times `part`, by differences."""
    up, down = (
        shifted_logits(classifier, x, module, sign * STEP * part, before) for sign in (1, -1)
    )
    return float(((up - down) / (2 * STEP)).square().mean())


@pytest.fixture(scope="module")
def measured() -> tuple[FusedClassifier, Tensor, Statistics]:
    """A small classifier in float64, images, and what is measured on them."""
    classifier = extract_binary_classifier(network("coded_resnext20_10x4d"), 1).fuse().double()
    x = torch.randn(6, 3, 16, 16, generator=torch.manual_seed(3), dtype=torch.float64)
    return classifier, x, measure_effects(classifier, x)


@torch.no_grad()
def test_effects_of_channels_by_finite_differences(measured) -> None:
    """A channel's effect is that of scaling its deviations in the blocks of its stage."""
    classifier, x, found = measured
    for stage, blocks in enumerate(((0, 1), (2, 3), (4, 5))):
        deviations = {}
        for number in blocks:
            value = value_at(classifier, x, classifier.blocks[number], before=False)
            mean = value.mean((0, 2, 3))
            torch.testing.assert_close(found.stream_means[number], mean, rtol=1e-9, atol=1e-12)
            deviations[number] = value - mean[:, None, None]
        for channel in (0, 7, 63):
            expected = 0.0
            for number in blocks:
                part = torch.zeros_like(deviations[number])
                part[:, channel] = deviations[number][:, channel]
                expected += change_of_logit(classifier, x, classifier.blocks[number], part)
            assert expected > 0
            assert float(found.stream_effects[stage][channel]) == pytest.approx(expected, rel=1e-5)


@torch.no_grad()
def test_effects_of_paths_by_finite_differences(measured) -> None:
    classifier, x, found = measured
    assert set(found.path_effects) == {0, 1}
    for number, effects in found.path_effects.items():
        conv3 = classifier.blocks[number].conv3
        value = value_at(classifier, x, conv3, before=True)
        deviation = value - value.mean((0, 2, 3))[:, None, None]
        width = value.shape[1] // len(effects)
        for path in (0, 4, 9):
            part = torch.zeros_like(value)
            mine = slice(path * width, (path + 1) * width)
            part[:, mine] = deviation[:, mine]
            expected = change_of_logit(classifier, x, conv3, part, before=True)
            assert float(effects[path]) == pytest.approx(expected, rel=1e-5)


@torch.no_grad()
def test_effects_of_directions_by_finite_differences(measured) -> None:
    """A direction's effect is that of scaling its coordinate of the projection's deviations."""
    classifier, x, found = measured
    for number, axes in found.projections.items():
        skip = classifier.blocks[number].downsample
        value = value_at(classifier, x, skip, before=False)
        deviation = value - value.mean((0, 2, 3))[:, None, None]
        size = len(axes.effects)
        for direction in (0, size // 2, size - 1):
            coordinate = torch.einsum("bohw,o->bhw", deviation, axes.to_axes[:, direction])
            part = coordinate[:, None] * axes.from_axes[:, direction][:, None, None]
            expected = change_of_logit(classifier, x, skip, part)
            assert float(axes.effects[direction]) == pytest.approx(expected, rel=1e-5), direction
        whole = axes.from_axes @ axes.to_axes.mT
        torch.testing.assert_close(whole, torch.eye(size, dtype=torch.float64), rtol=0, atol=1e-9)


@torch.no_grad()
def test_compression_reaches_its_size_and_degrades_slowly(small: CodedResNeXt) -> None:
    classifier = extract_binary_classifier(small, 4).fuse()
    x = torch.randn(64, 3, 16, 16, generator=torch.manual_seed(0))
    statistics = measure_effects(classifier, x)
    expected, whole = classifier(x), stored_values(classifier)
    assert compress(classifier, statistics, whole) is classifier
    errors = []
    for share in (0.98, 0.9, 0.6, 0.3):
        smaller = compress(classifier, statistics, int(share * whole))
        assert 0.95 * share * whole < stored_values(smaller) <= share * whole
        errors.append(float((smaller(x) - expected).std() / expected.std()))
    assert errors[0] < 0.05
    assert errors[1] < 0.25
    assert errors == sorted(errors)
    with pytest.raises(UserError, match="are the fewest that can be reached"):
        compress(classifier, statistics, 100)


@torch.no_grad()
def test_compression_where_the_first_skip_is_the_identity() -> None:
    classifier = extract_binary_classifier(network("coded_resnext20_10x6d"), 4).fuse()
    assert classifier.shape.blocks[0].projection is None
    x = torch.randn(16, 3, 16, 16, generator=torch.manual_seed(0))
    statistics = measure_effects(classifier, x)
    smaller = compress(classifier, statistics, int(0.9 * stored_values(classifier)))
    assert stored_values(smaller) <= 0.9 * stored_values(classifier)
    expected = classifier(x)
    assert float((smaller(x) - expected).std() / expected.std()) < 0.25


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
    smaller = compress(classifier, statistics, stored_values(classifier) // 2)
    for module in smaller.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            module.padding_mode = "circular"
            module._reversed_padding_repeated_twice = [1, 1, 1, 1]
    torch.testing.assert_close(smaller(x), classifier(x), rtol=1e-3, atol=1e-3)
