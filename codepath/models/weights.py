"""Reading files of weights from outside: nothing in them is executed, and all has to fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import safetensors
import torch
from torch import Tensor, nn

from codepath.core.errors import reason
from codepath.core.signals import InterruptedRun


def read_torch(file: Path | IO[bytes]) -> Any:
    """What torch.save wrote, of tensors and plain values; ValueError where it is damaged.

    FileNotFoundError where it is not there.
    """
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except (FileNotFoundError, InterruptedRun):
        raise
    except Exception as error:  # torch lets through whatever a damaged pickle leads to
        raise ValueError(reason(error)) from None


def read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a file of safetensors; ValueError where it is damaged.

    FileNotFoundError where it is not there.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as opened:
            names = opened.keys()
            return opened.metadata() or {}, {name: opened.get_tensor(name) for name in names}
    except (FileNotFoundError, InterruptedRun):
        raise
    except Exception as error:  # of torch, too, for types that it has no name for
        raise ValueError(reason(error)) from None


def require_same_form(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """ValueError where tensors have other names, shapes or types than expected, or are not finite.

    The expected ones may be without content (torch's device "meta").
    """
    for name in sorted(tensors.keys() ^ expected.keys()):
        raise ValueError(f"{name} is {'missing' if name in expected else 'too much'}")
    for name, value in tensors.items():
        own = expected[name]
        if (value.shape, value.dtype) != (own.shape, own.dtype):
            raise ValueError(
                f"{name} is {tuple(value.shape)} of {value.dtype}, must be {tuple(own.shape)} of "
                f"{own.dtype}"
            )
        if not bool(value.isfinite().all()):
            raise ValueError(f"{name} holds numbers that are not finite")


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load all stored values of a module; ValueError as `require_same_form`."""
    require_same_form(tensors, module.state_dict())
    module.load_state_dict(tensors)
