"""Check a demo's rows against what the demo promises: `python tests/check_demo.py RESULTS`."""

from __future__ import annotations

import sys
from pathlib import Path

from codepath.store import read_rows


def main(results: Path) -> int:
    """Print every promise with the measured number; 1 where one is broken."""
    accuracy = read_rows(results, "accuracy").groupby("model")["value"].mean()
    decoders = read_rows(results, "decoders")
    last = decoders[decoders["block"] == decoders["block"].max()]["value"].mean()
    removal = read_rows(results, "removal")
    most = removal[removal["metric"] == "top1_active"]["x"].max()
    left = removal[removal["x"] == most].groupby("metric")["value"].mean()
    promises = {
        f"top-1 of coded {accuracy['coded']:.3f} >= 0.95": accuracy["coded"] >= 0.95,
        f"top-1 of plain {accuracy['baseline']:.3f} >= 0.95": accuracy["baseline"] >= 0.95,
        f"last early decoder {last:.3f} >= 0.90": last >= 0.90,
        f"{most:.0f} active paths removed {left['top1_active']:.3f} < inactive "
        f"{left['top1_inactive']:.3f}": left["top1_active"] < left["top1_inactive"],
    }
    for promise, kept in promises.items():
        print("kept  " if kept else "BROKEN", promise)
    return 0 if all(promises.values()) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
