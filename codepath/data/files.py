"""Images that stay in their files: of any size, decoded when they are asked for."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torchvision.io  # noqa: F401 (it registers the decoder)
from numpy.typing import NDArray

from codepath.core.errors import UserError
from codepath.core.images import BadImageError, opened_image

_JPEG_START = b"\xff\xd8"
_RGB = 3
"""torchvision's mode: three channels, whatever the file has."""


@cache
def _jpeg_decoder() -> Callable[..., torch.Tensor] | None:
    """torchvision's JPEG decoder, which releases the GIL; None where a later release lacks it.

    The operator is taken, since torchvision's function warns at each call.
    """
    return getattr(torch.ops.image, "decode_jpeg", None)


class EncodedImages(Protocol):
    """Encoded images by number; reading is safe from several threads at once."""

    def __len__(self) -> int: ...

    def member(self, index: int) -> str:
        """Name of the image within its data set."""

    def name(self, index: int) -> str:
        """Where the image is, for messages."""

    def read(self, index: int) -> bytes:
        """The encoded image."""


@dataclass(frozen=True)
class FolderFiles:
    """Files below a folder."""

    root: Path
    names: Sequence[str]
    """Relative to `root`."""

    def __len__(self) -> int:
        return len(self.names)

    def member(self, index: int) -> str:
        """Name of the image within its data set."""
        return self.names[index]

    def name(self, index: int) -> str:
        """Path of the image."""
        return str(self.root / self.names[index])

    def read(self, index: int) -> bytes:
        """The encoded image; UserError where its file cannot be read."""
        path = self.root / self.names[index]
        try:
            return path.read_bytes()
        except OSError as error:
            raise UserError(f"cannot read the image {path} ({error.strerror})") from None


class TarFiles:
    """Stretches of an uncompressed tar, read in place: nothing is unpacked.

    Args:
        path: the archive.
        names: of its images.
        starts: (n,) first byte of each.
        sizes: (n,) bytes of each.
    """

    def __init__(
        self,
        path: Path,
        names: Sequence[str],
        starts: NDArray[np.int64],
        sizes: NDArray[np.int64],
    ) -> None:
        self.path, self.names, self.starts, self.sizes = path, names, starts, sizes
        self._file = path.open("rb")

    def __len__(self) -> int:
        return len(self.names)

    def member(self, index: int) -> str:
        """Name of the image within its data set."""
        return self.names[index]

    def name(self, index: int) -> str:
        """Archive and member of the image."""
        return f"{self.path}: {self.names[index]}"

    def read(self, index: int) -> bytes:
        """The encoded image; UserError where the archive ends before the image does."""
        size = int(self.sizes[index])
        try:
            data = os.pread(self._file.fileno(), size, int(self.starts[index]))
        except OSError as error:
            raise UserError(f"cannot read {self.name(index)} ({error.strerror})") from None
        if len(data) != size:
            raise UserError(f"{self.path} is truncated at {self.names[index]}; get it again")
        return data


def decode(data: bytes, name: str) -> NDArray[np.uint8]:
    """(H, W, 3): an encoded image as RGB; UserError with `name` where it is damaged.

    torchvision decodes JPEG images: it gives Pillow's pixels without holding the GIL. What it
    cannot decode (CMYK, other formats, damaged files) is left to Pillow.
    """
    decoder = _jpeg_decoder() if data.startswith(_JPEG_START) else None
    try:
        with opened_image(data) as image:  # it takes no memory for more pixels than are allowed
            if decoder is not None:
                encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)  # needs writing
                with suppress(RuntimeError):
                    return decoder(encoded, _RGB, False).permute(1, 2, 0).numpy()
            return np.asarray(image.convert("RGB"))
    except BadImageError as error:
        raise UserError(f"cannot read the image {name} ({error}); get it again") from None


@dataclass(frozen=True)
class FileSplit:
    """One split of images in files."""

    files: EncodedImages
    labels: NDArray[np.int64]
    """(n,), classes counted from 0."""
    crop: int
    """Side of the square that evaluation sees."""

    def __len__(self) -> int:
        return len(self.labels)

    def size(self, index: int) -> tuple[int, int]:
        """Width and height of an image by its header; UserError where it is damaged."""
        name = self.files.name(index)
        try:
            with opened_image(self.files.read(index)) as image:
                return image.size
        except BadImageError as error:
            raise UserError(f"cannot read the image {name} ({error}); get it again") from None

    def image(self, index: int) -> NDArray[np.uint8]:
        """(H, W, 3): the image in its own size."""
        return decode(self.files.read(index), self.files.name(index))


def require_text(*names: str) -> None:
    """UserError where the name of a class or folder holds what tables and pages cannot show."""
    for name in names:
        if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
            raise UserError(
                f"the name {name!a} holds a control character, or letters that are not UTF-8: "
                "rename the folder"
            )


@dataclass(frozen=True)
class FileDataSet:
    """A data set whose images stay in their files, with its normalisation (see `ArrayDataSet`)."""

    dataset: str
    source: str
    train: FileSplit
    test: FileSplit
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        require_text(self.source, *self.class_names)

    def split(self, name: str) -> FileSplit:
        """The split called "train" or "test"."""
        return {"train": self.train, "test": self.test}[name]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what loaders yield."""
        return 3, self.test.crop, self.test.crop
