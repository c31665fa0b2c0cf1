"""Ways to make a GPU's training step faster that no GPU's rows have shown to be so yet.

Each computes the same as the plain expression, up to rounding, and is off unless it is named.
`codepath bench step --candidates` measures them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from codepath.core.errors import UserError, unknown_name
from codepath.models import CodedBottleneck
from codepath.models.energies import EnergiesOf
from codepath.models.statistics import group_statistics_by_sums
from codepath.train.ghost import GhostBatchNorm2d, Statistics

CANDIDATES = {
    "dense": "energies by products of all paths' channels at once, without a float32 copy of h",
    "kernels": "energies and their gradient by Triton kernels, one pass over h each",
    "folded": "the factor of Eq. 3 behind conv3, where the compiler joins it with bn3",
    "sums": "ghost batch norm's statistics by sums of x and of its squares",
    "statistics": "ghost batch norm's statistics by a Triton kernel",
    "recomputed": "batch norm and ReLU computed again in the backward instead of stored",
    "autotuned": "the compiler tries its kernels against each other (max-autotune)",
}
"""Name -> what it does."""
_COMPILER = ("recomputed", "autotuned")


def check_candidates(names: Collection[str], compiled: bool) -> None:
    """UserError for an unknown name, and for the compiler's candidates where it is not used."""
    for name in names:
        if name not in CANDIDATES:
            raise unknown_name("candidate", name, CANDIDATES)
        if name in _COMPILER and not compiled:
            raise UserError(f"the candidate {name} is the compiler's: choose the way compiled")
    if {"dense", "kernels"} <= set(names):
        raise UserError("the candidates dense and kernels do the same: choose one of them")
    if {"sums", "statistics"} <= set(names):
        raise UserError("the candidates sums and statistics do the same: choose one of them")


def use_candidates(model: nn.Module, names: Collection[str]) -> None:
    """Have `model`'s coded blocks and ghost batch norms compute as the named candidates do."""
    energies: EnergiesOf | None = None
    statistics: Statistics | None = None
    if "dense" in names:
        from codepath.models import dense

        energies = dense.energies_from_grams
    if "sums" in names:
        statistics = group_statistics_by_sums
    if not {"kernels", "statistics"}.isdisjoint(names):
        from codepath.models import kernels  # needs Triton

        energies = kernels.energies_from_grams if "kernels" in names else energies
        statistics = kernels.group_statistics if "statistics" in names else statistics
    for module in model.modules():
        if isinstance(module, CodedBottleneck):
            module.energies_of = energies
            module.folded = "folded" in names
        elif isinstance(module, GhostBatchNorm2d):
            module.statistics = statistics


def compiled_with(module: nn.Module, names: Collection[str]) -> Any:
    """`module` through torch.compile, with the compiler's candidates among `names`."""
    mode = "max-autotune-no-cudagraphs" if "autotuned" in names else None
    call = torch.compile(module, dynamic=False, mode=mode)  # batches are alike
    return _Recomputing(call) if "recomputed" in names else call


class _Recomputing:
    """Calls a compiled module, the partitioner told to store little: calls compile."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._orig_mod = call._orig_mod

    def __call__(self, *inputs: Any) -> Any:
        with torch._functorch.config.patch(aggressive_recomputation=True):
            return self._call(*inputs)
