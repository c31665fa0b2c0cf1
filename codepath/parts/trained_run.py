"""What every use of a trained run begins with: its directory, coded network, classes by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch

from codepath.core.errors import UserError, unknown_name
from codepath.core.files import atomic_directory, copy_files, make_directory
from codepath.models import CodedResNeXt
from codepath.models.shipped import FOLDER, shipped_names
from codepath.run.config import RunConfig
from codepath.run.directory import WEIGHTS, read_config
from codepath.train import choose_device, load_trained

LATENCY_BATCHES = (1, 64)
"""Images per call in timings: one image, which really leaves at its exit, and a batch."""

_LONGEST = 60
"""Letters of a class's folder."""
UNPACKED = Path("runs") / "pretrained"
"""Where shipped networks lie as run directories, once a command writes into them."""


def find_run(text: str, writes: bool = False) -> Path:
    """The run directory that a command's RUN names: a folder, or a network that comes along.

    Args:
        text: a folder's path, or a name of `shipped_names()`.
        writes: whether the command writes into the directory: a shipped network is then copied to
            runs/pretrained/NAME, which is taken from there on.

    Raises UserError where it is neither.
    """
    path = Path(text)
    if path.exists() or text not in shipped_names():
        if not path.is_dir():
            raise UserError(
                f"{text} is no run directory and no network that comes along: "
                f"{', '.join(shipped_names())}"
            )
        read_config(path)
        return path
    unpacked = UNPACKED / text
    if not unpacked.is_dir() and not writes:
        return FOLDER / text
    if not unpacked.is_dir():
        make_directory(UNPACKED)
        with atomic_directory(unpacked) as copy:
            copy_files(filter(Path.is_file, (FOLDER / text).rglob("*")), FOLDER / text, copy)
    if (unpacked / WEIGHTS).read_bytes() != (FOLDER / text / WEIGHTS).read_bytes():
        raise UserError(
            f"{unpacked} holds other weights than {text} has in this version: remove the folder"
        )
    return unpacked


def load_coded(run_dir: Path) -> tuple[RunConfig, CodedResNeXt, torch.device]:
    """A trained run's configuration, coded network and device; UserError for a plain network."""
    device = choose_device()
    config, model = load_trained(run_dir, device)
    if not isinstance(model, CodedResNeXt) or not model.coded_blocks:
        raise UserError(
            f"{run_dir} holds a plain network ({config.model.name}): its classes have no paths; "
            "name the run of a coded one"
        )
    return config, model, device


def class_indices(name: str, class_names: Sequence[str]) -> list[int]:
    """The index of a class, by its name or number, or all for "all"; UserError if unknown."""
    if name == "all":
        return list(range(len(class_names)))
    if name in class_names:
        return [list(class_names).index(name)]
    if name.isdecimal() and int(name) < len(class_names):
        return [int(name)]
    raise unknown_name("class", name, class_names)


def class_folders(class_names: Sequence[str]) -> list[str]:
    """A folder's name for every class, all different.

    It is the class's name with `_` in place of what a folder's name may not hold or a shell would
    read; where that makes two names equal, the class's number goes before them.
    """
    names = [re.sub(r"[^\w.+-]", "_", name)[:_LONGEST].lstrip(".-") or "_" for name in class_names]
    names = [f"{k}-{name}" if names.count(name) > 1 else name for k, name in enumerate(names)]
    for k, name in enumerate(names):
        while name in names[:k]:
            name += "_"
        names[k] = name
    return names
