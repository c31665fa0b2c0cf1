"""Binary classifiers by masking: keep one class's paths and read its logit (Fig 2b, 3)."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from codepath.data import Loader, Normalize
from codepath.evaluate.predict import evaluation_batches
from codepath.evaluate.thresholds import Objective, choose_threshold, count
from codepath.models import CodedResNeXt
from codepath.runtime import UserError, atomic_path
from codepath.store import Measurement

HISTOGRAM_BINS = 40
HISTOGRAM_CLASSES = 10
"""Fig 3 and 7 show the first ten classes."""


class BinaryScores(NamedTuple):
    """Outputs of all K binary classifiers."""

    scores: NDArray[np.float32]
    """(n, K): entry k is the logit of class k when only its paths act."""
    labels: NDArray[np.int64]
    """(n,)"""

    def save(self, path: Path) -> None:
        """Write a compressed .npz with scores and labels."""
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, scores=self.scores, labels=self.labels)

    @classmethod
    def load(cls, path: Path) -> BinaryScores:
        """What `save` wrote; UserError where it is damaged."""
        try:
            with np.load(path) as saved:
                return cls(saved["scores"], saved["labels"])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(f"{path} is damaged ({error}); evaluate the run again") from None


@torch.inference_mode()
def binary_scores(
    model: CodedResNeXt, loader: Loader, normalize: Normalize, device: torch.device
) -> BinaryScores:
    """Score every image with all K classifiers; the uncoded start is computed once."""
    first = min(model.coded_blocks)
    scores, labels = [], []
    for images, label, _ in evaluation_batches(loader, normalize, device):
        features = model.forward_until(images, first)
        columns = [
            model.forward_coded(features, keep=k, first_block=first).logits[:, k]
            for k in range(model.num_classes)
        ]
        scores.append(torch.stack(columns, 1).float().cpu())
        labels.append(label.cpu())
    return BinaryScores(torch.cat(scores).numpy(), torch.cat(labels).numpy())


def measure_binary(
    train: BinaryScores, test: BinaryScores, class_names: Sequence[str]
) -> Iterator[Measurement]:
    """Per class: threshold (highest F1 on training images), precision, recall, F1 and average
    precision on test images against all negatives, their prevalence, and for the first
    classes a histogram of the logit (counts per bin; x is the bin's left edge).
    """
    for k, name in enumerate(class_names):
        threshold = choose_threshold(train.scores[:, k], train.labels == k, Objective("f1"))
        score, positive = test.scores[:, k], test.labels == k
        values = count(score >= threshold, positive).metrics() | {
            "average_precision": float(average_precision_score(positive, score)),
            "prevalence": float(positive.mean()),
        }
        for metric, value in values.items():
            yield Measurement(
                kind="binary", metric=metric, value=value, n=len(score), class_name=name
            )
        yield Measurement(
            kind="binary",
            metric="threshold",
            value=threshold,
            n=len(train.labels),
            split="train",
            class_name=name,
        )
        if k >= HISTOGRAM_CLASSES:
            continue
        edges = np.histogram_bin_edges(score, HISTOGRAM_BINS)
        for metric, group in (("positive", score[positive]), ("negative", score[~positive])):
            counts, _ = np.histogram(group, edges)
            for left, images in zip(edges, counts, strict=False):
                yield Measurement(
                    kind="histograms",
                    metric=metric,
                    value=float(images),
                    n=len(score),
                    class_name=name,
                    x=float(left),
                )
