"""CIFAR-10 and CIFAR-100, from torchvision's archives or from image files."""

from __future__ import annotations

import os
import urllib.error
from pathlib import Path

import numpy as np
from torchvision.datasets import CIFAR10, CIFAR100
from torchvision.datasets.utils import check_integrity

from codepath.core.errors import UserError
from codepath.core.files import make_directory
from codepath.core.locks import locked
from codepath.data.archives import is_image_files, read_image_files
from codepath.data.data_set import ArrayDataSet, ArraySplit
from codepath.run.config import STATISTICS

_SETS = {"cifar10": CIFAR10, "cifar100": CIFAR100}
CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
_UNPACKING_S = 1800.0
"""Seconds that a process waits for another one to download and unpack the archive."""
IMAGES_VARIABLE = "CODEPATH_CIFAR10_IMAGES"
"""Environment variable: a folder or tar of CIFAR-10's images, used where no data is named."""


def load_cifar(name: str, data: Path | None) -> ArrayDataSet:
    """CIFAR-10 or CIFAR-100.

    Args:
        name: cifar10 or cifar100.
        data: folder with torchvision's archive (downloaded into it where absent), or folder or
            tar of images train/CLASS/*, test/CLASS/*. None: the place that
            CODEPATH_CIFAR10_IMAGES names (for CIFAR-10), else data/.
    """
    if data is None:
        variable = os.environ.get(IMAGES_VARIABLE) if name == "cifar10" else None
        data = Path(variable or "data")
        if variable and not data.exists():
            raise UserError(f"{IMAGES_VARIABLE} names {data}, which does not exist")
    if is_image_files(data):
        files = read_image_files(data, CIFAR10_CLASSES if name == "cifar10" else None)
        quality = files.jpeg_quality
        kind = f"JPEG quality {quality}" if quality else data.name
        if name == "cifar100" and len(files.class_names) != 100:
            raise UserError(f"{data}: CIFAR-100 has 100 classes, found {len(files.class_names)}")
        splits, classes = files.splits, files.class_names
        source = f"{_title(name)} as images, {kind}"
    else:
        splits, classes = _torchvision(name, data)
        source = f"{_title(name)} archive"
    mean, std = STATISTICS[name]
    return ArrayDataSet(name, source, splits["train"], splits["test"], classes, mean, std)


def _title(name: str) -> str:
    return f"CIFAR-{name.removeprefix('cifar')}"


def _torchvision(name: str, data: Path) -> tuple[dict[str, ArraySplit], tuple[str, ...]]:
    cls = _SETS[name]
    archive = data / cls.filename
    if archive.exists() and not check_integrity(str(archive), cls.tgz_md5):
        raise UserError(f"{archive} is truncated or altered (its MD5 is wrong); get it again")
    try:
        if not _is_unpacked(cls, data):
            refusal = f"another process has been unpacking in {data} for long; wait for it"
            with locked(make_directory(data) / f".{name}.lock", refusal, _UNPACKING_S):
                cls(str(data), download=not _is_unpacked(cls, data))
        sets = {split: cls(str(data), train=split == "train") for split in ("train", "test")}
    except (urllib.error.URLError, ConnectionError, TimeoutError, RuntimeError) as error:
        raise UserError(
            f"{_title(name)} is not in {data} and cannot be downloaded ({error}); put "
            f"{cls.filename} there, or name a folder or tar of images with --data"
        ) from None
    splits = {
        split: ArraySplit(np.asarray(s.data), np.asarray(s.targets, dtype=np.int64))
        for split, s in sets.items()
    }
    return splits, tuple(sets["train"].classes)


def _is_unpacked(cls: type[CIFAR10], data: Path) -> bool:
    files = [*cls.train_list, *cls.test_list]
    return all(check_integrity(str(data / cls.base_folder / file), md5) for file, md5 in files)
