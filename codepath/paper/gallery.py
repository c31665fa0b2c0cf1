"""Keeps what was drawn from which rows, in OUT/.drawn/pictures.json.

This module uses the standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from codepath.core.files import write_text
from codepath.paper.upkeep import CACHE, file_digest

FILES, PAGE = ("pdf", "png", "svg"), ("svg",)
"""Formats that `codepath figures` makes, and those that the report needs. SVG is only cached."""


@dataclass(frozen=True)
class Entry:
    """A picture that was drawn."""

    name: str
    item: str
    caption: str
    run_ids: tuple[str, ...]
    broad: bool
    """Whether it is broader than a column."""
    on_page: bool
    """Whether the report shows it."""
    fingerprint: str
    """Checksum of all that the picture is a function of."""
    checksums: dict[str, str]
    """Format -> SHA-256 of the file."""


class Gallery:
    """The pictures' files in a folder, and what they were drawn from.

    Args:
        out: the folder; figures/ below it holds the files for people.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.cache = out, out / CACHE
        self.index = self.cache / "pictures.json"
        self.entries: dict[str, Entry] = {}
        self.complete: tuple[str, list[str]] = ("", [])
        """Checksum of the inputs whose pictures are all here, and the pictures' names in order."""
        try:
            kept = json.loads(self.index.read_text())
            for one in kept["entries"]:
                self.entries[one["name"]] = Entry(**one | {"run_ids": tuple(one["run_ids"])})
            self.complete = kept["inputs"], [str(name) for name in kept["order"]]
        except (OSError, ValueError, KeyError, TypeError):
            self.entries = {}  # absent or damaged: all is drawn anew

    def path(self, name: str, suffix: str) -> Path:
        """Path of a picture's file in one format."""
        return (self.cache if suffix == "svg" else self.out / "figures") / f"{name}.{suffix}"

    def holds(self, name: str, fingerprint: str, suffixes: Sequence[str]) -> bool:
        """Whether a picture's files are there unaltered and were drawn with this fingerprint."""
        entry = self.entries.get(name)
        return (
            entry is not None
            and entry.fingerprint == fingerprint
            and all(
                entry.checksums.get(suffix) == file_digest(self.path(name, suffix))
                for suffix in suffixes
            )
        )

    def page_of(self, inputs: str) -> list[Entry] | None:
        """The report's pictures for these inputs, if all of them are here unaltered; else None."""
        known, order = self.complete
        entries = [self.entries[name] for name in order if name in self.entries]
        if known != inputs or len(entries) < len(order):
            return None
        shown = [entry for entry in entries if entry.on_page]
        there = all(self.holds(entry.name, entry.fingerprint, PAGE) for entry in shown)
        return shown if there else None

    def add(self, entry: Entry) -> None:
        """Write a picture down at once, so that an interrupted command keeps it."""
        self.entries[entry.name] = entry
        self._save()

    def finish(self, inputs: str, order: Iterable[str]) -> None:
        """Write down that all pictures of some inputs are here, and their order."""
        self.complete = inputs, list(order)
        self._save()

    def _save(self) -> None:
        inputs, order = self.complete
        entries = [asdict(entry) for entry in self.entries.values()]
        text = json.dumps({"inputs": inputs, "order": order, "entries": entries}, indent=1)
        write_text(self.index, text + "\n")
