"""A coding scheme: the K x N binary table of a coded block."""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from codepath.core.errors import UserError
from codepath.core.files import write_text


@dataclass(frozen=True, eq=False)
class CodingScheme:
    """A constant-weight binary code with one codeword per class.

    Row k of `table` is the codeword of class k: a 1 in column n gives path n to the class.
    Raises UserError where the table is not a K x N table of zeros and ones with K >= 2,
    equal weight 0 < Nact < N in every row, and distinct rows, and for class names that are not one
    line for each row.
    """

    table: NDArray[np.uint8]
    """(K, N), zeros and ones, read-only."""
    class_names: tuple[str, ...] = ()

    def __init__(self, table: ArrayLike, class_names: Sequence[str] = ()) -> None:
        array = np.asarray(table)
        if array.ndim != 2 or len(array) < 2:
            raise UserError(f"a scheme is a K x N table with K >= 2, got shape {array.shape}")
        bad = np.argwhere((array != 0) & (array != 1))
        if len(bad):
            row, column = bad[0]
            raise UserError(
                f"scheme row {row}, path {column}: {array[row, column]!r} is neither 0 nor 1"
            )
        array = np.array(array, dtype=np.uint8, order="C")
        array.setflags(write=False)
        weights = array.sum(1)
        uneven = np.flatnonzero(weights != weights[0])
        if len(uneven):
            raise UserError(
                f"scheme row {uneven[0]} has {weights[uneven[0]]} ones, row 0 has {weights[0]}: "
                "every class needs the same number of paths"
            )
        if not 0 < weights[0] < array.shape[1]:
            raise UserError(
                f"scheme rows have {weights[0]} ones of {array.shape[1]}: "
                "a coded block needs at least one active and one inactive path per class"
            )
        _, first, inverse = np.unique(array, axis=0, return_index=True, return_inverse=True)
        original = first[inverse.ravel()]
        repeated = np.flatnonzero(original != np.arange(len(array)))
        if len(repeated):
            row = repeated[0]
            raise UserError(f"scheme rows {original[row]} and {row} are the same codeword")
        if class_names and len(class_names) != len(array):
            raise UserError(f"{len(class_names)} class names for {len(array)} codewords")
        for name in class_names:
            if "\n" in name or "\r" in name:
                raise UserError(f"the class name {name!r} has more than one line: shorten it")
        object.__setattr__(self, "table", array)
        object.__setattr__(self, "class_names", tuple(class_names))

    @property
    def classes(self) -> int:
        """K."""
        return int(self.table.shape[0])

    @property
    def paths(self) -> int:
        """N."""
        return int(self.table.shape[1])

    @property
    def active(self) -> int:
        """Nact, the ones per codeword."""
        return int(self.table[0].sum())

    @property
    def ratio(self) -> float:
        """r = Nact / N."""
        return self.active / self.paths

    @property
    def column_sums(self) -> NDArray[np.int64]:
        """(N,) number of classes that use each path."""
        return self.table.sum(0, dtype=np.int64)

    @functools.cached_property
    def distance_counts(self) -> NDArray[np.int64]:
        """(N + 1,) number of unordered pairs of codewords at each Hamming distance."""
        words = self.table.astype(np.float32)
        counts = np.zeros(self.paths + 1, dtype=np.int64)
        for start in range(0, self.classes, 1024):
            overlap = words[start : start + 1024] @ words.T
            distance = 2 * (self.active - overlap.astype(np.int64))
            above = np.triu(np.ones(distance.shape, dtype=bool), k=start + 1)
            counts += np.bincount(distance[above], minlength=self.paths + 1)
        return counts

    @functools.cached_property
    def min_distance(self) -> int:
        """d, the smallest Hamming distance of two codewords."""
        return int(np.flatnonzero(self.distance_counts)[0])

    @property
    def pairs_at_min_distance(self) -> int:
        """Unordered pairs of codewords at distance d."""
        return int(self.distance_counts[self.min_distance])

    def to_csv(self) -> str:
        """Columns class, codeword; a codeword is N characters 0 or 1."""
        names = self.class_names or [str(k) for k in range(self.classes)]
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["class", "codeword"])
        writer.writerows(
            (name, "".join(map(str, row))) for name, row in zip(names, self.table, strict=True)
        )
        return out.getvalue()

    def save(self, path: Path) -> None:
        """Write `to_csv()` to `path` atomically."""
        write_text(path, self.to_csv())

    @classmethod
    def from_csv(cls, path: Path) -> CodingScheme:
        """Read what `save` writes; a bad line raises UserError with its number."""
        try:
            text = path.read_bytes().decode("utf-8-sig")
            reader = csv.reader(io.StringIO(text, newline=""), strict=True)
            rows = [(reader.line_num, row) for row in reader]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"cannot read the scheme {path}: {error}") from None
        if not rows or rows[0][1] != ["class", "codeword"]:
            raise UserError(f"{path}: line 1 must be the header 'class,codeword'")
        names: list[str] = []
        table: list[list[int]] = []
        for number, row in rows[1:]:
            if len(row) != 2 or not row[1] or set(row[1]) - {"0", "1"}:
                raise UserError(f"{path}: line {number}: expected a class and a word of 0 and 1")
            if table and len(row[1]) != len(table[0]):
                raise UserError(
                    f"{path}: line {number}: {len(row[1])} paths, line 2 has {len(table[0])}"
                )
            names.append(row[0])
            table.append([int(bit) for bit in row[1]])
        try:
            return cls(table, names)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
