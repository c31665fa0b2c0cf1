"""FFCV's files (betons), written and read without FFCV: restartable, checksummed, verifiable.

Layout, FFCV's version 2: header, description of the fields, a row per sample (mode, width, height,
first byte, label), then pages of samples, none of which crosses a page's end, then the table of
allocations. Beside NAME.beton stand NAME.json, which says what is in it, and NAME.npz, an XXH3
checksum and a name for every sample.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image
from xxhash import xxh3_64_intdigest

from codepath.core.errors import UserError, unknown_name
from codepath.core.files import atomic_path, make_directory, write_text
from codepath.core.machine import available_cores
from codepath.core.provenance import package_versions
from codepath.data.files import FileSplit, decode
from codepath.data.image_sets import Images, ImageSet, Split
from codepath.data.prefetch import prefetched

PAGE = 1 << 23
"""Bytes of a page, and the most that a sample may take."""
_VERSION = 2
_HEADER = np.dtype(
    [
        ("version", "<u2"),
        ("fields", "<u2"),
        ("page", "<u4"),
        ("samples", "<u8"),
        ("table", "<u8"),
    ],
    align=True,
)
_FIELD = np.dtype([("type", "u1"), ("name", "u1", (16,)), ("arguments", "u1", (1024,))])
_INTEGER, _IMAGE = 1, 2
_PIXELS = np.dtype([("mode", "u1"), ("width", "<u2"), ("height", "<u2"), ("start", "<u8")])
_ROW = np.dtype([("f0", _PIXELS), ("f1", "<i8")], align=True)
_ALLOCATION = np.dtype([("sample", "<u8"), ("start", "<u8"), ("size", "<u8")])
_JPEG, _RAW = 0, 1
STORES = ("jpeg", "pixels")
_DONE = np.dtype(
    [("mode", "u1"), ("width", "<u2"), ("height", "<u2"), ("start", "<u8"), ("size", "<u8"),
     ("sum", "<u8")]
)  # fmt: skip
"""What is noted of a sample while its beton grows."""
_NOTED_EVERY = 1 << 26
"""Bytes of samples between two places at which writing can go on after a crash."""
_SPARE_ROOM = 1 << 26
"""Bytes that are to be free beside the samples of a beton."""
_AHEAD = 64
"""Images read or encoded ahead of writing."""


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


class _Sample(NamedTuple):
    """An image as it is stored."""

    data: bytes
    width: int
    height: int
    mode: int


def beton_path(images: Images, name: str, folder: Path, settings: BetonSettings) -> Path:
    """Where the beton of a split lies: its name holds a checksum of what goes into it.

    Of images in memory that is pixels and labels, of images in files names, labels and settings.
    """
    split = images.split(name)
    sha = hashlib.sha256(np.ascontiguousarray(split.labels).data)
    if isinstance(split, Split):
        sha.update(np.ascontiguousarray(split.images).data)
    else:
        sha.update(json.dumps(asdict(settings)).encode())
        for index in range(len(split)):
            sha.update(split.files.member(index).encode() + b"\0")
    return folder / f"{images.dataset}-{name}-{sha.hexdigest()[:10]}.beton"


def ensure_beton(
    images: Images,
    name: str,
    folder: Path,
    settings: BetonSettings | None = None,
    on_image: Callable[[int], None] = lambda _: None,
) -> Path:
    """The beton of a split, written where it is absent; an interrupted writing goes on.

    Args:
        images: the data set.
        name: of the split.
        folder: where betons lie; made where absent.
        settings: of images in files.
        on_image: called with the number of images stored so far.

    Raises:
        UserError: an image is damaged, too large or not RGB; what lies there is not what was
            written; the folder cannot be written to, or the disk is full. Nothing half-written is
            ever under the final name.
    """
    settings = settings or BetonSettings()
    channels = images.image_shape[0]
    if channels != 3:
        raise UserError(
            f"betons hold RGB images, {images.dataset} has {channels} channel"
            f"{'s' if channels > 1 else ''}: the torch loader takes it as it is"
        )
    path = beton_path(images, name, folder, settings)
    if not path.exists():  # a folder where it lies need not be writable
        make_directory(folder)
        try:
            with FileLock(folder / f".{path.stem}.lock"):
                if not path.exists():
                    _write(images, name, path, settings, on_image)
        except OSError as error:
            raise UserError(
                f"{path} could not be written ({error.strerror or error}): {_cure(error)} and "
                "repeat the command, it goes on where it stopped"
            ) from None
    Beton(path)
    return path


def _cure(error: OSError) -> str:
    """What helps against an error in writing."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "free some of the disk"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "allow writing there"
    return "mend this"


def cannot_be_written(images: ImageSet, name: str, folder: Path) -> str:
    """Why the beton of a split in memory can be neither found nor written; empty: it can."""
    existing = next(path for path in [folder, *folder.absolute().parents] if path.exists())
    room = images.split(name).images.nbytes + _SPARE_ROOM
    problem = ""
    if not os.access(existing, os.W_OK):
        problem = f"no write permission in {existing}"
    elif shutil.disk_usage(existing).free < room:
        problem = f"less than {room / 2**20:,.0f} MiB free in {existing}"
    found = problem and beton_path(images, name, folder, BetonSettings()).exists()
    return "" if found else problem


def _write(
    images: Images,
    name: str,
    path: Path,
    settings: BetonSettings,
    on_image: Callable[[int], None],
) -> None:
    split = images.split(name)
    n = len(split)
    growing, notes = path.with_suffix(".beton.part"), path.with_suffix(".notes.part")
    head_size = _HEADER.itemsize + 2 * _FIELD.itemsize + n * _ROW.itemsize
    done = _noted(notes, growing, n)
    sample: Callable[[int], _Sample]
    if isinstance(split, Split):
        sample = partial(_raw, split)
    else:
        sample = partial(_encoded, split, settings)
    with growing.open("r+b" if len(done) else "wb") as data, notes.open("ab") as noted:
        end = int(done["start"][-1] + done["size"][-1]) if len(done) else _next_page(head_size)
        data.truncate(end)
        data.seek(end)
        noted.truncate(len(done) * _DONE.itemsize)
        fresh: list[tuple[int, ...]] = []
        unsaved = 0
        made = prefetched(sample, range(len(done), n), available_cores(), _AHEAD)
        for index, (content, width, height, mode) in enumerate(made, start=len(done)):
            size = len(content)
            if size > PAGE:
                raise UserError(
                    f"{_sample_name(split, index)} takes {size:,} bytes, {PAGE:,} are the most: "
                    "make large images smaller (--longest 500)"
                )
            start = end if end // PAGE == (end + size - 1) // PAGE else _next_page(end)
            data.write(bytes(start - end))
            data.write(content)
            end = start + size
            fresh.append((mode, width, height, start, size, xxh3_64_intdigest(content)))
            unsaved += size
            if unsaved > _NOTED_EVERY or index == n - 1:
                # The samples reach the disk before the notes that say so.
                _sync(data)
                noted.write(np.array(fresh, _DONE).tobytes())
                _sync(noted)
                fresh, unsaved = [], 0
            on_image(index + 1)
    _finish(images, name, path, settings, growing, np.fromfile(notes, _DONE))
    notes.unlink()


def _next_page(place: int) -> int:
    return -(-place // PAGE) * PAGE


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _noted(notes: Path, growing: Path, samples: int) -> NDArray[Any]:
    """What an interrupted writing stored for certain."""
    if not (notes.exists() and growing.exists()):
        return np.empty(0, _DONE)
    whole = notes.stat().st_size // _DONE.itemsize
    done = np.fromfile(notes, _DONE, min(whole, samples))
    return done[done["start"] + done["size"] <= growing.stat().st_size]


def _raw(split: Split, index: int) -> _Sample:
    image = split.images[index]
    return _Sample(image.tobytes(), image.shape[1], image.shape[0], _RAW)


def _encoded(split: FileSplit, settings: BetonSettings, index: int) -> _Sample:
    """An image as it is to be stored, decoded once to see that it is whole."""
    data, name = split.files.read(index), split.files.name(index)
    pixels = decode(data, name)
    H, W = pixels.shape[:2]
    if max(H, W) >= 1 << 16:
        raise UserError(f"{name} is {W} x {H} pixels, 65,535 a side are the most (--longest 500)")
    smaller = 0 < settings.longest < max(H, W)
    if smaller:
        shrunk = Image.fromarray(pixels)
        shrunk.thumbnail((settings.longest,) * 2, Image.Resampling.BICUBIC, reducing_gap=None)
        pixels = np.asarray(shrunk)
        H, W = pixels.shape[:2]
    with Image.open(io.BytesIO(data)) as image:
        is_jpeg = image.format == "JPEG" and image.mode in ("L", "RGB")
    if (settings.store == "pixels" and pixels.nbytes <= PAGE) or not (is_jpeg or smaller):
        return _Sample(pixels.tobytes(), W, H, _RAW)
    if smaller:
        buffer = io.BytesIO()
        shrunk.save(buffer, "JPEG", quality=settings.quality)
        data = buffer.getvalue()
    return _Sample(data, W, H, _JPEG)


def _sample_name(split: Split | FileSplit, index: int) -> str:
    return f"image {index}" if isinstance(split, Split) else split.files.name(index)


def _finish(
    images: Images,
    name: str,
    path: Path,
    settings: BetonSettings,
    growing: Path,
    done: NDArray[Any],
) -> None:
    """Head and table around the samples, then manifest and checksums, then the final name."""
    split = images.split(name)
    n = len(split)
    rows = np.zeros(n, _ROW)
    for key in ("mode", "width", "height", "start"):
        rows["f0"][key] = done[key]
    rows["f1"] = split.labels
    fields = np.zeros(2, _FIELD)
    for field, kind, title in zip(fields, (_IMAGE, _INTEGER), (b"image", b"label"), strict=True):
        field["type"] = kind
        field["name"][: len(title)] = np.frombuffer(title, np.uint8)
    table = np.empty(n, _ALLOCATION)
    table["sample"], table["start"], table["size"] = np.arange(n), done["start"], done["size"]
    # Aligned types have padding, which np.zeros leaves at zero.
    header = np.zeros(1, _HEADER)
    header[0] = (_VERSION, 2, PAGE, n, int(done["start"][-1] + done["size"][-1]))
    head = header.tobytes() + fields.tobytes() + rows.tobytes()
    with growing.open("r+b") as data:
        data.write(head)
        data.seek(0, os.SEEK_END)
        data.write(table.tobytes())
        _sync(data)
    counts = np.bincount(split.labels, minlength=len(images.class_names))
    in_files = isinstance(split, FileSplit)
    names = [split.files.member(i) for i in range(n)] if isinstance(split, FileSplit) else []
    with atomic_path(path.with_suffix(".npz")) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, xxh3=done["sum"], names=np.array(names, np.str_))
    described = {
        "dataset": images.dataset,
        "source": images.source,
        "split": name,
        "images": n,
        "classes": dict(zip(images.class_names, counts.tolist(), strict=True)),
        "pixels": np.bincount(done["mode"], minlength=2)[_RAW].item(),
        "jpeg": np.bincount(done["mode"], minlength=2)[_JPEG].item(),
        "settings": asdict(settings) if in_files else {},
        "bytes": growing.stat().st_size,
        "sha256_head": hashlib.sha256(head).hexdigest(),
        "sha256_table": hashlib.sha256(table.tobytes()).hexdigest(),
        "sha256_sums": hashlib.sha256(done["sum"].tobytes()).hexdigest(),
        "versions": package_versions(),
    }
    write_text(path.with_suffix(".json"), json.dumps(described, indent=2) + "\n")
    growing.replace(path)


class Beton:
    """An open beton; reading is safe from several threads at once.

    As `Files` its samples are encoded images, read with their checksums compared.

    Raises UserError where the file is not as its manifest says (size and head are looked at).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest: dict[str, Any] = {}
        try:
            self.manifest = json.loads(path.with_suffix(".json").read_text())
            with np.load(path.with_suffix(".npz")) as samples:
                self._sums, self._names = samples["xxh3"], samples["names"]
            self._file = path.open("rb")
        except (OSError, ValueError, KeyError) as error:
            raise self._damaged(f"{type(error).__name__}: {error}") from None
        n = int(self.manifest["images"])
        fixed = _HEADER.itemsize + 2 * _FIELD.itemsize
        self._head_size = fixed + n * _ROW.itemsize
        head = os.pread(self._file.fileno(), self._head_size, 0)
        size = self.path.stat().st_size
        if size != self.manifest["bytes"]:
            raise self._damaged(f"{size:,} bytes, {self.manifest['bytes']:,} were written")
        if hashlib.sha256(head).hexdigest() != self.manifest["sha256_head"]:
            raise self._damaged("its head is altered")
        if hashlib.sha256(self._sums.tobytes()).hexdigest() != self.manifest["sha256_sums"]:
            raise self._damaged(f"{path.stem}.npz is altered")
        self._rows = np.frombuffer(head, _ROW, n, fixed)
        self._table_start = int(np.frombuffer(head, _HEADER, 1)["table"][0])

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
        data = os.pread(self._file.fileno(), len(self) * _ALLOCATION.itemsize, self._table_start)
        if hashlib.sha256(data).hexdigest() != self.manifest["sha256_table"]:
            raise self._damaged("its table of allocations is altered")
        return np.frombuffer(data, _ALLOCATION)

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
        if first["mode"] != _RAW or not same.all():
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
        return bool(self._rows["f0"]["mode"][index] == _JPEG)

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
        manifest = json.loads(path.with_suffix(".json").read_text())
        settings = BetonSettings(**manifest["settings"])
        longest = settings.longest or math.inf
        return manifest["images"], (longest, settings.store == "pixels", settings.quality)
    except (OSError, ValueError, KeyError, TypeError):
        return 0, (-1, False, 0)  # the last choice; opening it names the damage
