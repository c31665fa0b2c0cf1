"""Wall-clock time of several modules on the same images, in turns."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

WARM_UPS = 3


class Latency(NamedTuple):
    """Seconds of one call."""

    p50: float
    p95: float
    turns: int
    ratio: float
    """Median over the turns of this call's seconds / the first module's in the same turn."""


@torch.inference_mode()
def interleaved_latency(
    modules: Mapping[str, Callable[[Tensor], object]],
    batches: list[Tensor],
    turns: int,
) -> dict[str, Latency]:
    """Time every module on every turn's batch; the order is reversed from turn to turn.

    Args:
        modules: name -> module in evaluation mode; ratios are to the first.
        batches: inputs, taken in turn; (B, C, H, W) on the modules' device.
        turns: number of turns, after WARM_UPS turns that do not count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in modules}
    gc.collect()
    for turn in range(-WARM_UPS, turns):
        x = batches[turn % len(batches)]
        order = list(modules.items())
        for name, module in order if turn % 2 else reversed(order):
            _wait(x.device)
            started = time.perf_counter()
            module(x)
            _wait(x.device)
            if turn >= 0:
                seconds[name].append(time.perf_counter() - started)
    first = np.array(next(iter(seconds.values())))
    return {
        name: Latency(
            float(np.median(found)),
            float(np.quantile(found, 0.95)),
            turns,
            float(np.median(np.array(found) / first)),
        )
        for name, found in seconds.items()
    }


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def layout(module: nn.Module) -> str:
    """Threads and memory format in words."""
    weights = [p for p in module.parameters() if p.ndim == 4 and max(p.shape[2:]) > 1]
    last = all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)
    return f"{torch.get_num_threads()} threads, {'channels last' if last else 'contiguous'}"
