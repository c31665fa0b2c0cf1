"""What is installed here and what is missing (imports torch and FFCV only in other processes)."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from codepath.core.files import user_cache
from codepath.core.machine import available_cores, cpu_name, has_gpu
from codepath.core.provenance import CHECKOUT, PACKAGE_ROOT, git_state, package_versions

FFCV_HEADERS = "libopencv-dev libturbojpeg0-dev pkg-config"
FFCV_REASON = (CHECKOUT or PACKAGE_ROOT) / ".venv" / "ffcv-not-built.txt"
"""Written by `make setup` where building FFCV failed."""
LITTLE_DISK = 2.0
"""GiB; less room does not hold CIFAR's archive, its beton and some checkpoints."""

_TORCH = """
import torch, torchvision, timm
from codepath.train import choose_device
from codepath.train.precision import bfloat16_unit, kind_of
device = choose_device()
unit = bfloat16_unit(device)
print(f"bfloat16 ({unit})" if unit else f"float32; this {kind_of(device)} only emulates bfloat16, "
      "so recipes that allow it train in float32 here")
if torch.cuda.is_available():
    names = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    print(", ".join(names) + f" (CUDA {torch.version.cuda})")
"""


def _run_python(code: str) -> tuple[str, str | None]:
    """Run `code` in another process; return (output, the error's last line or None).

    Another process is used because importing FFCV changes torch's threads.
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return done.stdout.strip(), None
    return "", (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


def header_versions() -> dict[str, str]:
    """Header that building FFCV needs -> its version by pkg-config, empty where it is missing."""
    versions = {}
    for name in ("opencv4", "libturbojpeg"):
        try:
            done = subprocess.run(
                ["pkg-config", "--modversion", name], capture_output=True, text=True, check=False
            )
        except OSError:
            return {"pkg-config": ""}
        versions[name] = done.stdout.strip() if done.returncode == 0 else ""
    return versions


def ffcv_state() -> str:
    """One line on FFCV: ready, or why not, and what to do."""
    headers = header_versions()
    if importlib.util.find_spec("ffcv") is not None:
        _, error = _run_python("import ffcv")
        if error is None:
            found = ", ".join(f"{name} {v}" for name, v in headers.items() if v)
            return f"ffcv: ready, {importlib.metadata.version('ffcv')}{found and f' ({found})'}"
        return (
            f"ffcv: installed, but its import fails ({error}); the torch loader serves. Cure: "
            "pip uninstall ffcv, then make ffcv"
        )
    missing = [name for name, version in headers.items() if not version]
    if missing:
        return (
            f"ffcv: not installed, headers missing ({', '.join(missing)}); the torch loader "
            f"serves. Cure: sudo apt-get install {FFCV_HEADERS}, then make ffcv"
        )
    reason = FFCV_REASON.read_text().strip() if FFCV_REASON.exists() else "never tried"
    return f"ffcv: not installed ({reason}); the torch loader serves. Cure: make ffcv"


def cores_state() -> str:
    """One line on the cores that this process may use, out of those of the machine."""
    usable, present = available_cores(), os.cpu_count() or 1
    if usable == present:
        return f"processor: {cpu_name()}, {usable} cores, all usable"
    return (
        f"processor: {cpu_name()}, {usable} of {present} cores usable (the process's affinity; "
        "under Slurm ask for more with --cpus-per-task)"
    )


def _nearest_folder(path: Path) -> Path:
    """`path`, or the nearest folder above it that exists."""
    path = path.absolute()
    while not path.is_dir():
        path = path.parent
    return path


def _may_hold_files(path: Path) -> bool:
    """Whether files can be written at `path`, a folder that may have to be created."""
    present = [path, *path.parents]
    existing = next(folder for folder in present if folder.exists())
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def cache_state() -> str:
    """One line on where numba keeps compiled kernels; this follows the choice that numba makes."""
    cure = "kernels are compiled anew in every process. Cure: set NUMBA_CACHE_DIR to a folder"
    named = os.environ.get("NUMBA_CACHE_DIR")
    if named:
        if _may_hold_files(Path(named).absolute()):
            return f"compiled kernels: kept in {named} (NUMBA_CACHE_DIR)"
        return f"compiled kernels: NUMBA_CACHE_DIR is {named}, which cannot be written; {cure}"
    if _may_hold_files(PACKAGE_ROOT / "data" / "__pycache__"):
        return "compiled kernels: kept beside the source, in __pycache__"
    cache = user_cache()
    if _may_hold_files(cache / "numba"):
        return f"compiled kernels: kept in {cache / 'numba'}, as the source is read-only"
    return f"compiled kernels: neither {PACKAGE_ROOT} nor {cache} can be written; {cure}"


def disk_state() -> str:
    """One line on the disk space for runs/ and data/ in the working directory."""
    parts = []
    for name in ("runs", "data"):
        folder = _nearest_folder(Path(name))
        free = shutil.disk_usage(folder).free / 2**30
        remark = "" if free >= LITTLE_DISK else f", little: {LITTLE_DISK:.0f} GiB are needed"
        if not _may_hold_files(Path(name).absolute()):
            remark += f", not writable: choose another folder with --{name}"
        parts.append(f"{name}/ {free:.1f} GiB free{remark}")
    return f"disk: {'; '.join(parts)} (in {Path.cwd()})"


def torch_state() -> list[str]:
    """Lines on the GPUs that torch can use and on the precision that the device computes in.

    Where torch does not load, one line says so.
    """
    said, error = _run_python(_TORCH)
    if error is not None:
        return [
            f"torch: import fails ({error}); torch and torchvision must be a matching pair: "
            "pip install -c constraints.txt torch torchvision"
        ]
    precision, _, gpu = said.partition("\n")
    if not gpu and has_gpu():
        gpu = (
            "nvidia-smi is here, but torch finds no GPU that it can use; training on the "
            "CPU. Cure: a build of torch for the driver's CUDA, or CUDA_VISIBLE_DEVICES"
        )
    gpu = gpu or "none that torch can use; training on the CPU"
    return [f"gpu: {gpu}", f"precision: {precision}"]


def report() -> list[str]:
    """Lines for a person: versions, commit, processor, disk, kernels' cache, torch, FFCV."""
    commit, dirty = git_state()
    return [
        f"python {sys.version.split()[0]}; commit {commit}{' (with changes)' if dirty else ''}",
        "; ".join(f"{name} {version}" for name, version in package_versions().items()),
        cores_state(),
        disk_state(),
        cache_state(),
        *torch_state(),
        ffcv_state(),
    ]
