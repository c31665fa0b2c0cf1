"""Decoding by the nearest codeword (Eq. 7), and its error under noise without any network."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from codepath.codes.scheme import CodingScheme


def codeword_scores(energies: Any, codewords: Any, ratio: float) -> Any:
    """Eq. 7's scores: (B, N) energies of Eq. 3 and (K, N) codewords -> (B, K), -|r E - w_k|^2.

    Both are NumPy arrays of one type, or both are torch tensors on one device; codewords of
    another torch type are converted to that of the energies.
    """
    words = codewords.to(energies.dtype) if hasattr(codewords, "to") else codewords
    scaled = ratio * energies
    square = (scaled * scaled).sum(1)
    return 2 * scaled @ words.T - square[:, None] - words.sum(1)


def nearest_codeword(energies: NDArray[np.float32], scheme: CodingScheme) -> NDArray[np.int64]:
    """Eq. 7's decision: argmin_k |r E - w_k|_2 for energies (n, N); (n,) classes.

    All codewords have the same norm, so this is argmax_k of the inner product E.w_k. Ties go to
    the smallest class.
    """
    return np.asarray(np.argmax(energies @ scheme.table.T.astype(energies.dtype), axis=1))


def decoding_error(scheme: CodingScheme, noise: float, draws: int, seed: int = 0) -> float:
    """Share of wrong classes when the nearest codeword is chosen for noisy energies.

    The energies of class k are its codeword w_k plus independent normal noise of standard
    deviation `noise` on every path; the decoder is Eq. 7's.

    Args:
        draws: noise vectors per class. Schemes of equal K and N get the same noise for a seed.
    """
    rng = np.random.default_rng(seed)
    words = scheme.table.astype(np.float32)
    labels = np.arange(scheme.classes)
    wrong = 0
    for _ in range(draws):
        energies = words + np.float32(noise) * rng.standard_normal(words.shape, dtype=np.float32)
        wrong += int((nearest_codeword(energies, scheme) != labels).sum())
    return wrong / (draws * scheme.classes)
