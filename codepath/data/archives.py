"""Image sets as files: a folder or a tar with train/CLASS/* and test/CLASS/*, or CLASS/*."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from rich.progress import track

from codepath.core.errors import UserError, one_line
from codepath.core.images import BadImageError, opened_image
from codepath.core.photos import read_photo
from codepath.data.data_set import ArraySplit
from codepath.data.tars import content, opened_tar

_Item = TypeVar("_Item")
SPLITS = ("train", "test")
TRAIN = "train"
TEST_FOLDERS = ("test", "val", "validation", "valid")
HELD_OUT = 0.2
"""Share of a class's images that are test images where the folder has no split."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp")


class ArchivedImages(NamedTuple):
    """What a folder or tar holds."""

    splits: dict[str, ArraySplit]
    class_names: tuple[str, ...]
    jpeg_quality: int | None
    """Quality of the first JPEG file by its tables; None where the files are not JPEG."""
    held_out: bool
    """Whether the test images were drawn here."""


def is_image_files(path: Path) -> bool:
    """Whether `path` is a file (taken for a tar) or a folder with train/."""
    return path.is_file() or (path / TRAIN).is_dir()


def read_image_files(
    path: Path, classes: tuple[str, ...] | None = None, size: int = 0, plain: bool = False
) -> ArchivedImages:
    """Read all images; classes are the names of the folders, in alphabetical order.

    Test images lie in test/ or, where there is none, in val/ or validation/. Hidden files, and
    files that are no images by their names (SUFFIXES), are left out. A single folder around
    everything, as tars often have it, does not matter. Nothing is unpacked on disk.

    Args:
        path: the folder or tar.
        classes: the classes that there have to be; None: any.
        size: 0: all images have one size. Else the central square of each is resized to so many
            pixels a side (see `read_photo`).
        plain: whether CLASS/* without train/ and test/ will do. HELD_OUT of each class, drawn with
            a fixed seed, are then the test images.

    Raises UserError where the file is damaged or holds unsafe paths, an image cannot be read or
    has another size, and where a class (of `classes`, if given) is absent in a split.
    """
    files = _files(path)
    places, held_out = _places(list(files), path, plain)
    images: dict[str, dict[str, list[NDArray[np.uint8]]]] = {split: {} for split in SPLITS}
    quality: int | None = None
    first: NDArray[np.uint8] | None = None
    for name, (split, class_name) in shown(list(places.items()), path):
        require_class_name(class_name, path)
        pixels, tables = _decoded(files[name](), name, path, size)
        if first is None:
            first, quality = pixels, _jpeg_quality(tables)
        if pixels.shape != first.shape:
            raise UserError(
                f"{path}: {name} is {pixels.shape[1]} x {pixels.shape[0]} pixels, the first image "
                f"{first.shape[1]} x {first.shape[0]}. For photographs of your own "
                "(data.source=images) add --set data.size=32: it resizes the central square of each"
            )
        images[split].setdefault(class_name, []).append(pixels)
    expected = _same_classes(images, classes, path)
    splits = {
        split: ArraySplit(
            np.concatenate([np.stack(images[split][name]) for name in expected]),
            np.repeat(np.arange(len(expected)), [len(images[split][n]) for n in expected]),
        )
        for split in SPLITS
    }
    return ArchivedImages(splits, expected, quality, held_out)


def _places(
    names: Sequence[str], path: Path, plain: bool
) -> tuple[dict[str, tuple[str, str]], bool]:
    """Of files by name: image -> (split, class); and whether test images were drawn."""
    parts = {name: PurePosixPath(name).parts for name in names}
    parts = {name: p for name, p in parts.items() if p and not any(map(_is_hidden, p))}
    around = {p[0] for p in parts.values()}
    if len(around) == 1 and not around & {TRAIN, *TEST_FOLDERS}:
        inner = {name: p[1:] for name, p in parts.items()}
        if max(map(len, inner.values())) > 1:
            parts = inner
    parts = {name: p for name, p in parts.items() if name.lower().endswith(SUFFIXES)}
    tops = {p[0] for p in parts.values() if len(p) == 3}
    if plain and TRAIN not in tops:
        by_class: dict[str, list[str]] = {}
        for name, p in parts.items():
            if len(p) == 2:
                by_class.setdefault(p[0], []).append(name)
        return _with_test_images(by_class, path), True
    test = next((folder for folder in TEST_FOLDERS if folder in tops), SPLITS[1])
    split_of = {TRAIN: SPLITS[0], test: SPLITS[1]}
    return {
        name: (split_of[p[0]], p[1])
        for name, p in parts.items()
        if len(p) == 3 and p[0] in split_of
    }, False


def _is_hidden(part: str) -> bool:
    return part.startswith(".") or part == "__MACOSX"


def _with_test_images(by_class: dict[str, list[str]], path: Path) -> dict[str, tuple[str, str]]:
    """Image -> (split, class), with HELD_OUT of each class as test images."""
    if not by_class:
        raise UserError(
            f"{path}: no images found; train/CLASS/* and test/CLASS/*, or CLASS/*, are needed, as "
            f"{', '.join(SUFFIXES)}"
        )
    places: dict[str, tuple[str, str]] = {}
    for class_name, names in by_class.items():
        if len(names) < 2:
            raise UserError(f"{path}: {class_name} has one image; at least 2 are needed")
        order = np.random.default_rng(0).permutation(len(names))
        tests = set(order[: max(1, round(HELD_OUT * len(names)))].tolist())
        places |= {
            name: (SPLITS[1] if index in tests else SPLITS[0], class_name)
            for index, name in enumerate(names)
        }
    return places


def _decoded(
    data: bytes, name: str, path: Path, size: int
) -> tuple[NDArray[np.uint8], dict[int, list[int]] | None]:
    """(H, W, 3) pixels, and the quantisation tables of a JPEG file."""
    if size:
        return read_photo(data, f"{path}: {name}", (3, size, size)).pixels, None
    try:
        with opened_image(data) as image:
            tables = getattr(image, "quantization", None)
            return np.asarray(image.convert("RGB")), tables
    except BadImageError as error:
        raise UserError(f"{path}: cannot read the image {name} ({error})") from None


def _same_classes(
    images: dict[str, dict[str, list[NDArray[np.uint8]]]],
    classes: tuple[str, ...] | None,
    path: Path,
) -> tuple[str, ...]:
    """The classes, after a check that both splits have them."""
    found = {split: tuple(sorted(images[split])) for split in SPLITS}
    expected = classes or found[SPLITS[0]]
    for split in SPLITS:
        if found[split] != expected or not expected:
            wrong = sorted(set(expected) ^ set(found[split]))
            raise UserError(
                f"{path}: expected {split}/CLASS/ for {len(expected)} classes, found "
                f"{len(found[split])} (first difference: {wrong[0] if wrong else 'none at all'})"
            )
    return expected


def _files(path: Path) -> dict[str, Callable[[], bytes]]:
    """Name with forward slashes -> how to read it, of all files, in order of their names."""
    if path.is_dir():
        return {
            file.relative_to(path).as_posix(): file.read_bytes
            for file in sorted(path.rglob("*"))
            if file.is_file()
        }
    found = {}
    with opened_tar(path) as (archive, members):
        # In the archive's order: going back and forth in a compressed file is slow.
        for member in shown(members, path):
            if member.isfile():
                found[PurePosixPath(member.name).as_posix()] = content(archive, member)
    return {name: partial(found.__getitem__, name) for name in sorted(found)}


def require_class_name(name: str, path: Path) -> None:
    """UserError for a folder below `path` whose name cannot stand in a table as a class's name."""
    if name != one_line(name):
        raise UserError(f"{path}: the folder {name!r} has no name of one line: rename it")


def shown(items: Sequence[_Item], path: Path) -> Iterable[_Item]:
    """`items`, with a progress bar where a person watches."""
    title = f"reading {escape(path.name)}"
    return track(items, title, transient=True, disable=not sys.stdout.isatty())


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
    if not tables or 0 not in tables:
        return None
    own = sorted(tables[0])
    for quality in range(1, 101):
        scale = 5000 // quality if quality < 50 else 200 - 2 * quality
        if sorted(np.clip((_LUMINANCE * scale + 50) // 100, 1, 255).tolist()) == own:
            return quality
    return None
