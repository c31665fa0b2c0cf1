"""Writing betons without FFCV: an interrupted writing goes on where it stopped.

Beside NAME.beton stand NAME.json, which says what is in it, and NAME.npz, an XXH3 checksum and a
name for every sample.
"""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image
from xxhash import xxh3_64_digest, xxh3_64_intdigest

from codepath.core.errors import NO_ROOM, UserError
from codepath.core.files import atomic_path, make_directory, sync, write_text
from codepath.core.images import opened_image
from codepath.core.machine import available_cores
from codepath.core.provenance import package_versions
from codepath.data.beton import Beton
from codepath.data.beton_format import (
    ALLOCATION,
    FIELD,
    HEADER,
    IMAGE,
    INTEGER,
    JPEG,
    PAGE,
    RAW,
    ROW,
    VERSION,
    BetonSettings,
)
from codepath.data.beton_manifest import sealed
from codepath.data.data_set import ArrayDataSet, ArraySplit, DataSet
from codepath.data.files import FileSplit, decode
from codepath.data.prefetch import prefetched

_DONE = np.dtype(
    [("mode", "u1"), ("width", "<u2"), ("height", "<u2"), ("start", "<u8"), ("size", "<u8"),
     ("sum", "<u8")]
)  # fmt: skip
"""What is noted of a sample while its beton grows; a checksum of it follows."""
_NOTE = _DONE.itemsize + 8
"""Bytes of a note."""
_NOTED_EVERY = 1 << 26
"""Bytes of samples between two places at which writing can go on after a crash."""
_SPARE_ROOM = 1 << 26
"""Bytes that are to be free beside the samples of a beton."""
_AHEAD = 64
"""Images read or encoded ahead of writing."""


class _Sample(NamedTuple):
    """An image as it is stored."""

    data: bytes
    width: int
    height: int
    mode: int


def beton_path(images: DataSet, name: str, folder: Path, settings: BetonSettings) -> Path:
    """Where the beton of a split lies: its name holds a checksum of what goes into it.

    Of images in memory that is pixels and labels, of images in files names, labels and settings.
    """
    split = images.split(name)
    sha = hashlib.sha256(np.ascontiguousarray(split.labels).data)
    if isinstance(split, ArraySplit):
        sha.update(np.ascontiguousarray(split.images).data)
    else:
        sha.update(json.dumps(asdict(settings)).encode())
        for index in range(len(split)):
            sha.update(split.files.member(index).encode() + b"\0")
    return folder / f"{images.dataset}-{name}-{sha.hexdigest()[:10]}.beton"


def ensure_beton(
    images: DataSet,
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
    if error.errno in NO_ROOM:
        return "free some of the disk"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "allow writing there"
    return "mend this"


def cannot_be_written(images: ArrayDataSet, name: str, folder: Path) -> str:
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
    images: DataSet,
    name: str,
    path: Path,
    settings: BetonSettings,
    on_image: Callable[[int], None],
) -> None:
    split = images.split(name)
    n = len(split)
    growing, notes = path.with_suffix(".beton.part"), path.with_suffix(".notes.part")
    head_size = HEADER.itemsize + 2 * FIELD.itemsize + n * ROW.itemsize
    done = _noted(notes, growing, n)
    sample: Callable[[int], _Sample]
    if isinstance(split, ArraySplit):
        sample = partial(_raw, split)
    else:
        sample = partial(_encoded, split, settings)
    with growing.open("r+b" if len(done) else "wb") as data, notes.open("ab") as noted:
        end = int(done["start"][-1] + done["size"][-1]) if len(done) else _next_page(head_size)
        sync(path.parent)  # their names, or hours of writing might be gone
        data.truncate(end)
        data.seek(end)
        noted.truncate(len(done) * _NOTE)
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
                noted.write(b"".join(_signed(np.array(one, _DONE).tobytes()) for one in fresh))
                _sync(noted)
                fresh, unsaved = [], 0
            on_image(index + 1)
    _finish(images, name, path, settings, growing, _noted(notes, growing, n))
    notes.unlink()


def _next_page(place: int) -> int:
    return -(-place // PAGE) * PAGE


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _signed(note: bytes) -> bytes:
    return note + xxh3_64_digest(note)


def _noted(notes: Path, growing: Path, samples: int) -> NDArray[Any]:
    """What an interrupted writing stored for certain."""
    if not (notes.exists() and growing.exists()):
        return np.empty(0, _DONE)
    data = notes.read_bytes()
    signed = (data[k : k + _NOTE] for k in range(0, min(len(data), samples * _NOTE), _NOTE))
    # Behind the last flush a power cut may leave zeros, or a half.
    whole = itertools.takewhile(lambda note: note == _signed(note[: _DONE.itemsize]), signed)
    done = np.frombuffer(b"".join(note[: _DONE.itemsize] for note in whole), _DONE)
    return done[done["start"] + done["size"] <= growing.stat().st_size]


def _raw(split: ArraySplit, index: int) -> _Sample:
    image = split.images[index]
    return _Sample(image.tobytes(), image.shape[1], image.shape[0], RAW)


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
    with opened_image(data) as image:
        is_jpeg = image.format == "JPEG" and image.mode in ("L", "RGB")
    if (settings.store == "pixels" and pixels.nbytes <= PAGE) or not (is_jpeg or smaller):
        return _Sample(pixels.tobytes(), W, H, RAW)
    if smaller:
        buffer = io.BytesIO()
        shrunk.save(buffer, "JPEG", quality=settings.quality)
        data = buffer.getvalue()
    return _Sample(data, W, H, JPEG)


def _sample_name(split: ArraySplit | FileSplit, index: int) -> str:
    return f"image {index}" if isinstance(split, ArraySplit) else split.files.name(index)


def _finish(
    images: DataSet,
    name: str,
    path: Path,
    settings: BetonSettings,
    growing: Path,
    done: NDArray[Any],
) -> None:
    """Head and table around the samples, then manifest and checksums, then the final name.

    All is on the disk on return.
    """
    split = images.split(name)
    n = len(split)
    rows = np.zeros(n, ROW)
    for key in ("mode", "width", "height", "start"):
        rows["f0"][key] = done[key]
    rows["f1"] = split.labels
    fields = np.zeros(2, FIELD)
    for field, kind, title in zip(fields, (IMAGE, INTEGER), (b"image", b"label"), strict=True):
        field["type"] = kind
        field["name"][: len(title)] = np.frombuffer(title, np.uint8)
    table = np.empty(n, ALLOCATION)
    table["sample"], table["start"], table["size"] = np.arange(n), done["start"], done["size"]
    # Aligned types have padding, which np.zeros leaves at zero.
    header = np.zeros(1, HEADER)
    header[0] = (VERSION, 2, PAGE, n, int(done["start"][-1] + done["size"][-1]))
    head = header.tobytes() + fields.tobytes() + rows.tobytes()
    with growing.open("r+b") as data:
        data.write(head)
        data.seek(0, os.SEEK_END)
        data.write(table.tobytes())
        _sync(data)
    counts = np.bincount(split.labels, minlength=len(images.class_names))
    in_files = isinstance(split, FileSplit)
    names = [split.files.member(i) for i in range(n)] if isinstance(split, FileSplit) else []
    buffer = io.BytesIO()
    np.savez_compressed(buffer, xxh3=done["sum"], names=np.array(names, np.str_))
    with atomic_path(path.with_suffix(".npz")) as temporary:
        temporary.write_bytes(buffer.getbuffer())
    described = {
        "dataset": images.dataset,
        "source": images.source,
        "split": name,
        "images": n,
        "classes": dict(zip(images.class_names, counts.tolist(), strict=True)),
        "pixels": np.bincount(done["mode"], minlength=2)[RAW].item(),
        "jpeg": np.bincount(done["mode"], minlength=2)[JPEG].item(),
        "settings": asdict(settings) if in_files else {},
        "bytes": growing.stat().st_size,
        "sha256_head": hashlib.sha256(head).hexdigest(),
        "sha256_table": hashlib.sha256(table.tobytes()).hexdigest(),
        "sha256_sums": hashlib.sha256(done["sum"].tobytes()).hexdigest(),
        "sha256_names": hashlib.sha256(buffer.getbuffer()).hexdigest(),
        "versions": package_versions(),
    }
    write_text(path.with_suffix(".json"), json.dumps(sealed(described), indent=2) + "\n")
    growing.replace(path)
    sync(path.parent)
