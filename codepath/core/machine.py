"""This machine: its processor, its cores, its GPU and its processes."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import shutil
import subprocess
from pathlib import Path


def cpu_name() -> str:
    """The processor's model name as the operating system gives it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def available_cores() -> int:
    """Cores that this process may use: its affinity, which Slurm narrows."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees (glibc; elsewhere nothing is done).

    By default glibc gives large blocks back to the kernel, and every training step on the CPU pays
    for zeroed pages again. After this call the process's resident memory stays near its peak.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mmap_max, trim_threshold, top_pad = -4, -1, -2
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, -1)
    mallopt(top_pad, 2**28)


def process_start(pid: int) -> str:
    """When the process `pid` began, on the kernel's clock; empty where that is not known.

    Numbers of processes are given again, soon so after a reboot; with its start a number is unique.
    """
    return (_stat(pid) or [""] * 20)[19]


def process_alive(pid: int, start: str = "") -> bool:
    """Whether the process `pid` runs on this machine (zombies do not count).

    Args:
        pid: the process.
        start: its `process_start`; another process that has its number does not count. Empty: not
            known.
    """
    if pid <= 0:  # these stand for groups of processes
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    stat = _stat(pid)
    return not stat or (stat[0] != "Z" and start in ("", stat[19]))


def _stat(pid: int) -> list[str]:
    """What Linux says of a process, from its state on; empty where it says nothing."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def has_gpu() -> bool:
    """Whether this machine has an NVIDIA driver (asked without loading torch)."""
    return shutil.which("nvidia-smi") is not None


def gpu_name() -> str:
    """The first GPU's name by the driver, empty where no driver answers (without torch)."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return ""
    return next(iter(done.stdout.splitlines()), "").strip()


def processor_name() -> str:
    """The processor's name and the number of usable cores, as rows name it."""
    return f"{cpu_name()}, {available_cores()} cores"
