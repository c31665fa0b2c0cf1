"""Top-1 accuracy (Table 2)."""

from __future__ import annotations

from collections.abc import Iterator

from codepath.evaluate.predict import Predictions
from codepath.store import Measurement


def measure_accuracy(predictions: Predictions, split: str) -> Iterator[Measurement]:
    """`top1`, the share of images whose largest logit is their class's, in [0, 1]."""
    correct = predictions.logits.argmax(1) == predictions.labels
    yield Measurement(
        kind="accuracy", metric="top1", value=float(correct.mean()), n=len(correct), split=split
    )
