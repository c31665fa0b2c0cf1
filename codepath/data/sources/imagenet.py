"""ImageNet (ILSVRC2012) from betons, folders or its archives; classes in order of their wnids."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from torchvision.datasets.imagenet import ARCHIVE_META

from codepath.core.errors import UserError
from codepath.data.archives import require_class_name, shown
from codepath.data.beton import Beton, betons_of
from codepath.data.files import EncodedImages, FileDataSet, FileSplit, FolderFiles, TarFiles
from codepath.data.matlab import read_structures
from codepath.data.tars import content, is_text, opened_tar
from codepath.run.config import STATISTICS

CROP = 160
"""Side of the images, as in the paper, where a configuration names none."""
COUNTS = {"train": 1_281_167, "val": 50_000}
CLASSES = 1000
TRAIN_ARCHIVE, VAL_ARCHIVE, DEVKIT = (ARCHIVE_META[key][0] for key in ("train", "val", "devkit"))
_DEVKIT_ROOT = "ILSVRC2012_devkit_t12/data"
_SUFFIX = ".jpeg"


class _Found(NamedTuple):
    """A split as it was found."""

    files: EncodedImages
    wnids: list[str]
    """Class of each file."""
    kind: str
    """What the split is read from, in words: folders, archives or betons."""


def load_imagenet(
    data: Path | None, crop: int = 0, subset: bool = False, originals: bool = False
) -> FileDataSet:
    """ImageNet from a folder; nothing is unpacked.

    Args:
        data: the folder. It holds train/WNID/*.JPEG or ILSVRC2012_img_train.tar, and
            val/WNID/*.JPEG or ILSVRC2012_img_val.tar with ILSVRC2012_devkit_t12.tar.gz. Betons
            that `codepath data build` made of these are preferred (of several, `betons_of` says
            which one). None: data/.
        crop: side of the images that loaders yield; 0: 160.
        subset: whether a subset of ImageNet is meant.
        originals: whether betons are ignored.

    Raises:
        UserError: files are absent, damaged or unsafe; the counts are not ImageNet's and no
            subset is meant; the splits have different classes.
    """
    data = data or Path("data")
    there = betons_of("imagenet", data) or betons_of("imagenet", data / "betons")
    betons = {} if originals else there
    _require_files(data, betons, passed_over=there if originals else {})
    train = _split(data, "train", betons.get("train"), _train_archive)
    val = _split(data, "val", betons.get("test"), _val_archive)
    classes = tuple(sorted(set(train.wnids)))
    for name, found in (("train", train), ("val", val)):
        if not subset and (len(found.wnids), len(set(found.wnids))) != (COUNTS[name], CLASSES):
            raise UserError(
                f"{data}: {name} holds {len(found.wnids):,} images of {len(set(found.wnids)):,} "
                f"classes, ImageNet's {COUNTS[name]:,} of {CLASSES:,}: complete it, or say that a "
                "subset is meant (--set data.subset=true)"
            )
    wrong = sorted(set(classes) ^ set(val.wnids))
    if wrong or not classes:
        raise UserError(
            f"{data}: train and val must hold images of the same classes "
            f"(first difference: {wrong[0] if wrong else 'none at all'})"
        )
    number = {wnid: k for k, wnid in enumerate(classes)}
    train_split, val_split = (
        FileSplit(found.files, np.array([number[w] for w in found.wnids], np.int64), crop or CROP)
        for found in (train, val)
    )
    mean, std = STATISTICS["imagenet"]
    source = _source(train, val, subset)
    return FileDataSet("imagenet", source, train_split, val_split, classes, mean, std)


def _source(train: _Found, val: _Found, subset: bool) -> str:
    kinds = train.kind if train.kind == val.kind else f"{train.kind} and {val.kind}"
    if not subset:
        return f"ImageNet from {kinds}"
    return (
        f"ImageNet subset from {kinds}: {len(train.wnids):,} training and {len(val.wnids):,} "
        f"validation images of {len(set(train.wnids)):,} classes"
    )


def _split(
    data: Path, folder: str, beton: Path | None, archive: Callable[[Path], _Found]
) -> _Found:
    if beton is not None:
        files = Beton(beton)
        classes = list(files.manifest["classes"])
        longest = files.manifest["settings"].get("longest", 0)
        kind = f"betons with sides of at most {longest}" if longest else "betons"
        return _Found(files, [classes[k] for k in files.labels.tolist()], kind)
    return _folders(data / folder) if (data / folder).is_dir() else archive(data)


def _require_files(data: Path, betons: dict[str, Path], passed_over: dict[str, Path]) -> None:
    missing = []
    if "train" not in betons and not (data / "train").is_dir():
        missing += [TRAIN_ARCHIVE]
    if "test" not in betons and not (data / "val").is_dir():
        missing += [VAL_ARCHIVE, DEVKIT]
    missing = [name for name in missing if not (data / name).is_file()]
    if missing and passed_over:
        raise UserError(
            f"{data} holds betons, which are not made of one another: put {', '.join(missing)} "
            "there, or folders train/CLASS/ and val/CLASS/"
        )
    if missing:
        raise UserError(
            f"ImageNet is not in {data}: put {', '.join(missing)} there (from image-net.org, on "
            "request), or folders train/CLASS/ and val/CLASS/; name the place with --data "
            "(make: DATA=)"
        )


def _folders(root: Path) -> _Found:
    """WNID/*.JPEG below `root`, in order of the paths."""
    names, wnids = [], []
    folders = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    for wnid in shown(folders, root):
        require_class_name(wnid, root)
        files = [entry for entry in os.scandir(root / wnid) if entry.is_file()]
        inside = [file.name for file in files if file.name.lower().endswith(_SUFFIX)]
        if not all(map(is_text, inside)):
            raise UserError(f"{root / wnid} holds a file whose name is no Unicode: rename it")
        names += [f"{wnid}/{name}" for name in sorted(inside)]
        wnids += [wnid] * len(inside)
    return _Found(FolderFiles(root, names), wnids, "folders")


def _images(members: Iterable[tarfile.TarInfo]) -> list[tarfile.TarInfo]:
    """The JPEG files among an archive's members."""
    return [m for m in members if m.isfile() and m.name.lower().endswith(_SUFFIX)]


def _tar_files(path: Path, found: list[tuple[str, str, int, int]], kind: str) -> _Found:
    """The split of images given as (wnid, name, start, size), in order of wnid and name."""
    found = sorted(found)
    wnids, names, starts, sizes = zip(*found, strict=True) if found else ((), (), (), ())
    files = TarFiles(path, names, np.array(starts, np.int64), np.array(sizes, np.int64))
    return _Found(files, list(wnids), kind)


def _train_archive(data: Path) -> _Found:
    """Find the places of the images in the outer file of a tar that holds one tar per class."""
    path = data / TRAIN_ARCHIVE
    found = []
    with opened_tar(path, "r:") as (_, members), path.open("rb") as stream:
        members = [m for m in members if m.isfile() and m.name.endswith(".tar")]
        for member in shown(members, path):
            wnid = PurePosixPath(member.name).stem
            require_class_name(wnid, path)
            inner = _Stretch(stream, member.offset_data, member.size)
            with opened_tar(path, "r:", inner) as (_, inside):  # type: ignore[arg-type]
                found += [
                    (wnid, image.name, member.offset_data + image.offset_data, image.size)
                    for image in _images(inside)
                ]
    return _tar_files(path, found, "archives")


class _Stretch(io.RawIOBase):
    """A part of a file, read as a file of its own."""

    def __init__(self, file: io.BufferedReader, start: int, size: int) -> None:
        self._file, self._start, self._size, self._at = file, start, size, 0

    def seekable(self) -> bool:
        """Yes."""
        return True

    def readable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place in the part."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """Place in the part."""
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Bytes from here on, at most to the end of the part."""
        left = max(self._size - self._at, 0)
        self._file.seek(self._start + self._at)
        data = self._file.read(left if size < 0 else min(size, left))
        self._at += len(data)
        return data


def _val_archive(data: Path) -> _Found:
    """The validation images in order of their names, with labels from the development kit."""
    path = data / VAL_ARCHIVE
    with opened_tar(path, "r:") as (_, members):
        images = sorted(_images(members), key=lambda member: member.name)
    wnids = list(_ground_truth(data / DEVKIT))
    if len(wnids) != len(images):
        raise UserError(
            f"{path} holds {len(images):,} images, {DEVKIT} labels {len(wnids):,}: they do not "
            "belong together, get both again"
        )
    found = [
        (wnid, image.name, image.offset_data, image.size)
        for wnid, image in zip(wnids, images, strict=True)
    ]
    return _tar_files(path, found, "archives")


def _ground_truth(path: Path) -> Iterator[str]:
    """The wnid of each validation image, in order of their names."""
    wanted = ["meta.mat", "ILSVRC2012_validation_ground_truth.txt"]
    with opened_tar(path) as (archive, members):
        of_name = {member.name: member for member in members if member.isfile()}
        places = [of_name.get(f"{_DEVKIT_ROOT}/{name}") for name in wanted]
        meta, truth = (b"" if place is None else content(archive, place) for place in places)
    if None in places:
        raise UserError(f"{path} holds no {_DEVKIT_ROOT}/{' and '.join(wanted)}; get it again")
    wnid_of = _classes(meta, path)
    for line in truth.split():
        label = int(line) if line.isdigit() and len(line) < 9 else None
        if label not in wnid_of:
            said = label if label is not None else ascii(line)[1:]
            raise UserError(f"{path}: class {said} of the labels is not in meta.mat; get it again")
        yield wnid_of[label]


def _classes(meta: bytes, path: Path) -> dict[int, str]:
    """Number of a class in the labels -> its wnid, by the content of meta.mat."""
    try:
        synsets = read_structures(meta, "synsets", ("ILSVRC2012_ID", "WNID", "num_children"))
        classes = {int(number): str(wnid) for number, wnid, children in synsets if not children}
    except (ValueError, OverflowError) as error:
        raise UserError(f"{path}: meta.mat is damaged ({error}); get it again") from None
    for wnid in classes.values():
        require_class_name(wnid, path)
    return classes
