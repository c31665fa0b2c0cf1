"""Image files: photographs, images of a data set, uploads to the page of `codepath explore`.

Most formats have no checksum of their pixels: an altered pixel is a valid one. What is held here is
the shape, and that a header alone makes nobody take memory for pixels that are not there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from codepath.core.images import MOST_PIXELS
from codepath.core.photos import read_photo
from codepath.data.files import FileSplit, FolderFiles, decode
from codepath.data.resize import central_crop
from codepath.models.classifier_file import read_image
from codepath.models.shipped import BEST
from codepath.parts.explanation import Explainer
from codepath.parts.trained_run import find_run
from tests.fuzz.harness import ALLOWANCE, REFUSED, assert_one_line, counted, fuzz, outcome
from tests.fuzz.pictures import almost_images, images

PIXELS = ALLOWANCE + 16 * MOST_PIXELS
"""Bytes of the largest image that is read, with transparency, and of its copies."""


@counted
def test_photographs_are_fitted_or_refused(inputs: int) -> None:
    def check(data: bytes, channels: int) -> None:
        shape = (channels, 8, 10)
        photo = outcome(lambda: read_photo(data, "a\nb.png", shape), len(data), PIXELS)
        if photo is not REFUSED:
            assert photo.pixels.shape == (8, 10, channels)
            assert photo.pixels.dtype == np.uint8
            assert all(note.isprintable() for note in photo.notes)

    fuzz(check, inputs, almost_images(), st.sampled_from((1, 3)))


@counted
def test_images_in_files_are_decoded_or_refused(inputs: int, tmp_path: Path) -> None:
    """What is decoded has the size that its header says."""
    (tmp_path / "a.JPEG").touch()
    split = FileSplit(FolderFiles(tmp_path, ["a.JPEG"]), np.zeros(1, np.int64), 8)
    central_crop(np.zeros((9, 9, 3), np.uint8), 8)  # compiles its loops

    def check(data: bytes) -> None:
        (tmp_path / "a.JPEG").write_bytes(data)
        pixels = outcome(lambda: split.image(0), len(data), PIXELS)
        size = outcome(lambda: split.size(0), len(data))
        if pixels is not REFUSED:
            assert pixels.dtype == np.uint8
            assert size is not REFUSED
            assert pixels.shape == (size[1], size[0], 3)
            crop = outcome(lambda: central_crop(pixels, 8), pixels.nbytes)
            assert crop.shape == (8, 8, 3)

    fuzz(check, inputs, almost_images())


@counted
def test_images_for_a_classifier_are_of_its_shape(inputs: int, tmp_path: Path) -> None:
    path = tmp_path / "image"

    def check(data: bytes) -> None:
        path.write_bytes(data)
        pixels = outcome(lambda: read_image(path, (3, 13, 19)), len(data), PIXELS)
        if pixels is not REFUSED:
            assert pixels.shape == (13, 19, 3)
            assert pixels.dtype == np.uint8

    fuzz(check, inputs, almost_images())


@counted
def test_uploads_are_shown_or_refused_in_one_line(inputs: int) -> None:
    """The page answers every upload: with an explanation, or with a line in its place."""
    page_module = pytest.importorskip("codepath.explore.page", reason="no extra `explore`")
    page = page_module.Page(Explainer(find_run(BEST)), BEST)
    everything = [list(range(10))] * len(page.coded)

    def check(data: bytes) -> None:
        chosen, emptied = outcome(lambda: page._read(data), len(data), PIXELS)
        assert emptied is None
        if isinstance(chosen, str):
            assert_one_line(chosen)
        said, *drawn = outcome(lambda: page.show(chosen, *everything), len(data), PIXELS)
        assert ("cp-error" in said) == isinstance(chosen, str)
        assert all(map(bool, drawn)) == isinstance(chosen, dict)

    fuzz(check, inputs, almost_images())


@pytest.mark.parametrize("data", images())
def test_these_files_are_images(data: bytes) -> None:
    """What is mutated above is valid before."""
    assert read_photo(data, "it", (3, 8, 10)).pixels.any()
    assert decode(data, "it").shape[2] == 3
