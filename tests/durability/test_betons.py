"""Power cuts while a beton is written: the next call goes on, and ends with the same bytes."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path

import numpy as np
import pytest

from codepath.core.files import make_directory
from codepath.data import ArrayDataSet, ArraySplit, beton_writer
from codepath.data.beton import Beton
from codepath.data.beton_writer import ensure_beton
from tests.durability.cuts import Extent, check_states
from tests.durability.recorder import Recorder


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch) -> ArrayDataSet:
    """40 images, noted in fours while their beton of small pages grows."""
    monkeypatch.setattr(beton_writer, "PAGE", 1 << 10)
    monkeypatch.setattr(beton_writer, "_NOTED_EVERY", 4 * 192 - 1)
    rng = np.random.default_rng(0)
    pixels = rng.integers(1, 256, (40, 8, 8, 3)).astype(np.uint8)
    split = ArraySplit(pixels, np.arange(40) % 10)
    names = tuple(map(str, range(10)))
    return ArrayDataSet("noise", "generated", split, split, names, (0.5,) * 3, (0.25,) * 3)


def test_a_beton_is_whole_or_goes_on(images: ArrayDataSet, tmp_path: Path, extent: Extent) -> None:
    folder = make_directory(tmp_path / "folder")
    with Recorder(folder) as recorder:
        path = ensure_beton(
            images, "train", folder / "betons", on_image=lambda n: recorder.mark(("stored", n))
        )
        recorder.mark("written")
    final = path.read_bytes()

    def check(left: Path, marks: tuple[Hashable, ...]) -> None:
        beton = left / "betons" / path.name
        assert beton.exists() >= ("written" in marks)
        made: list[int] = []
        assert ensure_beton(images, "train", left / "betons", on_image=made.append) == beton
        assert beton.read_bytes() == final
        assert list(Beton(beton).damages()) == []
        assert np.array_equal(Beton(beton).pixels(), images.train.images)
        # Images are noted in fours; those are not made again.
        stored = max((mark[1] for mark in marks if isinstance(mark, tuple)), default=0)
        assert not made or made[0] > stored // 4 * 4
        left_over = {file.name for file in beton.parent.glob("[!.]*")}
        left_over -= {beton.with_suffix(suffix).name for suffix in (".beton", ".json", ".npz")}
        assert left_over <= {beton.with_suffix(".notes.part").name}  # nobody reads it any more

    assert check_states(recorder.recording, tmp_path / "cut", check, extent) > 30
