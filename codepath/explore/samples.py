"""The images that come along: two of each class of CIFAR-10, free of rights (see SOURCES.csv)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "samples"


class Sample(NamedTuple):
    """An image that comes along."""

    path: Path
    truth: str
    """Its class."""


def samples() -> list[Sample]:
    """All of them, by class; files are called CLASS-NUMBER.jpg."""
    return [Sample(path, path.stem.rpartition("-")[0]) for path in sorted(FOLDER.glob("*.jpg"))]
