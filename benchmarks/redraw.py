"""How long the paper takes from its rows: figures, tables, comparisons, verdicts and the report.

Three times in turn: from nothing, with nothing changed, and after one run's rows were added, each
as `make figures tables compare verdict report` does it. Every turn begins with an empty folder, and
all of them must end with the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from rich.console import Console
from rich.table import Table

from benchmarks._rows import FOLDER, write_rows
from codepath.core.errors import UserError
from codepath.core.machine import available_cores
from codepath.core.provenance import SHIPPED
from codepath.paper.upkeep import CACHE
from codepath.store import KINDS, RUNS

COMMANDS = (("figures", "report"), ("tables", "compare", "verdict"))
"""The commands of `make figures tables compare verdict report`.

The groups run side by side, and the commands of a group one after the other.
"""
STATES = ("from nothing", "nothing changed", "one run added")


class Spent(NamedTuple):
    """Time of some commands, in seconds."""

    wall: float
    processor: float


def redraw(results: Path, out: Path) -> Spent:
    """Call the five commands as make does; UserError where one fails."""

    def call(commands: tuple[str, ...]) -> None:
        for command in commands:
            done = subprocess.run(
                [sys.executable, "-m", "codepath.cli", command, "--results", str(results),
                 "--out", str(out)],
                cwd=SHIPPED, capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode:
                raise UserError(f"codepath {command}: {done.stderr.strip().splitlines()[-1]}")

    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with ThreadPoolExecutor(len(COMMANDS)) as lanes:
        list(lanes.map(call, COMMANDS))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(time.perf_counter() - started, processor)


def largest_run(results: Path) -> str:
    """The run with the most rows."""
    rows = pd.concat(pd.read_csv(path)["run"] for path in _tables(results))
    runs = pd.read_csv(results / f"{RUNS}.csv").set_index("run")["run_id"]
    return str(rows.map(runs).value_counts().idxmax())


def _tables(results: Path) -> list[Path]:
    return [path for kind in KINDS if (path := results / f"{kind}.csv").exists()]


def take_out(results: Path, run_id: str) -> dict[Path, str]:
    """Take a run's rows out of all tables; returns what `put_back` puts back."""
    runs = results / f"{RUNS}.csv"
    frame = pd.read_csv(runs)
    keys = set(frame[frame["run_id"] == run_id]["run"])
    if not keys:
        raise UserError(f"no run {run_id} in {runs}")
    taken = {}
    for path in (runs, *_tables(results)):
        head, *lines = path.read_text().splitlines(keepends=True)
        mine = [line.partition(",")[0] in keys for line in lines]
        kept = [line for line, is_mine in zip(lines, mine, strict=True) if not is_mine]
        taken[path] = "".join(line for line, is_mine in zip(lines, mine, strict=True) if is_mine)
        path.write_text("".join([head, *kept]))
    return taken


def put_back(taken: dict[Path, str]) -> None:
    """Append the rows that were taken out."""
    for path, lines in taken.items():
        with path.open("a") as file:
            file.write(lines)


def contents(out: Path, place: Path) -> str:
    """A checksum of all that was made.

    `place` is left out of the texts, whose commands name it.
    """
    found = hashlib.sha256()
    for path in sorted(out.rglob("*")):
        if path.is_file() and CACHE not in path.parts:
            content = path.read_bytes().replace(bytes(place), b"")
            found.update(f"{path.relative_to(out)} ".encode() + content)
    return found.hexdigest()


def main() -> None:
    """Print the table and write results/benchmarks/redraw.csv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--run", default="", help="run that is added; default: that of most rows")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the CSV file")
    options = parser.parse_args()
    console = Console(width=100)
    added = options.run or largest_run(options.results)
    spent: dict[str, list[Spent]] = {state: [] for state in STATES}
    made = set()
    for turn in range(options.turns):
        with tempfile.TemporaryDirectory() as name:
            results, out = Path(name) / "results", Path(name) / "paper"
            shutil.copytree(options.results, results)
            taken = take_out(results, added)
            for state in STATES:
                if state == "one run added":
                    put_back(taken)
                with console.status(f"turn {turn + 1} of {options.turns}: {state}"):
                    spent[state].append(redraw(results, out))
            made.add(contents(out, Path(name)))
    if len(made) > 1:
        raise UserError("the same rows gave different bytes")
    runs = len(pd.read_csv(options.results / f"{RUNS}.csv"))
    numbers = sum(len(pd.read_csv(path)) for path in _tables(options.results))
    cores = available_cores()
    table = Table(
        title=f"The paper from {numbers:,} rows, {cores} cores, median of {options.turns} turns; "
        f"added: {added}"
    )
    for heading in ("", "seconds", "least", "most", "processor seconds"):
        table.add_column(heading, justify="right" if heading else "left")
    rows = []
    for state in STATES:
        walls = [one.wall for one in spent[state]]
        row = {
            "what": state,
            "cores": cores,
            "turns": options.turns,
            "runs": runs,
            "rows": numbers,
            "value": round(statistics.median(walls), 2),
            "least": round(min(walls), 2),
            "most": round(max(walls), 2),
            "processor_seconds": round(statistics.median(s.processor for s in spent[state]), 2),
        }
        rows.append(row)
        table.add_row(state, *(f"{row[key]:.2f}" for key in ("value", "least", "most",
                      "processor_seconds")))  # fmt: skip
    console.print(table)
    console.print(f"wrote {write_rows('redraw', rows, options.out, '', ('what', 'cores'))}")


if __name__ == "__main__":
    main()
