"""Our design of coding schemes against the paper's Algorithm 1, same parameters, one run.

Distance, column sums, pairs at the distance and seconds, for the parameters of the paper's
networks and its ImageNet variants. Algorithm 1 is given the distance that the paper used.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks._rows import FOLDER, write_rows
from codepath.codes import CodingScheme, fewest_pairs, largest_distance
from codepath.codes.design import design_scheme
from codepath.codes.greedy import paper_scheme

# K, N, Nact and the minimum distance of the paper's own scheme.
SETS = {
    (10, 10, 3): 4,
    (10, 10, 5): 4,
    (100, 20, 4): 4,
    (100, 20, 8): 8,
    (1000, 32, 4): 4,
    (1000, 32, 8): 6,
    (1000, 32, 16): 10,
    (1000, 32, 24): 6,
}


def main() -> None:
    """Print the table and write results/benchmarks/codes.csv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the CSV file")
    options = parser.parse_args()
    console = Console()
    with console.status("compiling"):
        design_scheme(12, 8, 3)
        paper_scheme(10, 8, 3, 2)
    table = Table(title="Coding schemes: the paper's Algorithm 1, and ours")
    for heading in ("K, N, Nact", "algorithm", "d", "at most", "columns", "pairs", "seconds"):
        table.add_column(heading, justify="left" if heading == "algorithm" else "right")
    rows = []
    for size, distance in SETS.items():
        for algorithm in ("paper", "ours"):
            with console.status(f"{size} {algorithm}"):
                started = time.perf_counter()
                scheme: CodingScheme = (
                    paper_scheme(*size, distance, seed=options.seed)
                    if algorithm == "paper"
                    else design_scheme(*size, seed=options.seed)
                )
                seconds = time.perf_counter() - started
            sums = scheme.column_sums
            row = {
                "classes": size[0],
                "paths": size[1],
                "active": size[2],
                "algorithm": algorithm,
                "seed": options.seed,
                "distance": scheme.min_distance,
                "largest_distance": largest_distance(*size),
                "least_column": sums.min(),
                "most_column": sums.max(),
                "pairs": scheme.pairs_at_min_distance,
                "fewest_pairs": fewest_pairs(*size, scheme.min_distance),
                "seconds": round(seconds, 3),
            }
            rows.append(row)
            table.add_row(
                ", ".join(map(str, size)), algorithm, str(row["distance"]),
                str(row["largest_distance"]), f"{sums.min()}..{sums.max()}",
                f"{row['pairs']:,} (>= {row['fewest_pairs']:,})", f"{seconds:.2f}",
            )  # fmt: skip
    console.print(table)
    console.print(f"wrote {write_rows('codes', rows, options.out)}")


if __name__ == "__main__":
    main()
