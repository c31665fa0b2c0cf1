"""How long the page of `codepath explore` takes to answer: its start, and an image on one thread.

The start is a process of its own, from the command to the line with the address. An image's time is
from the file's bytes to the HTML of all its paths, decisions and classifiers' answers, without the
browser and the way there.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console

from benchmarks._rows import FOLDER, write_rows
from codepath.core.errors import UserError
from codepath.core.provenance import SHIPPED
from codepath.explore.page import Page
from codepath.explore.samples import samples
from codepath.models.shipped import BEST
from codepath.parts.explanation import Explainer
from codepath.parts.trained_run import find_run


def start() -> float:
    """Seconds from the command to the line with the page's address."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        server = subprocess.Popen(
            [sys.executable, "-m", "codepath.cli", "explore"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(SHIPPED), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout is not None
        line = server.stdout.readline()
        seconds = time.perf_counter() - began
        server.kill()
        server.wait()
    if not line.startswith("http"):
        raise UserError("codepath explore did not start: call it by itself to see why")
    return seconds


def main() -> None:
    """Print the medians and write results/benchmarks/explore.csv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=BEST, help="run or network that comes along")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the CSV file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    page = Page(Explainer(find_run(options.model)), options.model)
    everything = [list(range(page.explainer.model.paths))] * len(page.coded)
    images: list[float] = []
    for turn in range(options.turns + 1):
        for sample in samples():
            began = time.perf_counter()
            page.show(page.photo(sample.path.read_bytes(), sample.path.name, None), *everything)
            if turn:  # the first turn warms up
                images.append(time.perf_counter() - began)
    rows = []
    for what, seconds in (("image", images), ("start", [start() for _ in range(options.turns)])):
        value = statistics.median(seconds)
        Console().print(f"{what}: {value:.3f} s, {min(seconds):.3f} to {max(seconds):.3f}")
        rows.append(
            {
                "model": options.model,
                "what": what,
                "value": round(value, 4),
                "least": round(min(seconds), 4),
                "most": round(max(seconds), 4),
                "n": len(seconds),
                "threads": 1,
            }
        )
    write_rows("explore", rows, options.out, settings=("model", "what"))


if __name__ == "__main__":
    main()
