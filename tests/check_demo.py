"""Check a demo's rows against what the demo promises: `python tests/check_demo.py RESULTS`."""

from __future__ import annotations

import sys
from pathlib import Path

from codepath.store import read_rows


def main(results: Path) -> int:
    """Print every promise with the measured number; 1 where one is broken."""
    accuracy = read_rows(results, "accuracy").groupby("model")["value"].mean()
    decoders = read_rows(results, "decoders")
    decoders = decoders[decoders["decoder"] == "eq7"]
    last = decoders[decoders["block"] == decoders["block"].max()]["value"].mean()
    removal = read_rows(results, "removal")
    most = removal[removal["removed_from"] == "active"]["removed"].max()
    left = removal[removal["removed"] == most].groupby("removed_from")["value"].mean()
    promises = {
        f"top-1 of coded {accuracy['coded']:.3f} >= 0.95": accuracy["coded"] >= 0.95,
        f"top-1 of plain {accuracy['baseline']:.3f} >= 0.95": accuracy["baseline"] >= 0.95,
        f"last early decoder {last:.3f} >= 0.90": last >= 0.90,
        f"{most} active paths removed {left['active']:.3f} < inactive {left['inactive']:.3f}": (
            left["active"] < left["inactive"]
        ),
    }
    for promise, kept in promises.items():
        print("kept  " if kept else "BROKEN", promise)
    return 0 if all(promises.values()) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
