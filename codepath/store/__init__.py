"""Tidy rows in, tidy frames out (pandas; no torch)."""

from codepath.store.schema import COLUMNS, KINDS, ON_REQUEST, Measurement, Provenance
from codepath.store.tables import append_rows, collect, read_rows, rows_of

__all__ = [
    "COLUMNS",
    "KINDS",
    "ON_REQUEST",
    "Measurement",
    "Provenance",
    "append_rows",
    "collect",
    "read_rows",
    "rows_of",
]
