"""A decoding study without training: error of the nearest codeword under growing noise.

Energies are a class's codeword plus normal noise; the paper's schemes and the best ones get the
same noise. `make figures` draws the outcome.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from rich.progress import track

from benchmarks._rows import FOLDER, write_rows
from codepath.codes import FAMILIES, find_scheme
from codepath.codes.decoding import decoding_error

SETS = ((10, 10, 5), (10, 10, 3), (100, 20, 8), (100, 20, 4), (1000, 32, 16), (1000, 32, 8))
NOISE = np.round(np.arange(0.2, 1.01, 0.05), 2)


def main() -> None:
    """Write results/benchmarks/decoding.csv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=200_000, help="per scheme and noise")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the CSV file")
    options = parser.parse_args()
    rows = []
    for size in track(SETS, "decoding"):
        draws = max(1, options.decisions // size[0])
        for family in FAMILIES:
            scheme = find_scheme(*size, family=family)
            rows += [
                {
                    "classes": size[0],
                    "paths": size[1],
                    "active": size[2],
                    "family": family,
                    "distance": scheme.min_distance,
                    "seed": options.seed,
                    "noise": noise,
                    "error": decoding_error(scheme, noise, draws, options.seed),
                    "n": draws * size[0],
                }
                for noise in NOISE
            ]
    print(f"wrote {write_rows('decoding', rows, options.out)}")


if __name__ == "__main__":
    main()
