"""FFCV's files (betons): written from an image set, with a manifest that says what is in them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from codepath.data.datasets import ImageSet, Split
from codepath.runtime import UserError, atomic_path, make_directory, package_versions, write_text


def _digest(split: Split) -> str:
    """SHA-256 over pixels and labels."""
    sha = hashlib.sha256(np.ascontiguousarray(split.images).data)
    sha.update(np.ascontiguousarray(split.labels).data)
    return sha.hexdigest()


def _manifest(images: ImageSet, name: str, digest: str) -> dict[str, Any]:
    split = images.split(name)
    counts = np.bincount(split.labels, minlength=len(images.class_names))
    return {
        "dataset": images.dataset,
        "source": images.source,
        "split": name,
        "images": len(split),
        "shape": list(split.images.shape[1:]),
        "write_mode": "raw",
        "classes": dict(zip(images.class_names, counts.tolist(), strict=True)),
        "sha256": digest,
    }


def ensure_beton(images: ImageSet, name: str, folder: Path) -> Path:
    """The beton of a split, written where it is absent; its manifest stands beside it.

    The file's name holds the first digits of the pixels' and labels' checksum, so that other
    images never pass for these. Raises UserError where the disk is too small or the file on it
    is not what the manifest says, OSError where writing fails; nothing half-written is ever
    under the final name.
    """
    split = images.split(name)
    digest = _digest(split)
    path = make_directory(folder) / f"{images.dataset}-{name}-{digest[:10]}.beton"
    manifest = path.with_suffix(".json")
    with FileLock(folder / f".{path.stem}.lock"):
        if path.exists() and manifest.exists():
            known = json.loads(manifest.read_text())
            if known["sha256"] == digest and known["bytes"] == path.stat().st_size:
                return path
            raise UserError(f"{path} is damaged: its size or manifest is not as written; remove it")
        with atomic_path(path) as temporary:
            _write(split, temporary)
            size = temporary.stat().st_size
            if _digest(read_beton(temporary, split.images.shape)) != digest:
                raise UserError(f"{path} could not be written completely: is the disk full?")
        described = {
            **_manifest(images, name, digest),
            "bytes": size,
            "versions": package_versions(),
        }
        write_text(manifest, json.dumps(described, indent=2) + "\n")
    return path


def _write(split: Split, path: Path) -> None:
    """Write in this process (FFCV's own writer hangs when one of its workers dies)."""
    from ffcv.fields import IntField, RGBImageField
    from ffcv.memory_allocator import MemoryAllocator
    from ffcv.writer import DatasetWriter, handle_sample

    fields = {"image": RGBImageField(write_mode="raw"), "label": IntField()}
    writer = DatasetWriter(str(path), fields, num_workers=1)
    writer.num_samples = len(split)
    writer.prepare()
    try:
        metadata = np.zeros(len(split), dtype=writer.metadata_type)
        allocator = MemoryAllocator(str(path), writer.data_region_start, writer.page_size)
        with allocator:
            for index, sample in enumerate(zip(split.images, split.labels, strict=True)):
                handle_sample(sample, index, metadata.dtype.names, metadata, allocator, fields)
        writer.metadata_sm.buf[: metadata.nbytes] = metadata.tobytes()
        writer.finalize(allocator.allocations)
    finally:
        writer.metadata_sm.close()
        writer.metadata_sm.unlink()


def read_beton(path: Path, shape: tuple[int, ...]) -> Split:
    """All raw images and labels of a beton, read without FFCV's loader.

    Args:
        path: the file.
        shape: (n, H, W, C) that it should hold.
    """
    from ffcv.reader import Reader

    reader = Reader(str(path))
    size = int(np.prod(shape[1:]))
    data = np.memmap(path, mode="r")
    images: NDArray[np.uint8] = np.zeros(shape, np.uint8)
    for index, start in enumerate(reader.metadata["f0"]["data_ptr"]):
        pixels = data[int(start) : int(start) + size]
        if len(pixels) == size:
            images[index] = pixels.reshape(shape[1:])
    return Split(images, reader.metadata["f1"].astype(np.int64))
