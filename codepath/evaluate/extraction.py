"""What a class's classifier keeps of its network: parameters, counted both ways, multiply-adds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from codepath.evaluate.cost import macs
from codepath.models import CodedResNeXt
from codepath.models.extract import (
    BinaryClassifier,
    count_parameters,
    extract_binary_classifier,
    stored_values,
)
from codepath.store import Measurement


def classifier_costs(
    model: CodedResNeXt, classifier: BinaryClassifier, image_shape: tuple[int, int, int]
) -> dict[str, Any]:
    """Sizes by name; `..._share` is a share of the network's size.

    `parameters` are counted on the sliced classifier, and `parameters_by_ratio` in the paper's
    way. `stored_numbers` are counted on the fused classifier, which has biases in place of
    normalisations, and Gram matrices besides.
    """
    count = count_parameters(model, classifier)
    whole = macs(model, image_shape)
    fused = classifier.fuse()
    stored, own = stored_values(fused), macs(fused, image_shape)
    return {
        "network_parameters": count.network,
        "parameters": count.physical,
        "parameters_share": count.physical_share,
        "parameters_by_ratio": count.by_ratio,
        "parameters_by_ratio_share": count.by_ratio_share,
        "stored_numbers": stored,
        "stored_numbers_share": stored / count.network,
        "network_macs": whole,
        "macs": own,
        "macs_share": own / whole,
    }


def measure_extraction(
    model: CodedResNeXt, image_shape: tuple[int, int, int]
) -> Iterator[Measurement]:
    """`classifier_costs` of class 0: codewords have equal weights, so all classes cost the same."""
    classifier = extract_binary_classifier(model, 0)
    for metric, value in classifier_costs(model, classifier, image_shape).items():
        yield Measurement(kind="extraction", metric=metric, value=value, n=1)
