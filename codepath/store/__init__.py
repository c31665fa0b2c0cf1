"""Writing tidy rows, and reading them as tidy frames (pandas; no torch)."""

from codepath.store.benchmarks import check_benchmark, put_benchmark, read_benchmark
from codepath.store.schema import (
    ALL,
    BENCHMARK_SETTINGS,
    DRAWN,
    KINDS,
    ON_REQUEST,
    Measurement,
    Provenance,
)
from codepath.store.tables import (
    RUNS,
    Rows,
    append_rows,
    collect,
    read_rows,
    replace_rows,
    rows_of,
)

__all__ = [
    "ALL",
    "BENCHMARK_SETTINGS",
    "DRAWN",
    "KINDS",
    "ON_REQUEST",
    "RUNS",
    "Measurement",
    "Provenance",
    "Rows",
    "append_rows",
    "check_benchmark",
    "collect",
    "put_benchmark",
    "read_benchmark",
    "read_rows",
    "replace_rows",
    "rows_of",
]
