"""Reading betons without FFCV: checksummed, and each damage named.

The layout is in `codepath.data.beton_format`, the manifest and checksums beside a beton in
`codepath.data.beton_writer`.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from codepath.core.arrays import read_arrays
from codepath.core.errors import UserError
from codepath.data.beton_format import (
    ALLOCATION,
    FIELD,
    HEADER,
    JPEG,
    PAGE,
    RAW,
    ROW,
    BetonSettings,
)
from codepath.data.beton_manifest import read_manifest


class Beton:
    """An open beton; reading is safe from several threads at once.

    As `EncodedImages` its samples are encoded images, read with their checksums compared.

    Raises UserError where there is no such file, where it is not as its manifest says (size and
    head are looked at), and where the manifest or the samples' names and checksums are altered.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest: dict[str, Any] = {}
        if not path.is_file():
            raise _absent(path)
        try:
            self.manifest = read_manifest(path.with_suffix(".json"))
            self._sums, self._names = self._samples(path.with_suffix(".npz"))
            self._file = path.open("rb")
        except (OSError, ValueError, KeyError) as error:
            raise self._damaged(f"{type(error).__name__}: {error}") from None
        n = int(self.manifest["images"])
        fixed = HEADER.itemsize + 2 * FIELD.itemsize
        self._head_size = fixed + n * ROW.itemsize
        size = self.path.stat().st_size
        if size != self.manifest["bytes"] or size < self._head_size + n * ALLOCATION.itemsize:
            raise self._damaged(f"{size:,} bytes, {self.manifest['bytes']:,} were written")
        head = os.pread(self._file.fileno(), self._head_size, 0)
        if _sha256(head) != self.manifest["sha256_head"]:
            raise self._damaged("its head is altered")
        self._rows = np.frombuffer(head, ROW, n, fixed)
        self._table_start = int(np.frombuffer(head, HEADER, 1)["table"][0])
        if self._table_start != size - n * ALLOCATION.itemsize:
            raise self._damaged("its table of allocations is not at its end")
        counts = list(self.manifest["classes"].values())
        if not 0 <= self.labels.min() <= self.labels.max() < len(counts) or (
            np.bincount(self.labels, minlength=len(counts)).tolist() != counts
        ):
            raise self._damaged(f"{path.stem}.json counts other classes")

    def _samples(self, path: Path) -> tuple[NDArray[np.uint64], NDArray[np.str_]]:
        """The checksum and, where there are any, the name of every sample."""
        n, said = self.manifest["images"], self.manifest.get("sha256_names")
        if said and _sha256(path.read_bytes()) != said:  # compared before anything is parsed
            raise ValueError(f"{path.name} is altered")
        arrays = read_arrays(path)
        sums, names = arrays["xxh3"], arrays["names"]
        if sums.dtype != np.uint64 or sums.shape != (n,) or names.shape not in ((n,), (0,)):
            raise ValueError(f"{path.name} is not of the form it had")
        if names.dtype.kind != "U" or _sha256(sums.tobytes()) != self.manifest["sha256_sums"]:
            raise ValueError(f"{path.name} is altered")
        return sums, names

    def _damaged(self, what: str) -> UserError:
        return UserError(f"{self.path} is damaged ({what}); remove it, {self.remade}")

    @property
    def remade(self) -> str:
        """How the file comes back once it is removed: what follows "remove it, "."""
        settings = self.manifest.get("settings")
        if settings == {}:
            return "and it is made again from its source"
        options = "".join(f" --{key} {value}" for key, value in (settings or {}).items())
        return f"`codepath data build {self.path.name.rsplit('-', 2)[0]}{options}` makes it again"

    @cached_property
    def _table(self) -> NDArray[Any]:
        data = os.pread(self._file.fileno(), len(self) * ALLOCATION.itemsize, self._table_start)
        table = np.frombuffer(data, ALLOCATION)
        if _sha256(data) != self.manifest["sha256_table"] or not self._is_in_order(table):
            raise self._damaged("its table of allocations is altered")
        return table

    def _is_in_order(self, table: NDArray[Any]) -> bool:
        """Whether samples lie one behind the other between head and table, none above a page."""
        starts, sizes = table["start"], table["size"]
        if sizes.max() > PAGE or starts.max() > self._table_start:
            return False
        ends = np.append(self._head_size, starts + sizes)
        return bool((ends <= np.append(starts, self._table_start)).all())

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,)"""
        return self._rows["f1"].astype(np.int64)

    @property
    def starts(self) -> NDArray[np.int64]:
        """(n,) first byte of each sample in the file."""
        return self._rows["f0"]["start"].astype(np.int64)

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """(H, W, 3) of all images; None where they are not of one size, or are JPEG."""
        pixels = self._rows["f0"]
        first = pixels[0]
        same = pixels[["mode", "width", "height"]] == first[["mode", "width", "height"]]
        if first["mode"] != RAW or not same.all():
            return None
        return int(first["height"]), int(first["width"]), 3

    def member(self, index: int) -> str:
        """Name of the image within its data set."""
        return str(self._names[index]) if len(self._names) else f"image {index}"

    def name(self, index: int) -> str:
        """File and image, for messages."""
        return f"{self.path}: {self.member(index)}"

    def size(self, index: int) -> tuple[int, int]:
        """Width and height of an image."""
        pixels = self._rows["f0"][index]
        return int(pixels["width"]), int(pixels["height"])

    def is_jpeg(self, index: int) -> bool:
        """Whether an image is stored as JPEG; otherwise as pixels."""
        return bool(self._rows["f0"]["mode"][index] == JPEG)

    def stored(self, index: int) -> bytes:
        """A sample's bytes: a JPEG file or (H, W, 3) pixels; UserError where they are altered."""
        _, start, size = self._table[index].tolist()
        data = os.pread(self._file.fileno(), size, start)
        if xxh3_64_intdigest(data) != self._sums[index]:
            raise self._damaged(f"{self.member(index)}, sample {index}, is altered")
        return data

    def read(self, index: int) -> bytes:
        """The encoded image: what is stored, or its pixels as a PPM file."""
        data = self.stored(index)
        if self.is_jpeg(index):
            return data
        width, height = self.size(index)
        return b"P6 %d %d 255\n" % (width, height) + data

    def pixels(self) -> NDArray[np.uint8]:
        """(n, H, W, 3): all images of a beton whose images are pixels of one size."""
        if self.shape is None:
            raise UserError(f"{self.path} does not hold pixels of images of one size")
        if (self._table["size"] != math.prod(self.shape)).any():
            raise self._damaged("a sample is not of its image's size")
        images = np.empty((len(self), *self.shape), np.uint8)
        for index in range(len(self)):
            images[index] = np.frombuffer(self.stored(index), np.uint8).reshape(self.shape)
        return images

    def damages(self, on_image: Callable[[int], None] = lambda _: None) -> Iterator[str]:
        """A line for each damage: of a sample, or between samples. Reads the whole file."""
        end = self._head_size
        classes = list(self.manifest["classes"])
        for index, (_, start, size) in enumerate(self._table.tolist()):
            yield from self._not_empty(end, start)
            try:
                self.stored(index)
            except UserError:
                name = classes[self._rows["f1"][index]]
                yield f"{self.member(index)} (sample {index}, class {name}) is altered"
            end = start + size
            on_image(index + 1)

    def _not_empty(self, start: int, end: int) -> Iterator[str]:
        if any(os.pread(self._file.fileno(), end - start, start)):
            yield f"bytes {start:,} to {end:,}, between samples, are altered"


def _absent(path: Path) -> UserError:
    """The error for a path without a file: what makes it, and which betons lie beside it."""
    what = "is a folder, not a beton" if path.is_dir() else "is absent"
    source, *rest = path.name.rsplit("-", 2)
    made = (
        f"`codepath data build {source} --data DATA` makes it"
        if len(rest) == 2
        else "`codepath data build SOURCE --data DATA` makes SOURCE-SPLIT-CHECKSUM.beton"
    )
    others = sorted((path if path.is_dir() else path.parent).glob("*.beton"))
    beside = f"; there are {', '.join(other.name for other in others[:4])}" if others else ""
    return UserError(f"{path} {what}; {made}{beside}")


def betons_of(dataset: str, folder: Path) -> dict[str, Path]:
    """Split -> the beton that is used, of those of a data set in a folder.

    The splits of one `BetonSettings` go together. Of several: both splits before one, then more
    images, larger ones, pixels before JPEG, higher quality; the time of writing means nothing.
    """
    groups: dict[tuple[float, bool, int], dict[str, tuple[int, Path]]] = {}
    for path in sorted(folder.glob(f"{dataset}-*-*.beton")):
        split = path.stem.removeprefix(f"{dataset}-").rpartition("-")[0]
        images, settings = _described(path)
        group = groups.setdefault(settings, {})
        if split not in group or group[split][0] < images:
            group[split] = images, path
    ranked = [
        (len(group), sum(images for images, _ in group.values()), settings)
        for settings, group in groups.items()
    ]
    chosen = groups[max(ranked)[2]] if ranked else {}
    return {split: path for split, (_, path) in chosen.items()}


def _described(path: Path) -> tuple[int, tuple[float, bool, int]]:
    """How many images a beton has, and its settings in the order of preference."""
    try:
        manifest = read_manifest(path.with_suffix(".json"))
        settings = BetonSettings(**manifest["settings"])
        longest = settings.longest or math.inf
        return manifest["images"], (longest, settings.store == "pixels", settings.quality)
    except (OSError, ValueError):
        return 0, (-1, False, 0)  # the last choice; opening it names the damage


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
