"""The layout of FFCV's files (betons), version 2, and how images are stored in one.

A beton holds a header, a description of the fields, a row for each sample (mode, width, height,
first byte, label), then pages of samples, none of which crosses a page's end, then the table of
allocations.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from codepath.core.errors import UserError, unknown_name

PAGE = 1 << 23
"""Bytes of a page, and the most that a sample may take."""
VERSION = 2
HEADER = np.dtype(
    [
        ("version", "<u2"),
        ("fields", "<u2"),
        ("page", "<u4"),
        ("samples", "<u8"),
        ("table", "<u8"),
    ],
    align=True,
)
FIELD = np.dtype([("type", "u1"), ("name", "u1", (16,)), ("arguments", "u1", (1024,))])
INTEGER, IMAGE = 1, 2
PIXELS = np.dtype([("mode", "u1"), ("width", "<u2"), ("height", "<u2"), ("start", "<u8")])
ROW = np.dtype([("f0", PIXELS), ("f1", "<i8")], align=True)
ALLOCATION = np.dtype([("sample", "<u8"), ("start", "<u8"), ("size", "<u8")])
JPEG, RAW = 0, 1
STORES = ("jpeg", "pixels")


@dataclass(frozen=True)
class BetonSettings:
    """How images in files are stored; images in memory are stored as they are."""

    store: str = "jpeg"
    """jpeg: JPEG files as they are. pixels: decoded once and for all, which takes about five times
    the disk and a fraction of the time in training; images too large for a page stay JPEG."""
    longest: int = 0
    """Larger images are made smaller until their longer side has so many pixels; 0: none are."""
    quality: int = 90
    """JPEG quality of images made smaller and stored as JPEG."""

    def __post_init__(self) -> None:
        if self.store not in STORES:
            raise unknown_name("way to store images", self.store, STORES)
        if self.longest < 0 or not 1 <= self.quality <= 100:
            raise UserError(
                f"an image's side of {self.longest} or a JPEG quality of {self.quality} is out of "
                "range: at least 0, and 1 to 100"
            )
