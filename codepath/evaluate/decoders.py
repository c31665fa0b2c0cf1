"""Early decoders: the class that the energies of one block speak for.

Eq. 7 (Fig 4) takes the class whose codeword is nearest. The linear decoder, which is ours, takes
the class with the largest entry of V E + c, where V and c come from a multinomial logistic
regression on training images. Eq. 7 is its special case V = codewords, c = 0. Both cost the same,
and the network is not touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from codepath.codes import CodingScheme
from codepath.codes.decoding import nearest_codeword
from codepath.evaluate.predict import Predictions
from codepath.models import Readout
from codepath.store import Measurement

_NEVER = -1e4
"""Score of a class of which no image was seen."""


def readout_images(classes: int) -> int:
    """The largest number of training images that linear decoders are fitted to."""
    return max(10_000, 50 * classes)


def fit_readouts(training: Predictions) -> dict[int, Readout]:
    """Block number -> linear decoder, fitted to the energies of training images.

    The fit is scikit-learn's logistic regression, with its L2 penalty at C = 1.
    """
    K = training.logits.shape[1]
    return {
        block: _fit(energies, training.labels, K) for block, energies in training.energies.items()
    }


def _fit(energies: NDArray[np.float32], labels: NDArray[np.int64], classes: int) -> Readout:
    """(n, N) energies and (n,) labels -> (K, N) matrix and (K,) offsets."""
    weight = np.zeros((classes, energies.shape[1]))
    bias = np.full(classes, _NEVER)
    seen = np.unique(labels)
    if len(seen) == 1:
        bias[seen] = 0
    else:
        model = LogisticRegression(max_iter=1000).fit(energies.astype(np.float64), labels)
        rows, offsets = model.coef_, model.intercept_
        if len(seen) == 2:  # scikit-learn gives the second class's row alone
            rows, offsets = np.concatenate([-rows, rows]) / 2, np.append(-offsets, offsets) / 2
        weight[seen], bias[seen] = rows, offsets
    return Readout(torch.from_numpy(weight).float(), torch.from_numpy(bias).float())


def readout_scores(
    energies: Mapping[int, NDArray[np.float32]], readouts: Mapping[int, Readout]
) -> dict[int, NDArray[np.float32]]:
    """Block number -> (n, K) scores of the linear decoders."""
    return {
        block: torch.nn.functional.linear(torch.from_numpy(energies[block]), *readout).numpy()
        for block, readout in readouts.items()
    }


def measure_decoders(
    predictions: Predictions,
    schemes: Mapping[int, CodingScheme],
    split: str,
    readouts: Mapping[int, Readout] | None = None,
) -> Iterator[Measurement]:
    """Top-1 of every coded block's decoders, in [0, 1]: `eq7` and, with `readouts`, `linear`."""
    decided = {"eq7": {b: nearest_codeword(predictions.energies[b], s) for b, s in schemes.items()}}
    if readouts is not None:
        scores = readout_scores(predictions.energies, readouts)
        decided["linear"] = {block: of.argmax(1) for block, of in scores.items()}
    for decoder, by_block in decided.items():
        for block, classes in by_block.items():
            yield Measurement(
                kind="decoders",
                metric="top1",
                value=float((classes == predictions.labels).mean()),
                n=len(classes),
                split=split,
                block=block,
                decoder=decoder,
            )
