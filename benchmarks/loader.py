"""Loading images: our torch and FFCV backends against a plain torch DataLoader.

CIFAR-10 with each recipe of the paper: the DataLoader has the same images in memory, timm's
RandAugment on Pillow, torchvision's crop and flip. JPEG images of ImageNet's sizes, made up: it
reads the same files with timm's training transform. It has as many worker processes as the others
have threads, and yields uint8 batches too. Parts, each with a file of rows in results/benchmarks/:

    --parts recipes  speed of all loaders, epochs interleaved in one run; first batch and memory in
                     fresh processes, with kernels and FFCV's file on disk (loader.csv; the default)
    --parts cores    speed of our loaders in processes that may use --cores 1 2 ... (loader_cores)
    --parts start    first batch with an empty folder of kernels, and again (loader_start)
    --parts memory   after each of --epochs epochs of photographs (loader_memory)
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks._rivals import (
    PHOTOGRAPHS,
    REFERENCE,
    Batches,
    loaders_here,
    loaders_of,
    make_loader,
    make_photographs,
    policy_of,
)
from benchmarks._rows import FOLDER, write_rows
from codepath.core.machine import available_cores
from codepath.core.provenance import SHIPPED

RECIPES = ("", "rand-m4-n3", "rand-m2-n1")
PARTS = ("recipes", "cores", "start", "memory")
SWEPT = ("rand-m4-n3", PHOTOGRAPHS)
"""The recipes of the parts other than recipes."""
PROBED_BATCHES = 40
"""Batches that a fresh process loads before its memory is read."""


def epoch_seconds(loaders: dict[str, Batches], turns: int) -> dict[str, list[float]]:
    """Seconds of `turns` epochs of each loader after one to warm up, taken in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in loaders}
    for turn in range(turns + 1):
        for name, loader in loaders.items():
            if hasattr(loader, "set_epoch"):
                loader.set_epoch(turn)
            started = time.perf_counter()
            batches = sum(1 for _ in loader)
            if batches != len(loader):
                raise RuntimeError(f"{name} gave {batches} batches, {len(loader)} expected")
            if turn:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def resident_mib() -> float:
    """Memory of this process and its children; what they share counts once. Linux alone."""
    try:
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        held = 0
        for pid in ("self", *children):
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            held += next(int(s.split()[1]) for s in rollup.splitlines() if s.startswith("Pss:"))
    except OSError:
        return float("nan")
    return held / 1024


def probe(
    loader: str, recipe: str, batch: int, folder: Path, more: int = PROBED_BATCHES
) -> dict[str, float]:
    """Seconds to the first batch, imports of the loader's packages included, and memory after
    some more."""
    started = time.perf_counter()
    source = make_loader(loader, recipe, batch, folder)
    batches = iter(source)
    next(batches)
    first = time.perf_counter() - started
    for _ in range(more):
        if next(batches, None) is None:
            batches = iter(source)
    return {"first_batch_seconds": first, "memory_mib": resident_mib()}


def speed(loader: str, recipe: str, batch: int, folder: Path, turns: int) -> dict[str, float]:
    """Images per second, the median of some epochs."""
    source = make_loader(loader, recipe, batch, folder)
    times = epoch_seconds({loader: source}, turns)[loader]
    return {"images_per_second": len(source) * batch / statistics.median(times)}


def memory(loader: str, batch: int, folder: Path, epochs: int) -> dict[str, float]:
    """Epoch, from 1 -> memory after it, while photographs are loaded."""
    source = make_loader(loader, PHOTOGRAPHS, batch, folder)
    held = {}
    for epoch in range(epochs):
        source.set_epoch(epoch)  # type: ignore[attr-defined]
        for _ in source:
            pass
        held[str(epoch + 1)] = resident_mib()
    return held


def fresh(
    task: str,
    loader: str,
    recipe: str,
    batch: int,
    folder: Path,
    number: int = 0,
    cores: int = 0,
    kernels: Path | None = None,
) -> dict[str, float]:
    """`probe`, its first batch alone (first), `speed` or `memory` in a process of its own.

    Args:
        task: which.
        loader, recipe, batch, folder: as for `make_loader`.
        number: turns or epochs.
        cores: that it may use; 0: as many as this process.
        kernels: folder of compiled kernels; None: the usual one.
    """
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.loader", "--batch", str(batch)),
            *("--child", task, loader, recipe, str(folder), str(number), str(cores)),
        ],
        cwd=SHIPPED,
        env=os.environ | ({"NUMBA_CACHE_DIR": str(kernels)} if kernels else {}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{loader} {recipe}: {done.stderr.strip()}")
    return json.loads(done.stdout.splitlines()[-1])


def child(arguments: list[str], batch: int) -> dict[str, float]:
    """What `fresh` asks of its process."""
    task, loader, recipe, name, number, cores = arguments
    folder = Path(name)
    if int(cores):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
    if task in ("probe", "first"):
        return probe(loader, recipe, batch, folder, PROBED_BATCHES if task == "probe" else 0)
    if task == "speed":
        return speed(loader, recipe, batch, folder, int(number))
    return memory(loader, batch, folder, int(number))


def ours() -> list[str]:
    """Our loaders that can run here."""
    return loaders_here()[1:]


def measure_cores(
    recipe: str, folder: Path, batch: int, turns: int, cores: list[int]
) -> list[dict[str, Any]]:
    """A row for each number of cores and loader: a thread a core."""
    rows = []
    for number in cores:
        for loader in ours():
            found = fresh("speed", loader, recipe, batch, folder, turns, number)
            row = {"recipe": recipe, "loader": loader, "cores": number}
            row |= {"workers": number, "turns": turns}
            rows.append(row | {key: round(value, 1) for key, value in found.items()})
    return rows


def measure_start(recipe: str, folder: Path, batch: int, probes: int) -> list[dict[str, Any]]:
    """Two rows for each loader: kernels to be compiled, and compiled by the process before."""
    rows = []
    for loader in ours():
        fresh("first", loader, recipe, batch, folder)  # FFCV's file is written
        found: dict[str, list[float]] = {"empty": [], "filled": []}
        for _ in range(probes):
            with tempfile.TemporaryDirectory() as kernels:
                for seconds in found.values():
                    made = fresh("first", loader, recipe, batch, folder, kernels=Path(kernels))
                    seconds.append(made["first_batch_seconds"])
        rows += [
            {
                "recipe": recipe,
                "loader": loader,
                "kernels": kernels,
                "first_batch_seconds": round(statistics.median(seconds), 3),
                "processes": probes,
            }
            for kernels, seconds in found.items()
        ]
    return rows


def measure_memory(folder: Path, batch: int, epochs: int) -> list[dict[str, Any]]:
    """A row for each loader and epoch of photographs."""
    return [
        {
            "recipe": PHOTOGRAPHS,
            "loader": loader,
            "epoch": int(epoch),
            "memory_mib": round(held, 1),
        }
        for loader in ours()
        for epoch, held in fresh("memory", loader, PHOTOGRAPHS, batch, folder, epochs).items()
    ]


def measure(recipe: str, folder: Path, batch: int, turns: int, probes: int) -> list[dict[str, Any]]:
    """A row for each loader over what lies in `folder`; medians over turns and fresh processes."""
    loaders = {name: make_loader(name, recipe, batch, folder) for name in loaders_of(recipe)}
    seconds = epoch_seconds(loaders, turns)
    counted = {loader: len(batches) * batch for loader, batches in loaders.items()}
    loaders.clear()  # the workers end: fresh processes have the machine to themselves
    rows = []
    for loader, times in seconds.items():
        found = [fresh("probe", loader, recipe, batch, folder) for _ in range(probes)]
        ratios = [a / b for a, b in zip(seconds[REFERENCE], times, strict=True)]
        rows.append(
            {
                "recipe": recipe or "none",
                "loader": loader,
                "policy": policy_of(loader, recipe) or "none",
                "images_per_second": round(counted[loader] / statistics.median(times), 1),
                "slowest": round(counted[loader] / max(times), 1),
                "fastest": round(counted[loader] / min(times), 1),
                "ratio": round(statistics.median(ratios), 3),
                **{key: round(statistics.median(one[key] for one in found), 3) for key in found[0]},
                "images": counted[loader],
                "turns": turns,
                "processes": probes,
            }
        )
    return rows


def save_arrays(images: NDArray[np.uint8], labels: NDArray[np.int64], folder: Path) -> None:
    """Put images in memory where `make_loader` looks for them."""
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", labels)


@contextmanager
def images_of(recipe: str, options: argparse.Namespace) -> Iterator[tuple[Path, str]]:
    """A folder for `make_loader`, while the context lasts, and its images in words."""
    from codepath.data import ArrayDataSet, load_data_set

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if recipe == PHOTOGRAPHS:
            make_photographs(folder, options.photographs)
            yield folder, "made-up JPEG photographs of 400 to 500 pixels a side"
        else:
            whole = load_data_set("cifar10", options.data)
            assert isinstance(whole, ArrayDataSet)
            kept = slice(options.images)
            save_arrays(whole.train.images[kept], whole.train.labels[kept], folder)
            yield folder, whole.source


def measured(part: str, recipe: str, folder: Path, options: argparse.Namespace) -> list[Any]:
    """The rows of a part over a recipe's images."""
    if part == "recipes":
        return measure(recipe, folder, options.batch, options.turns, options.probes)
    if part == "cores":
        return measure_cores(recipe, folder, options.batch, options.turns, options.cores)
    if part == "start":
        return measure_start(recipe, folder, options.batch, options.probes)
    return measure_memory(folder, options.batch, options.epochs)


SHOWN = {
    "recipes": {
        "policy": "",
        "images_per_second": ",.0f",
        "ratio": ".2f",
        "first_batch_seconds": ".2f",
        "memory_mib": ".0f",
    },
    "cores": {"cores": "", "images_per_second": ",.0f"},
    "start": {"kernels": "", "first_batch_seconds": ".2f"},
    "memory": {"epoch": "", "memory_mib": ".0f"},
}
"""Part -> its columns beside recipe and loader, and their formats."""
KEYS = {"recipes": (), "cores": ("cores",), "start": ("kernels",), "memory": ("epoch",)}
"""Part -> what tells its rows apart beside recipe, loader and batch."""


def main() -> None:
    """Print tables and write the rows."""
    every, cores = (*RECIPES, PHOTOGRAPHS), available_cores()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=["recipes"])
    parser.add_argument("--data", type=Path, help="CIFAR-10; default: CODEPATH_CIFAR10_IMAGES")
    parser.add_argument("--recipes", nargs="+", choices=every, help="default: the part's own")
    parser.add_argument("--images", type=int, default=20_000, help="of CIFAR's training split")
    parser.add_argument("--photographs", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--turns", type=int, default=4, help="epochs of each loader")
    parser.add_argument("--probes", type=int, default=2, help="fresh processes of each loader")
    parser.add_argument("--cores", nargs="+", type=int, default=list(range(1, cores + 1)))
    parser.add_argument("--epochs", type=int, default=20, help="of the part memory")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the CSV files")
    parser.add_argument("--child", nargs=6, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.child, options.batch)))
        return
    if not all(1 <= number <= cores for number in options.cores):
        parser.error(f"--cores: this process may use 1 to {cores}")

    console = Console(width=120)
    own = {"recipes": every, "memory": (PHOTOGRAPHS,)}
    rows: dict[str, list[Any]] = {part: [] for part in PARTS if part in options.parts}
    for recipe in every:
        wanted = [
            part
            for part in rows
            if recipe in own.get(part, SWEPT) and recipe in (options.recipes or every)
        ]
        if not wanted:
            continue
        with images_of(recipe, options) as (folder, source):
            settings = {"source": source, "batch": options.batch, "workers": cores}
            for part in wanted:
                with console.status(f"{part}: {recipe or 'no RandAugment'}"):
                    found = measured(part, recipe, folder, options)
                rows[part] += [settings | row for row in found]
                name = "loader" if part == "recipes" else f"loader_{part}"
                keys = ("recipe", "loader", *KEYS[part], "batch")
                path = write_rows(name, [settings | row for row in found], options.out, "", keys)
                console.print(f"wrote {path}")
    for part, lines in rows.items():
        if not lines:
            continue
        table = Table(title=f"{part}: batches of {options.batch}, at most {cores} workers")
        for heading in ("recipe", "loader"):
            table.add_column(heading, no_wrap=True)
        for heading in SHOWN[part]:
            table.add_column(heading.replace("_", " "), justify="right")
        for row in lines:
            cells = [format(row[key], form) for key, form in SHOWN[part].items()]
            table.add_row(row["recipe"], row["loader"], *cells)
        console.print(table)


if __name__ == "__main__":
    main()
