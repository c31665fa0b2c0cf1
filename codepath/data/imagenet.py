"""ImageNet: whether its files are there, and what to put where."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from torchvision.datasets.imagenet import ARCHIVE_META

from codepath.runtime import UserError

FOLDERS = ("train", "val")


def load_imagenet(data: Path | None) -> NoReturn:
    """Say what is missing; raise UserError also where all is there: it cannot be read yet."""
    data = data or Path("data")
    archives = [name for name, _ in (ARCHIVE_META[key] for key in ("train", "val", "devkit"))]
    missing = [name for name in archives if not (data / name).is_file()]
    if missing and not all((data / folder).is_dir() for folder in FOLDERS):
        raise UserError(
            f"ImageNet is not in {data}: put {', '.join(missing)} there (from image-net.org, on "
            "request), or folders train/CLASS/ and val/CLASS/; name the place with --data "
            "(make: DATA=)"
        )
    raise UserError(
        f"ImageNet is in {data}, but reading it is not available yet: "
        "only its presence can be checked"
    )
