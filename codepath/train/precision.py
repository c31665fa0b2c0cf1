"""Which precision a run trains in: the recipe's lowest where the device computes in it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from codepath.core.files import read_json
from codepath.core.plain import as_type
from codepath.run.directory import read_config
from codepath.run.metrics_file import METRICS, metrics_lines

_CPU_UNITS = (
    ("AMX", "amx_bf16", "_is_amx_tile_supported"),
    ("AVX512-BF16", "avx512_bf16", "_is_avx512_bf16_supported"),
)
"""Its name, its key in torch.cpu.get_capabilities, and what older torch has in place of that."""


def bfloat16_unit(device: torch.device) -> str:
    """What a device computes bfloat16 with, such as "AVX512-BF16"; empty where it only emulates.

    Torch is asked. Its oldest versions do not say it of processors, which then count as emulating.
    """
    if device.type == "cuda":
        return "GPU" if _on_gpu() else ""
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    for unit, key, older in _CPU_UNITS:
        if known[key] if key in known else getattr(torch.cpu, older, bool)():
            return unit
    return ""


def _on_gpu() -> bool:
    try:
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    except TypeError:  # older torch counts emulation in
        return torch.cuda.get_device_capability() >= (8, 0)


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16, and does not only emulate it."""
    return bool(bfloat16_unit(device))


def kind_of(device: torch.device) -> str:
    """What a person calls it: "GPU" or "processor"."""
    return "GPU" if device.type == "cuda" else "processor"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """bfloat16: autocast over float32 weights; float32: nothing."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def trained_precision(run_dir: Path) -> str:
    """What a run was trained in, by its env.json: "bfloat16", or "bfloat16, then float32".

    Starts whose steps were lost do not count. Those of before precision was noted, and runs without
    env.json, have their recipe's.
    """
    lowest = read_config(run_dir).train.precision
    try:
        starts = as_type(read_json(run_dir / "env.json"), list[dict[str, Any]], "env.json")
        steps = as_type([start.get("step", 0) for start in starts], list[int], "step")
        named = [start.get("precision", lowest) for start in starts]
        named = as_type(named, list[str], "precision")
    except (OSError, ValueError):
        return lowest
    lines = metrics_lines(run_dir / METRICS)
    ends = [*steps[1:], lines[-1]["step"] if lines else math.inf]
    kept = [name for name, begun, end in zip(named, steps, ends, strict=False) if end > begun]
    names = kept or named[-1:]
    return ", then ".join(dict.fromkeys(names)) or lowest
