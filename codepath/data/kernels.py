"""Compiled image kernels that all loader backends share, so that they yield the same bytes."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(nogil=True, cache=True)
def crop_flip(
    images: NDArray[np.uint8],
    rows: NDArray[np.int64],
    top: NDArray[np.int64],
    left: NDArray[np.int64],
    mirrored: NDArray[np.bool_],
    pad: int,
    out: NDArray[np.uint8],
) -> None:
    """Crop images with black padding, and mirror some of the crops.

    Args:
        images: (n, H, W, C).
        rows: (B,) places of the images in `images`.
        top, left: (B,) corner of the crop in the padded image, 0 to 2 pad.
        mirrored: (B,) whether the crop is mirrored left to right.
        pad: black pixels on each side.
        out: (B, H, W, C), written.
    """
    H, W, C = images.shape[1:]
    for b in range(len(rows)):
        image = images[rows[b]]
        for y in range(H):
            source_y = y + top[b] - pad
            for x in range(W):
                source_x = (W - 1 - x if mirrored[b] else x) + left[b] - pad
                inside = 0 <= source_y < H and 0 <= source_x < W
                for c in range(C):
                    out[b, y, x, c] = image[source_y, source_x, c] if inside else 0


@numba.njit(nogil=True, cache=True)
def gather(data: NDArray[np.uint8], starts: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
    """Copy images of one size out of a file's bytes.

    Args:
        data: (bytes,).
        starts: (B,) first byte of each image.
        out: (B, H, W, C), written.
    """
    B, H, W, C = out.shape
    for b in range(B):
        place = starts[b]
        for y in range(H):
            for x in range(W):
                for c in range(C):
                    out[b, y, x, c] = data[place]
                    place += 1
