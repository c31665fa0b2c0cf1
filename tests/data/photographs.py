"""A made-up ImageNet: small JPEG files of many sizes, as folders and as archives."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

WNIDS = ("n01440764", "n01443537", "n02102040")
TRAIN, VAL = 5, 2
"""Images per class."""


SMALL_IMAGENET = (
    "model.name=coded_resnext20_10x4d",
    "model.num_classes=10",
    "data.crop=16",
    "train.warmup_epochs=0",
    "train.epochs=1",
    "train.batch_size=10",
    "train.bn_batch=0",
    "evaluation.removal_block=4",
)
"""Settings with which table2-imagenet trains on ten classes of these in seconds."""


def photograph(seed: int) -> bytes:
    """A smooth JPEG image of 20 to 60 pixels a side."""
    rng = np.random.default_rng(seed)
    width, height = (int(n) for n in rng.integers(20, 61, 2))
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 3)).astype(np.uint8))
    buffer = io.BytesIO()
    small.resize((width, height), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def make_folders(root: Path, wnids: tuple[str, ...] = WNIDS) -> Path:
    """train/WNID/*.JPEG and val/WNID/*.JPEG."""
    for k, wnid in enumerate(wnids):
        for split, count in (("train", TRAIN), ("val", VAL)):
            folder = root / split / wnid
            folder.mkdir(parents=True)
            for i in range(count):
                (folder / _name(split, k, i, wnids)).write_bytes(photograph(_seed(split, k, i)))
    return root


def make_archives(root: Path) -> Path:
    """The same images as ILSVRC2012's three archives, members in another order."""
    root.mkdir()
    with tarfile.open(root / "ILSVRC2012_img_train.tar", "w") as outer:
        for k, wnid in reversed(list(enumerate(WNIDS))):
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as tar:
                for i in reversed(range(TRAIN)):
                    add(tar, _name("train", k, i), photograph(_seed("train", k, i)))
            add(outer, f"{wnid}.tar", inner.getvalue())
    with tarfile.open(root / "ILSVRC2012_img_val.tar", "w") as tar:
        for number in range(VAL * len(WNIDS)):
            k, i = number % len(WNIDS), number // len(WNIDS)
            add(tar, _name("val", k, i), photograph(_seed("val", k, i)))
    make_devkit(root / "ILSVRC2012_devkit_t12.tar.gz")
    return root


def make_devkit(path: Path, truth: tuple[int, ...] = (9, 2, 7, 9, 2, 7)) -> None:
    """meta.mat and labels as in the development kit: numbers in an order of their own, and a
    synset with children, which is no class."""
    kinds = [("ILSVRC2012_ID", float), ("WNID", object), ("num_children", float)]
    entries = [(2, WNIDS[1], 0), (7, WNIDS[2], 0), (9, WNIDS[0], 0), (1001, "n00001740", 3)]
    meta = io.BytesIO()
    savemat(meta, {"synsets": np.array(entries, dtype=kinds).reshape(-1, 1)})
    root = "ILSVRC2012_devkit_t12/data"
    with tarfile.open(path, "w:gz") as tar:
        add(tar, f"{root}/meta.mat", meta.getvalue())
        lines = "".join(f"{number}\n" for number in truth)
        add(tar, f"{root}/ILSVRC2012_validation_ground_truth.txt", lines.encode())


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Put a member into an open archive."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _name(split: str, k: int, i: int, wnids: tuple[str, ...] = WNIDS) -> str:
    if split == "train":
        return f"{wnids[k]}_{i:04d}.JPEG"
    return f"ILSVRC2012_val_{i * len(wnids) + k + 1:08d}.JPEG"


def _seed(split: str, k: int, i: int) -> int:
    return 1000 * (split == "val") + 100 * k + i
