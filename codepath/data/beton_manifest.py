"""The manifest beside a beton, NAME.json: what is in it, with a checksum of every part."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codepath.core.files import read_json
from codepath.core.plain import as_type
from codepath.data.beton_format import BetonSettings

_OWN = "sha256"


@dataclass(frozen=True)
class _Manifest:
    """The manifest's form."""

    dataset: str
    source: str
    split: str
    images: int
    classes: dict[str, int]
    """In the order of their numbers, with how many images each has."""
    pixels: int
    """Images that are stored as pixels."""
    jpeg: int
    settings: dict[str, Any]
    """`BetonSettings` of images in files; empty for images in memory."""
    bytes: int
    sha256_head: str
    sha256_table: str
    sha256_sums: str
    versions: dict[str, str]
    sha256_names: str = ""
    """Of NAME.npz; betons of earlier versions have neither this nor the next one."""
    sha256: str = ""
    """Of the manifest without this key."""


def sealed(manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest with its own checksum."""
    return manifest | {_OWN: _digest(manifest)}


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest in a file; ValueError where it is damaged, OSError where it cannot be read."""
    values = read_json(path)
    manifest: _Manifest = as_type(values, _Manifest, path.name)
    if manifest.sha256 and manifest.sha256 != _digest(values):
        raise ValueError(f"{path.name} is altered")
    counts = (manifest.pixels + manifest.jpeg, sum(manifest.classes.values()))
    if manifest.images < 1 or set(counts) != {manifest.images}:
        raise ValueError(f"{path.name} counts its images in different ways")
    if manifest.settings:
        as_type(manifest.settings, BetonSettings, "settings")
    found: dict[str, Any] = values
    return found


def _digest(manifest: dict[str, Any]) -> str:
    rest = {key: value for key, value in manifest.items() if key != _OWN}
    return hashlib.sha256(json.dumps(rest).encode()).hexdigest()
