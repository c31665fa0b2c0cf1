"""The device and the software that a run is trained with."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch

from codepath.core.files import read_json, write_text
from codepath.core.machine import available_cores, processor_name
from codepath.core.plain import as_type
from codepath.core.provenance import git_state, now, package_versions


def device_name(device: torch.device) -> str:
    """The GPU's name, or the processor's with the cores that may be used."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return processor_name()


def choose_repeatable_algorithms() -> None:
    """Have CUDA repeat its results to the bit wherever torch knows how; it warns where it does not.

    To be called before the first product of matrices: cuBLAS reads its variable once.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def note_environment(
    run_dir: Path, step: int, device: torch.device, layout: dict[str, Any]
) -> None:
    """Append this start's machine, versions and commit to a run's env.json.

    Args:
        run_dir: the run's directory.
        step: the step that this start goes on from.
        device: where it trains.
        layout: what rounding depends on besides the configuration.
    """
    commit, dirty = git_state()
    entry = {
        "started": now(),
        "step": step,
        "commit": commit,
        "dirty": dirty,
        "device": device_name(device),
        "cores": available_cores(),
        **layout,
        "versions": package_versions(),
    }
    path = run_dir / "env.json"
    try:
        entries = as_type(read_json(path), list[dict[str, Any]], "env.json")
    except (FileNotFoundError, ValueError):
        entries = []
    write_text(path, json.dumps([*entries, entry], indent=2) + "\n")
