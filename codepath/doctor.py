"""What is here and what is missing (imports nothing heavy, except FFCV in a process of its own)."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys

from codepath.runtime import (
    REPO_ROOT,
    available_cores,
    cpu_name,
    git_state,
    package_versions,
)

FFCV_HEADERS = "libopencv-dev libturbojpeg0-dev pkg-config"
FFCV_REASON = REPO_ROOT / ".venv" / "ffcv-not-built.txt"
"""Written by `make setup` where building FFCV failed."""


_GPU = """
import torch, torchvision, timm
print(torch.cuda.get_device_name() if torch.cuda.is_available() else "")
"""


def _run_python(code: str) -> tuple[str, str | None]:
    """(output, None or the error's last line) of `code` in another process: importing FFCV
    changes torch's threads."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return done.stdout.strip(), None
    return "", (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


def _missing_headers() -> list[str]:
    if shutil.which("pkg-config") is None:
        return ["pkg-config"]
    return [
        name
        for name in ("opencv4", "libturbojpeg")
        if subprocess.run(["pkg-config", "--exists", name], check=False).returncode
    ]


def ffcv_state() -> str:
    """One line on FFCV: ready, or why not, and what to do."""
    if importlib.util.find_spec("ffcv") is not None:
        _, error = _run_python("import ffcv")
        if error is None:
            return "ffcv: ready"
        return f"ffcv: installed, but its import fails ({error}); the torch loader serves"
    missing = _missing_headers()
    if missing:
        return (
            f"ffcv: not installed, headers missing ({', '.join(missing)}); the torch loader "
            f"serves. Cure: sudo apt-get install {FFCV_HEADERS}, then make ffcv"
        )
    reason = FFCV_REASON.read_text().strip() if FFCV_REASON.exists() else "never tried"
    return f"ffcv: not installed ({reason}); the torch loader serves. Cure: make ffcv"


def report() -> list[str]:
    """Lines for a person: versions, commit, processor, disk, GPU, FFCV."""
    commit, dirty = git_state()
    free = shutil.disk_usage(REPO_ROOT).free / 2**30
    lines = [
        f"python {sys.version.split()[0]}; commit {commit}{' (with changes)' if dirty else ''}",
        "; ".join(f"{name} {version}" for name, version in package_versions().items()),
        f"processor: {cpu_name()}, {available_cores()} cores usable; {free:.0f} GiB of disk free",
    ]
    gpu, error = _run_python(_GPU)
    if error is None:
        lines.append(f"gpu: {gpu}" if gpu else "gpu: none that torch can use; training on the CPU")
    else:
        lines.append(
            f"torch: import fails ({error}); torch and torchvision must be a matching pair: "
            "pip install -c constraints.txt torch torchvision"
        )
    return [*lines, ffcv_state()]
