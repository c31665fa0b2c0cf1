"""How well a scheme can be decoded at all, without any network."""

from __future__ import annotations

import numpy as np

from codepath.codes.scheme import CodingScheme


def decoding_error(scheme: CodingScheme, noise: float, draws: int, seed: int = 0) -> float:
    """Share of wrong classes when the nearest codeword is chosen for noisy energies.

    The energies of class k are its codeword w_k plus independent normal noise of standard
    deviation `noise` on every path; the decoder is Eq. 7's. As all codewords have the same
    weight, the nearest is the one with the largest inner product.

    Args:
        draws: noise vectors per class; schemes of equal K and N get the same ones for a seed.
    """
    rng = np.random.default_rng(seed)
    words = scheme.table.astype(np.float32)
    labels = np.arange(scheme.classes)
    wrong = 0
    for _ in range(draws):
        energies = words + np.float32(noise) * rng.standard_normal(words.shape, dtype=np.float32)
        wrong += int(((energies @ words.T).argmax(1) != labels).sum())
    return wrong / (draws * scheme.classes)
