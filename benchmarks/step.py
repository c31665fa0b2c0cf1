"""What the ways of carrying out a training step give: whole steps of a recipe, as a run makes them.

launched: kernel by kernel; recorded: as one CUDA graph; aligned: recorded, with padded channels and
merged groups; compiled: aligned, through torch.compile, as `codepath run` trains them;
compiled+NAME: with a candidate of `codepath.train.candidates` (A+B: with both). On the CPU there
are no graphs. The precision is what a run would train in here.

Coded and plain network take turns within a way. A way's rows are written as soon as it is timed,
to results/benchmarks/step-DEVICE.csv; --profile adds which kernels take the time of the last way's
step, to profile-DEVICE.csv. A step has the images that one GPU takes at once: the recipe's batch,
but on ImageNet the 128 of one of its 8 processes.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
import traceback
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import _profile
from benchmarks._rows import FOLDER, write_rows
from benchmarks._timing import interleaved, precision_here, speed_ratio, wait
from codepath.core.errors import UserError
from codepath.core.machine import keep_freed_memory
from codepath.core.signals import InterruptedRun, Interruption
from codepath.data import Batch, Normalize
from codepath.experiments import find_experiment
from codepath.run.config import STATISTICS, RunConfig
from codepath.store import BENCHMARK_SETTINGS
from codepath.train import World, choose_device
from codepath.train.candidates import check_candidates
from codepath.train.distributed import Placement
from codepath.train.environment import choose_repeatable_algorithms, device_name
from codepath.train.graph import WARM_UP
from codepath.train.loop import Trainer

NETWORKS = {"C10": "cifar10", "C100": "cifar100", "ImageNet": "imagenet"}
"""Network -> data set, whose experiment of Table 2 has the recipe."""
AT_ONCE = {"ImageNet": 128}
"""Images of a step where they are not the recipe's batch."""
WAYS: dict[str, dict[str, bool]] = {
    "launched": {"recorded": False, "aligned": False, "compiled": False},
    "recorded": {"recorded": True, "aligned": False, "compiled": False},
    "aligned": {"recorded": True, "aligned": True, "compiled": False},
    "compiled": {"recorded": True, "aligned": True, "compiled": True},
}


class Way(NamedTuple):
    """How a step is carried out."""

    name: str
    options: dict[str, Any]
    """Arguments of `Trainer`."""


def ways_of(names: list[str], candidates: list[str], device: torch.device) -> list[Way]:
    """The named ways, and the last of them with each of the candidates."""
    plain = [name for name in names if device.type == "cuda" or name != "recorded"]
    found = [Way(name, dict(WAYS[name])) for name in plain]
    for joined in candidates:
        chosen = tuple(joined.split("+"))
        check_candidates(chosen, compiled=WAYS[plain[-1]]["compiled"])
        if device.type == "cpu" and not {"kernels", "statistics"}.isdisjoint(chosen):
            raise UserError(f"the candidate {joined} needs a GPU: without one it is the plain way")
        options = {**WAYS[plain[-1]], "candidates": chosen}
        found.append(Way(f"{plain[-1]}+{joined}", options))
    return found


def random_batch(config: RunConfig, side: int, size: int) -> Batch:
    """Random images, as a recipe's loader gives them."""
    images = torch.randint(0, 256, (size, side, side, config.model.in_chans), dtype=torch.uint8)
    labels = torch.randint(config.model.num_classes, (size,))
    return Batch(images.permute(0, 3, 1, 2), labels, torch.arange(size))


class Steps:
    """Training steps of one configuration in one way, warmed up."""

    def __init__(
        self, config: RunConfig, batch: Batch, way: Way, device: torch.device, **options: Any
    ) -> None:
        mean, std = STATISTICS.get(config.data.source, ((0.5,), (0.25,)))
        self._normalize = Normalize(mean, std).to(device)
        self._batch = batch
        cuda = device.type == "cuda"
        held = 0
        if cuda:
            torch.cuda.reset_peak_memory_stats(device)
            held = torch.cuda.memory_allocated(device)
        self._trainer = Trainer(
            config,
            World(Placement(), device),
            steps_per_epoch=100,
            device_batch=len(batch.labels),
            precision=precision_here(config, device),
            **way.options | options,
        )
        self.make(WARM_UP + 2 if cuda else 1)
        wait(device)
        self.peak_bytes: int | str = torch.cuda.max_memory_allocated(device) - held if cuda else ""

    def make(self, steps: int) -> None:
        """Train for some steps on the same batch."""
        for _ in range(steps):
            self._trainer.train_step(self._batch, 0, self._normalize)


def measure(
    configs: list[RunConfig], batch: Batch, way: Way, turns: int, steps: int, device: torch.device
) -> list[dict[str, Any]]:
    """Time a way; returns a row for each configuration.

    A row has the seconds of a step (median over turns), images a second and peak memory. The coded
    network's `coded_ratio` is its throughput as a multiple of the plain network's.
    """
    made = {config.model_role: Steps(config, batch, way, device) for config in configs}
    work = {role: partial(one.make, steps) for role, one in made.items()}
    seconds = interleaved(work, turns, device)
    rows = []
    for role, times in seconds.items():
        step = statistics.median(times) / steps
        ratio = ""
        if role == "coded" and "baseline" in seconds:
            ratio = speed_ratio(seconds["baseline"], times)
        rows.append(
            {
                "model": role,
                "way": way.name,
                "value": step,
                "images_per_second": len(batch.labels) / step,
                "peak_bytes": made[role].peak_bytes,
                "coded_ratio": ratio,
            }
        )
    return rows


def free(device: torch.device) -> None:
    """Give back what the steps of a way held, compiled code too."""
    torch._dynamo.reset()  # else the next ways count as recompilations of the same function
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def profiled(
    configs: list[RunConfig], batch: Batch, way: Way, device: torch.device
) -> list[dict[str, Any]]:
    """Which kernels take the time of a step in one way: a row for each kernel.

    The kernels are launched one by one, so that they have names.
    """
    rows = []
    for config in configs:
        steps = Steps(config, batch, way, device, recorded=False)
        found = _profile.kernels(partial(steps.make, _profile.STEPS), device)
        rows += [{"model": config.model_role, "way": way.name, **row} for row in found]
        del steps
        free(device)
    return rows


def options_of() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    roles = ("coded", "baseline")
    parser.add_argument("--roles", nargs="+", choices=roles, default=list(roles))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument(
        "--candidates", nargs="+", default=[], metavar="NAME", help="with the last of --ways"
    )
    parser.add_argument("--images", type=int, default=0, help="of a step; 0: see above")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5, help="of a turn")
    parser.add_argument("--profile", action="store_true", help="name the kernels of the last way")
    parser.add_argument("--only-profile", action="store_true", help="name them, and time no way")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the CSV files")
    return parser.parse_args()


def main() -> None:
    """Time way after way, write its rows, and print a table at the end."""
    options, console = options_of(), Console(width=120)
    device = choose_device()
    ways = ways_of(options.ways, options.candidates, device)
    if device.type == "cuda":
        choose_repeatable_algorithms()
    else:
        keep_freed_memory()
    table = Table(title=f"Training steps of Table 2's recipes, {device_name(device)}")
    for heading in ("", "way", "step", "images a second", f"times {ways[0].name}", "coded / plain",
                    "peak memory"):  # fmt: skip
        table.add_column(heading, no_wrap=True)
    failed: list[str] = []
    with Interruption():
        for network in options.networks:
            planned = find_experiment(f"table2-{NETWORKS[network]}").runs("paper", 0)
            configs = [config for config in planned if config.model_role in options.roles]
            size = options.images or AT_ONCE.get(network, configs[0].train.batch_size)
            batch = random_batch(configs[0], configs[0].data.crop or 32, size)
            settings = {
                "network": network,
                "precision": precision_here(configs[0], device),
                "batch": size,
                "torch": torch.__version__,
            }
            first: dict[str, float] = {}
            for way in () if options.only_profile else ways:
                began = time.monotonic()
                try:
                    rows = measure(configs, batch, way, options.turns, options.steps, device)
                except InterruptedRun as stop:
                    raise InterruptedRun(
                        f"interrupted in {network} {way.name}: the ways before it are kept in "
                        f"{options.out}",
                        stop.signal_number,
                    ) from None
                except Exception as error:  # of memory or a compiler: other ways may work
                    traceback.print_exc()
                    failed.append(f"{network} {way.name}")
                    why = (str(error).splitlines() or [type(error).__name__])[0]
                    console.print(f"{failed[-1]} fails: {why}", highlight=False, markup=False)
                    continue
                finally:
                    free(device)
                for row in rows:
                    first.setdefault(row["model"], row["value"])
                    row["speed_up"] = first[row["model"]] / row["value"]
                    add_line(table, network, row)
                path = write("step", [settings | row for row in rows], options.out, device)
                took = time.monotonic() - began
                console.print(f"{network} {way.name}: {took:.0f} s, in {path}", highlight=False)
            if options.profile or options.only_profile:
                rows = profiled(configs, batch, ways[-1], device)
                path = write("profile", [settings | row for row in rows], options.out, device)
                console.print(f"{network}: the kernels of {ways[-1].name} are in {path}")
    if table.row_count:
        console.print(table)
    if failed:
        raise SystemExit(f"without rows: {', '.join(failed)}")


def write(name: str, rows: list[dict[str, Any]], folder: Path, device: torch.device) -> Path:
    """Put rows into NAME-DEVICE.csv in place of earlier ones of the same settings."""
    settings = BENCHMARK_SETTINGS[name]
    return write_rows(f"{name}-{device.type}", rows, folder, device_name(device), settings)


def add_line(table: Table, network: str, row: dict[str, Any]) -> None:
    """Add a row to the printed table."""
    ratio, peak = row["coded_ratio"], row["peak_bytes"]
    table.add_row(
        f"{network} {row['model']}",
        row["way"],
        f"{1000 * row['value']:.2f} ms",
        f"{row['images_per_second']:,.0f}",
        f"{row['speed_up']:.2f}",
        f"{ratio:.3f}" if ratio != "" else "",
        f"{peak / 2**20:,.0f} MiB" if peak != "" else "",
    )


if __name__ == "__main__":
    main()
