"""Whether a command's files are up to date, told before pandas or matplotlib is imported.

The files are a function of their inputs: rows, code, libraries and options. OUT/.drawn/COMMAND.json
keeps a checksum of the inputs, and of every file that was made from them. This module uses the
standard library only.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from codepath.core.files import make_directory, write_text
from codepath.core.provenance import PACKAGE_ROOT, REPO_ROOT, SHIPPED

CACHE = ".drawn"
"""Folder below OUT; it can be removed at any time."""
_SOURCES = ("paper", "experiments", "codes", "store", "run", "core")
_SUFFIXES = (".py", ".j2", ".csv")
_LIBRARIES = (
    "contourpy",
    "fonttools",
    "jinja2",
    "matplotlib",
    "numpy",
    "pandas",
    "pillow",
    "scipy",
    "seaborn",
)


class Made(NamedTuple):
    """What a command made and printed."""

    files: Sequence[Path]
    said: Sequence[str] = ()
    """Lines that the command prints every time."""
    missing: Sequence[str] = ()
    """A line for each experiment without rows, with the command that makes them."""


def digest(parts: Iterable[bytes]) -> str:
    """SHA-256 of some parts, each preceded by its length."""
    found = hashlib.sha256()
    for part in parts:
        found.update(b"%d:" % len(part))
        found.update(part)
    return found.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file; empty where it is absent."""
    return digest([path.read_bytes()]) if path.is_file() else ""


@functools.cache
def code_digest() -> str:
    """Checksum of the source and the libraries that make figures, tables and claims."""
    files = [SHIPPED / "paper" / "reference", *(PACKAGE_ROOT / name for name in _SOURCES)]
    files = [path for place in files for path in (place, *sorted(place.rglob("*")))]
    files = [path for path in files if path.suffix in _SUFFIXES and path.is_file()]
    parts = [sys.version.encode()]
    for path in files:
        parts += [path.relative_to(REPO_ROOT).as_posix().encode(), path.read_bytes()]
    for name in _LIBRARIES:
        parts.append(f"{name} {importlib.metadata.version(name)}".encode())
    return digest(parts)


def inputs_digest(results: Path, *options: object) -> str:
    """Checksum of all that a command reads.

    Args:
        results: folder with the rows.
        options: whatever else the outputs depend on.
    """
    parts = [code_digest().encode(), repr(options).encode()]
    for path in sorted([*results.glob("*.csv"), *results.glob("benchmarks/*.csv")]):
        parts += [path.name.encode(), path.read_bytes()]
    return digest(parts)


def kept(out: Path, command: str, inputs: str) -> Made | None:
    """What a command made of the same inputs, if all of it is there unaltered; else None.

    Args:
        out: folder in which the command makes its files.
        command: the command's name.
        inputs: the checksum from `inputs_digest`.
    """
    try:
        stamp = json.loads((out / CACHE / f"{command}.json").read_text())
        if stamp["inputs"] != inputs:
            return None
        files = {out / name: checksum for name, checksum in stamp["files"].items()}
        if any(file_digest(path) != checksum for path, checksum in files.items()):
            return None
        return Made(list(files), stamp["said"], stamp["missing"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # absent or damaged: all is made anew


def keep(out: Path, command: str, inputs: str, made: Made) -> None:
    """Write down what a command made of some inputs, for `kept`."""
    stamp = {
        "inputs": inputs,
        "files": {path.relative_to(out).as_posix(): file_digest(path) for path in made.files},
        "said": list(made.said),
        "missing": list(made.missing),
    }
    folder = make_directory(out / CACHE)
    write_text(folder / f"{command}.json", json.dumps(stamp, indent=1) + "\n")
