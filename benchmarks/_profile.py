"""Which kernels take the time of a step, by torch's profiler."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks._timing import wait

STEPS = 3
"""How many steps are profiled."""
LEAST_SHARE = 0.001
"""Kernels with a smaller share of the time are added up in one row, "rest"."""
_NAME = 200
"""How many characters of a kernel's name are kept."""
_GROUPS = (
    ("ours", r"^(moments|mix|statistics)_kernel"),
    ("compiled reduction", r"^triton_(red|per)"),
    ("compiled pointwise", r"^triton_poi"),
    ("compiled", r"^triton"),
    ("batch norm", r"batch_norm|bn_fw|bn_bw"),
    ("optimizer", r"fused_sgd|FusedSgd|multi_tensor|_foreach"),
    ("convolution", r"conv|fprop|dgrad|wgrad|cudnn|winograd"),
    ("matrix product", r"gemm|bmm|addmm|aten::mm|cutlass|nvjet|matmul|dot_kernel"),
    ("copy", r"memcpy|memset|copy|aten::to|contiguous"),
    ("reduction", r"reduce|sum|mean"),
    ("pointwise", r"elementwise|vectorized|mul|add|relu|clamp|pow|rsqrt"),
)  # fmt: skip
"""(kind of kernel, pattern of its name); the first pattern that fits counts."""


def kind(name: str) -> str:
    """What a kernel does, told by its name."""
    found = (kind for kind, pattern in _GROUPS if re.search(pattern, name, re.IGNORECASE))
    return next(found, "other")


def kernels(step: Callable[[], None], device: torch.device) -> list[dict[str, Any]]:
    """A row for each kernel (on the CPU: operator), by falling time.

    `step` makes STEPS steps. A row has `kernel`, `what` (its kind), `calls` and `seconds` of one of
    these steps, and `share` of all kernels' time. Kernels below LEAST_SHARE are added up as "rest".
    """
    wait(device)
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        step()
        wait(device)
    return _rows(_times(profiler.key_averages(), device))


def _times(events: Iterable[Any], device: torch.device) -> list[tuple[str, int, float]]:
    """(name, calls, microseconds) of a device's own events, summed over all steps."""
    if device.type == "cpu":
        return [(event.key, event.count, event.self_cpu_time_total) for event in events]
    return [
        (event.key, event.count, event.self_device_time_total)
        for event in events
        # Annotations span the kernels below them, which count already.
        if event.device_type == DeviceType.CUDA and not event.is_user_annotation
    ]


def _rows(found: list[tuple[str, int, float]]) -> list[dict[str, Any]]:
    """Turn (name, calls, microseconds) of all steps into rows of one step."""
    total = sum(time for _, _, time in found)
    rows, rest = [], {"kernel": "rest", "what": "other", "calls": 0.0, "seconds": 0.0, "share": 0.0}
    for name, calls, time in sorted(found, key=lambda one: -one[2]):
        row = {
            "kernel": name[:_NAME],
            "what": kind(name),
            "calls": calls / STEPS,
            "seconds": time / 1e6 / STEPS,
            "share": time / total,
        }
        if row["share"] >= LEAST_SHARE:
            rows.append(row)
        else:
            for key in ("calls", "seconds", "share"):
                rest[key] += row[key]
    return [*rows, rest] if rest["calls"] else rows
