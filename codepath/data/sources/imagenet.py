"""ImageNet (ILSVRC2012) from betons, folders or its archives; classes in order of their wnids."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from scipy.io import loadmat
from torchvision.datasets.imagenet import ARCHIVE_META

from codepath.core.errors import UserError
from codepath.data.archives import refuse_unsafe, shown
from codepath.data.beton import Beton, betons_of
from codepath.data.files import EncodedImages, FileDataSet, FileSplit, FolderFiles, TarFiles
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
        inside = [e.name for e in os.scandir(root / wnid) if e.name.lower().endswith(_SUFFIX)]
        names += [f"{wnid}/{name}" for name in sorted(inside)]
        wnids += [wnid] * len(inside)
    return _Found(FolderFiles(root, names), wnids, "folders")


def _images(archive: tarfile.TarFile, path: Path) -> list[tarfile.TarInfo]:
    """The JPEG members of an open archive; UserError for unsafe paths."""
    members = archive.getmembers()
    refuse_unsafe(members, path)
    return [m for m in members if m.isfile() and m.name.lower().endswith(_SUFFIX)]


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is no tar archive or is truncated ({error}); get it again")


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
    try:
        with tarfile.open(path, "r:") as outer, path.open("rb") as stream:
            members = outer.getmembers()
            refuse_unsafe(members, path)
            members = [m for m in members if m.isfile() and m.name.endswith(".tar")]
            for member in shown(members, path):
                inner_file = _Stretch(stream, member.offset_data, member.size)
                with tarfile.open(fileobj=inner_file, mode="r:") as inner:
                    found += [
                        (PurePosixPath(member.name).stem, image.name, start, image.size)
                        for image in _images(inner, path)
                        for start in [member.offset_data + image.offset_data]
                    ]
    except (tarfile.TarError, EOFError, OSError) as error:
        raise _damaged(path, error) from None
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
    try:
        with tarfile.open(path, "r:") as archive:
            images = sorted(_images(archive, path), key=lambda member: member.name)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise _damaged(path, error) from None
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
    try:
        with tarfile.open(path) as archive:
            refuse_unsafe(archive.getmembers(), path)
            streams = [archive.extractfile(f"{_DEVKIT_ROOT}/{name}") for name in wanted]
            meta, truth = (stream.read() for stream in streams if stream is not None)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise _damaged(path, error) from None
    except (KeyError, ValueError):
        raise UserError(
            f"{path} holds no {_DEVKIT_ROOT}/{' and '.join(wanted)}; get it again"
        ) from None
    synsets = np.atleast_1d(loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"])
    wnid_of = {int(s["ILSVRC2012_ID"]): str(s["WNID"]) for s in synsets if not s["num_children"]}
    for line in truth.split():
        if int(line) not in wnid_of:
            raise UserError(
                f"{path}: class {int(line)} of the labels is not in meta.mat; get it again"
            )
        yield wnid_of[int(line)]
