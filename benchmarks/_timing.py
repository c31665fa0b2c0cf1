"""Timing of rival implementations: interleaved in one run, median and ratios of pairs."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn

from codepath.run.config import RunConfig
from codepath.train import FitOptions
from codepath.train.graph import WARM_UP, Recorded
from codepath.train.precision import autocast

LITERAL_TURNS = 2


def precision_here(config: RunConfig, device: torch.device, asked: str = "auto") -> str:
    """The precision that a run of `config` trains in on the device."""
    options = FitOptions(precision=asked)
    return options.settled(device, 1, config.scale, config.train).precision


def forward_pass(module: nn.Module, x: Tensor, precision: str) -> Callable[[], None]:
    """A step of inference."""

    def step() -> None:
        module.eval()
        with torch.no_grad(), autocast(x.device, precision):
            module(x)

    return step


def interleaved(
    steps: dict[str, Callable[[], None]], repeats: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of `repeats` calls of each step after one warm-up, taken in turns.

    Every other turn goes backwards, so that what a step leaves in caches and allocator falls on
    each of the others. "literal" is many times slower, and takes part in LITERAL_TURNS turns at
    most.
    """
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(repeats + 1):
        order = list(steps.items())
        for name, step in order if repeat % 2 else reversed(order):
            if name == "literal" and repeat > LITERAL_TURNS:
                continue
            gc.collect()
            wait(device)
            started = time.perf_counter()
            step()
            wait(device)
            if repeat:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def launched_at_once(step: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """On CUDA the step as a graph, as in training; on the CPU the step itself.

    Without a graph the launching of kernels would be timed.
    """
    if device.type == "cpu":
        return step
    nothing = torch.zeros(1, device=device)

    def work() -> Tensor:
        step()
        return nothing

    recorded = Recorded(work, device)
    for _ in range(WARM_UP + 1):
        recorded()

    def replay() -> None:
        recorded()

    return replay


def speed_ratio(slow: list[float], fast: list[float]) -> float:
    """Throughput of `fast` as a multiple of that of `slow`: median over the common turns."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=False))


def wait(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_bytes(step: Callable[[], None], device: torch.device) -> int:
    """Most memory that `step` holds at once beyond what is held before it.

    CUDA: the allocator's peak. CPU: the allocations and frees that torch's profiler records.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    held = most = 0
    for event in sorted(_memory_events(profiler), key=lambda event: event[0]):
        held += event[1]
        most = max(most, held)
    return most


def _memory_events(profiler: Any) -> Iterator[tuple[int, int]]:
    """(time in nanoseconds, bytes): positive where allocated, negative where freed."""
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            yield event.start_ns(), event.nbytes()


VARIANTS = ("plain", "coded", "literal")


def compare(
    train: dict[str, Callable[[], None]],
    forward: dict[str, Callable[[], None]],
    repeats: int,
    device: torch.device,
) -> list[dict[str, Any]]:
    """A row for each variant and for training step, forward pass and peak memory of that step.

    `value` is in seconds (median over turns) or bytes. `coded_ratio` is the throughput (median over
    turns) or the memory of "coded", as a multiple of the variant's.
    """
    rows = []
    for what, steps in (("train", train), ("forward", forward)):
        at_once = {variant: launched_at_once(step, device) for variant, step in steps.items()}
        seconds = interleaved(at_once, repeats, device)
        for variant, values in seconds.items():
            rows.append(
                {
                    "what": what,
                    "variant": variant,
                    "value": statistics.median(values),
                    "coded_ratio": speed_ratio(values, seconds["coded"]),
                }
            )
    peak = {variant: peak_bytes(step, device) for variant, step in train.items()}
    for variant, held in peak.items():
        rows.append(
            {
                "what": "peak memory",
                "variant": variant,
                "value": held,
                "coded_ratio": peak["coded"] / held,
            }
        )
    return rows


def comparison_table(title: str) -> Table:
    """An empty table for `add_comparison`."""
    table = Table(title=title)
    for heading in ("", "what", *VARIANTS, "coded / plain", "coded / literal"):
        table.add_column(heading, justify="right" if heading in VARIANTS else "left", no_wrap=True)
    return table


def add_comparison(table: Table, name: str, rows: list[dict[str, Any]]) -> None:
    """A line for each of training step, forward pass and peak memory."""
    for what in dict.fromkeys(row["what"] for row in rows):
        here = {row["variant"]: row for row in rows if row["what"] == what}
        unit, scale = ("MiB", 2.0**-20) if what == "peak memory" else ("ms", 1000.0)
        values = [f"{scale * here[v]['value']:.1f} {unit}" if v in here else "" for v in VARIANTS]
        ratios = [f"{here[v]['coded_ratio']:.3f}" if v in here else "" for v in VARIANTS]
        table.add_row(name, what, *values, ratios[0], ratios[2])
        name = ""


def random_images(batch: int, channels: int, side: int, device: torch.device) -> Tensor:
    """Images (B, C, H, W) of normal noise, channels last."""
    images = torch.randn(batch, channels, side, side, device=device)
    return images.to(memory_format=torch.channels_last)
