"""Early decoders: the class whose codeword is nearest to a block's energies (Eq. 7, Fig 4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from codepath.codes import CodingScheme
from codepath.evaluate.predict import Predictions
from codepath.store import Measurement


def nearest_codeword(energies: NDArray[np.float32], scheme: CodingScheme) -> NDArray[np.int64]:
    """Eq. 7: argmin_k |r E - w_k|_2 for energies (n, N); (n,) classes.

    All codewords have the same norm, so it is argmax_k of the inner product E.w_k; of equal
    ones the smallest class.
    """
    return np.asarray(np.argmax(energies @ scheme.table.T.astype(energies.dtype), axis=1))


def measure_decoders(
    predictions: Predictions, schemes: Mapping[int, CodingScheme], split: str
) -> Iterator[Measurement]:
    """`top1` of every coded block's decoder, in [0, 1]."""
    for block, scheme in schemes.items():
        decided = nearest_codeword(predictions.energies[block], scheme)
        yield Measurement(
            kind="decoders",
            metric="top1",
            value=float((decided == predictions.labels).mean()),
            n=len(decided),
            split=split,
            block=block,
        )
