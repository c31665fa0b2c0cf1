from __future__ import annotations

import numpy as np
import pytest
import torch

from codepath.core.errors import UserError
from codepath.core.machine import available_cores
from codepath.data import (
    ArrayDataSet,
    ArraySplit,
    Normalize,
    evaluation_loader,
    load_data_set,
    training_loader,
)
from codepath.data.loaders import ArrayLoader, EpochOrder, Shard, usable_workers
from codepath.data.randomness import Draw, counter_hash, integers, permutation
from codepath.run.config import DataConfig

PINNED = [1099492885005304040, 11321275236625755554, 8280904844487277629]
PINNED_ORDER = [7, 4, 1, 5, 3, 2, 0, 6]


def test_hash_is_pinned() -> None:
    """Known values: augmentation must not change between versions or machines."""
    assert counter_hash(0, 0, np.arange(3), 0).tolist() == PINNED
    assert permutation(8, seed=1, epoch=2).tolist() == PINNED_ORDER


def test_draws_are_uniform_and_independent() -> None:
    indices = np.arange(90_000)
    counts = np.bincount(integers(9, 7, 3, indices, Draw.CROP_X), minlength=9)
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 26.1  # chi-square, 8 degrees, p = 0.001
    streams = [
        counter_hash(*key).astype(float)
        for key in (
            (0, 0, indices, 1),
            (1, 0, indices, 1),
            (0, 1, indices, 1),
            (0, 0, indices, 2),
            (0, 0, indices + 90_000, 1),
        )
    ]
    correlation = np.corrcoef(streams) - np.eye(len(streams))
    assert np.abs(correlation).max() < 4.5 / np.sqrt(len(indices))


def test_every_epoch_is_another_permutation() -> None:
    orders = [permutation(100, seed, epoch) for seed in range(3) for epoch in range(3)]
    assert all(sorted(order) == list(range(100)) for order in orders)
    assert len({tuple(order) for order in orders}) == 9


def test_digits_are_complete_and_split_by_class() -> None:
    digits = load_data_set("digits")
    assert (len(digits.train), len(digits.test)) == (1297, 500)
    assert np.bincount(digits.test.labels).tolist() == [50] * 10
    assert digits.image_shape == (1, 8, 8)
    assert digits.train.images.max() == 255
    both = np.concatenate([digits.train.images, digits.test.images]).reshape(1797, -1)
    from sklearn.datasets import load_digits

    raw = np.round(load_digits().data * (255 / 16)).astype(np.uint8)
    assert sorted(map(bytes, both)) == sorted(map(bytes, raw))


def test_unknown_source() -> None:
    with pytest.raises(UserError, match="did you mean digits"):
        load_data_set("digit")


def collect(loader, epoch: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    loader.set_epoch(epoch)
    return tuple(torch.cat(parts) for parts in zip(*loader, strict=True))


def test_training_loader_repeats_by_seed_and_epoch(tiny_images: ArrayDataSet) -> None:
    config = DataConfig(source="digits", pad=2, flip=True)
    a, b = (training_loader(tiny_images, config, 20, seed=1) for _ in range(2))
    first = collect(a, 4)
    collect(b, 0)
    again = collect(b, 4)
    assert all(torch.equal(x, y) for x, y in zip(first, again, strict=True))
    assert not torch.equal(first[2], collect(a, 5)[2])
    assert (len(a), a.num_samples, len(first[1])) == (4, 80, 80)
    assert first[0].dtype == torch.uint8
    assert first[0].shape == (80, 1, 8, 8)


def test_augmentation_does_not_depend_on_the_batch_size(tiny_images: ArrayDataSet) -> None:
    by_index = []
    for batch_size in (16, 48):
        loader = training_loader(
            tiny_images, DataConfig(source="digits", pad=2, flip=True), batch_size, seed=1
        )
        images, _, indices = collect(loader, 3)
        by_index.append(images[indices.argsort()])
    assert torch.equal(*by_index)


def test_crops_come_from_the_padded_image(tiny_images: ArrayDataSet) -> None:
    """Every augmented image is one of the (2 pad + 1)^2 windows, mirrored or not."""
    loader = training_loader(tiny_images, DataConfig(source="digits", pad=1, flip=True), 96, seed=0)
    images, labels, indices = collect(loader, 0)
    mirrored = 0
    for image, label, index in zip(images.numpy(), labels, indices, strict=True):
        original = np.pad(tiny_images.train.images[index, :, :, 0], 1)
        windows = [original[y : y + 8, x : x + 8] for y in range(3) for x in range(3)]
        straight = any(np.array_equal(image[0], w) for w in windows)
        flipped = any(np.array_equal(image[0], w[:, ::-1]) for w in windows)
        assert straight or flipped
        mirrored += flipped and not straight
        assert label == tiny_images.train.labels[index]
    assert 25 < mirrored < 71


def test_evaluation_is_every_image_once_in_order(tiny_images: ArrayDataSet) -> None:
    images, labels, indices = collect(evaluation_loader(tiny_images.test, 10), 0)
    assert indices.tolist() == list(range(25))
    assert np.array_equal(images.numpy().transpose(0, 2, 3, 1), tiny_images.test.images)
    assert np.array_equal(labels.numpy(), tiny_images.test.labels)


def test_too_large_batches_are_refused() -> None:
    split = ArraySplit(np.zeros((3, 8, 8, 1), dtype=np.uint8), np.zeros(3, dtype=np.int64))
    with pytest.raises(UserError, match="3 images make no batch of 4"):
        ArrayLoader(split, 4, shuffle=True)


def test_normalize() -> None:
    normalize = Normalize((0.5, 0.25), (0.5, 0.1))
    images = torch.tensor([0, 255, 51], dtype=torch.uint8).view(1, 1, 1, 3).expand(1, 2, 1, 3)
    expected = (images.double() / 255 - torch.tensor([0.5, 0.25]).view(2, 1, 1)) / torch.tensor(
        [0.5, 0.1]
    ).view(2, 1, 1)
    torch.testing.assert_close(normalize(images), expected.float(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_processes_share_every_batch(world: int) -> None:
    """The same samples a step whatever the number of processes."""
    whole = list(EpochOrder(103, 8, True, 3).batches(2))
    parts = [list(EpochOrder(103, 8, True, 3, Shard(r, world)).batches(2)) for r in range(world)]
    assert {len(part) for part in parts} == {len(whole)} == {12}
    for step, indices in enumerate(whole):
        assert np.array_equal(np.concatenate([part[step] for part in parts]), indices)
    order = EpochOrder(103, 8, True, 3, Shard(0, world))
    assert len(order) == 12
    assert order.num_samples == 96
    resumed = list(order.batches(2, first=5))
    assert len(resumed) == 7
    assert all(np.array_equal(a, b) for a, b in zip(resumed, parts[0][5:], strict=True))


@pytest.mark.parametrize("world", [1, 2, 3, 200])
def test_evaluation_sees_every_sample_in_one_process(world: int) -> None:
    orders = [EpochOrder(103, 8, False, 0, Shard(rank, world)) for rank in range(world)]
    seen = [i for order in orders for batch in order.batches(0) for i in batch.tolist()]
    assert sorted(seen) == list(range(103))
    assert all(order.num_samples == 103 for order in orders)


def test_a_batch_that_processes_cannot_share_is_refused() -> None:
    with pytest.raises(UserError, match="cannot be shared by 3 processes"):
        EpochOrder(103, 8, True, 0, Shard(0, 3))


def test_workers_are_bounded_by_the_cores() -> None:
    assert usable_workers(0) == usable_workers(10_000) == available_cores()
    assert usable_workers(1) == 1
    with pytest.raises(UserError, match="must not be negative"):
        usable_workers(-1)


@pytest.mark.parametrize("name", ["generated-cifar100", "generated-imagenet"])
def test_made_up_images_are_repeatable_and_learnable(name: str) -> None:
    """Twenty classes in equal parts, each nearer to its own mean image than to the others'."""
    images, again = load_data_set(name), load_data_set(name)
    assert isinstance(images, ArrayDataSet)
    assert isinstance(again, ArrayDataSet)
    np.testing.assert_array_equal(images.train.images, again.train.images)
    assert images.dataset == name
    assert "made-up" in images.source
    assert np.bincount(images.test.labels).tolist() == [5] * 20
    means = np.stack([images.train.images[images.train.labels == k].mean(0) for k in range(20)])
    distances = ((images.test.images[:, None] - means) ** 2).sum((2, 3, 4))
    assert (distances.argmin(1) == images.test.labels).mean() > 0.9
