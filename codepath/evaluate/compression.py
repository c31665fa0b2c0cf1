"""F1 of binary classifiers as they are made smaller without training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from codepath.core.errors import UserError
from codepath.data import Loader, Normalize
from codepath.evaluate.predict import evaluation_batches
from codepath.evaluate.thresholds import Objective, choose_threshold, count
from codepath.models.compress import compress
from codepath.models.effects import Statistics
from codepath.models.extract import stored_values
from codepath.models.fused import FusedClassifier
from codepath.store import Measurement

SHARES = (0.46, 0.44, 0.42, 0.40, 0.38, 0.36, 0.33, 0.30, 0.25, 0.20)
"""Kept shares on the curve: numbers in the classifier's file / parameters of the network."""


@torch.inference_mode()
def classifier_scores(
    module: nn.Module, loader: Loader, normalize: Normalize, device: torch.device
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(n,) logits of one classifier and (n,) labels."""
    scores: list[Tensor] = []
    labels: list[Tensor] = []
    for images, label, _ in evaluation_batches(loader, normalize, device):
        scores.append(module(images).float().cpu())
        labels.append(label.cpu())
    return torch.cat(scores).numpy(), torch.cat(labels).numpy()


def measure_compression(
    classifier: FusedClassifier,
    statistics: Statistics,
    class_index: int,
    class_name: str,
    network_parameters: int,
    loaders: tuple[Loader, Loader],
    normalize: Normalize,
    device: torch.device,
    shares: Sequence[float] = SHARES,
) -> Iterator[Measurement]:
    """`f1` of a class for each share that is asked for; 1 is the uncompressed classifier.

    The metric `share` beside it is the share that was reached. The threshold is the one of best
    F1 on training images.

    Args:
        classifier, statistics: of the class, see `codepath.models.compress`.
        class_index, class_name: of the class.
        network_parameters: number of the parent's parameters, of which shares are taken.
        loaders: training images for thresholds, and test images.
        normalize, device: as in `binary_scores`.
        shares: the shares to ask for. Those that the classifier has reached already, or cannot
            reach, are left out.
    """
    last = float("inf")
    for share in (1.0, *shares):
        try:
            small = compress(classifier, statistics, int(share * network_parameters))
        except UserError:
            return
        stored = stored_values(small)
        if stored == last:
            continue
        last = stored
        small = small.to(memory_format=torch.channels_last)
        train, test = (classifier_scores(small, part, normalize, device) for part in loaders)
        threshold = choose_threshold(train[0], train[1] == class_index, Objective("f1"))
        f1 = count(test[0] >= threshold, test[1] == class_index).metrics()["f1"]
        for metric, value in (("f1", f1), ("share", stored / network_parameters)):
            yield Measurement(
                kind="compression", metric=metric, value=value, n=len(test[0]), asked=share,
                class_name=class_name,
            )  # fmt: skip
