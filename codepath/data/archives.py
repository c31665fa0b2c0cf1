"""Image sets as files: a folder or a tar with train/CLASS/* and test/CLASS/*."""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from rich.progress import track

from codepath.core.errors import UserError
from codepath.data.data_set import ArraySplit

_Item = TypeVar("_Item")
SPLITS = ("train", "test")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp")


class ArchivedImages(NamedTuple):
    """What a folder or tar holds."""

    splits: dict[str, ArraySplit]
    class_names: tuple[str, ...]
    jpeg_quality: int | None
    """Quality of the first JPEG file by its tables; None where the files are not JPEG."""


def is_image_files(path: Path) -> bool:
    """Whether `path` is a file (taken for a tar) or a folder with train/."""
    return path.is_file() or (path / "train").is_dir()


def read_image_files(path: Path, classes: tuple[str, ...] | None = None) -> ArchivedImages:
    """Read all images; classes are the names of the folders, in alphabetical order.

    Nothing is unpacked on disk. Raises UserError where the file is damaged or holds unsafe
    paths, an image cannot be read or has another size, and where the folders are not
    `classes` (if given) in both splits.
    """
    images: dict[str, dict[str, list[NDArray[np.uint8]]]] = {split: {} for split in SPLITS}
    quality: int | None = None
    shape: tuple[int, ...] | None = None
    for name, data in _files(path):
        parts = PurePosixPath(name).parts
        if len(parts) != 3 or parts[0] not in SPLITS or not name.lower().endswith(SUFFIXES):
            continue
        try:
            with Image.open(io.BytesIO(data)) as image:
                tables = getattr(image, "quantization", None)
                pixels = np.asarray(image.convert("RGB"))
        except (UnidentifiedImageError, OSError) as error:
            raise UserError(f"{path}: cannot read the image {name} ({error})") from None
        if shape is None:
            shape, quality = pixels.shape, _jpeg_quality(tables)
        if pixels.shape != shape:
            raise UserError(
                f"{path}: {name} is {pixels.shape[1]} x {pixels.shape[0]} pixels, "
                f"the first image {shape[1]} x {shape[0]}; images of many sizes are for the source "
                "imagenet, with a subset meant (train/CLASS/*.JPEG, val/CLASS/*.JPEG)"
            )
        images[parts[0]].setdefault(parts[1], []).append(pixels)
    found = {split: tuple(sorted(images[split])) for split in SPLITS}
    expected = classes or found["train"]
    for split in SPLITS:
        if found[split] != expected or not expected:
            wrong = sorted(set(expected) ^ set(found[split]))
            raise UserError(
                f"{path}: expected {split}/CLASS/ for {len(expected)} classes, found "
                f"{len(found[split])} (first difference: {wrong[0] if wrong else 'none at all'})"
            )
    splits = {
        split: ArraySplit(
            np.concatenate([np.stack(images[split][name]) for name in expected]),
            np.repeat(np.arange(len(expected)), [len(images[split][n]) for n in expected]),
        )
        for split in SPLITS
    }
    return ArchivedImages(splits, expected, quality)


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    """(name with forward slashes, content) of all files, in order of their names."""
    if path.is_dir():
        for file in shown(sorted(path.rglob("*")), path):
            if file.is_file():
                yield file.relative_to(path).as_posix(), file.read_bytes()
        return
    try:
        with tarfile.open(path) as archive:
            members = archive.getmembers()
            refuse_unsafe(members, path)
            content = {}
            # In the archive's order: going back and forth in a compressed file is slow.
            for member in shown(members, path):
                if member.isfile():
                    stream = archive.extractfile(member)
                    assert stream is not None
                    content[PurePosixPath(member.name).as_posix()] = stream.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(
            f"{path} is no tar archive or is truncated ({error}); get it again"
        ) from None
    yield from sorted(content.items())


def refuse_unsafe(members: Iterable[tarfile.TarInfo], path: Path) -> None:
    """Raise UserError where a member of the archive at `path` points outside of it."""
    for member in members:
        name = PurePosixPath(member.name)
        if name.is_absolute() or ".." in name.parts:
            raise UserError(f"{path}: unsafe path '{member.name}' in the archive")


def shown(items: Sequence[_Item], path: Path) -> Iterable[_Item]:
    """`items`, with a progress bar where a person watches."""
    return track(items, f"reading {path.name}", transient=True, disable=not sys.stdout.isatty())


# Luminance quantisation of the JPEG standard (Annex K) at quality 50.
_LUMINANCE = np.fromstring(
    """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87
    80 62 18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95
    98 112 100 103 99""",
    dtype=int,
    sep=" ",
)


def _jpeg_quality(tables: dict[int, list[int]] | None) -> int | None:
    """The quality whose scaled standard table equals the image's, in any order of entries."""
    if not tables:
        return None
    own = sorted(tables[0])
    for quality in range(1, 101):
        scale = 5000 // quality if quality < 50 else 200 - 2 * quality
        if sorted(np.clip((_LUMINANCE * scale + 50) // 100, 1, 255).tolist()) == own:
            return quality
    return None
