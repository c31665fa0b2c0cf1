"""One pass over a split: everything that needs no masking is computed from its outcome."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from codepath.data import Loader, Normalize
from codepath.models import CodedResNeXt
from codepath.runtime import atomic_path


@dataclass(frozen=True)
class Predictions:
    """Outputs of a network for n images, in the loader's order."""

    logits: NDArray[np.float32]
    """(n, K)"""
    energies: dict[int, NDArray[np.float32]]
    """Coded block number -> (n, N)"""
    labels: NDArray[np.int64]
    """(n,)"""
    indices: NDArray[np.int64]
    """(n,) places in the split"""

    def save(self, path: Path) -> None:
        """Write a compressed .npz with logits, labels, indices and energies_block<number>."""
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            arrays: dict[str, Any] = {
                f"energies_block{number}": energies for number, energies in self.energies.items()
            }
            np.savez_compressed(
                file, logits=self.logits, labels=self.labels, indices=self.indices, **arrays
            )


def evaluation_batches(
    loader: Loader, normalize: Normalize, device: torch.device
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(normalised images (B,C,H,W), labels (B,), indices (B,)) on the device.

    Raises RuntimeError where the loader does not yield every sample exactly once.
    """
    seen: list[Tensor] = []
    for batch in loader:
        seen.append(batch.indices.clone())
        yield normalize(batch.images.to(device)), batch.labels.to(device), batch.indices.to(device)
    indices = torch.cat(seen)
    if len(indices) != loader.num_samples or len(indices.unique()) != len(indices):
        raise RuntimeError(f"{len(indices)} images evaluated, {loader.num_samples} expected once")


@torch.inference_mode()
def predict(
    model: nn.Module, loader: Loader, normalize: Normalize, device: torch.device
) -> Predictions:
    """Logits, energies, labels and indices of every image that the loader yields."""
    logits, labels, indices = [], [], []
    energies: dict[int, list[Tensor]] = {}
    for images, label, index in evaluation_batches(loader, normalize, device):
        if isinstance(model, CodedResNeXt):
            output = model.forward_coded(images)
            logits.append(output.logits.float().cpu())
            for number, energy in output.energies.items():
                energies.setdefault(number, []).append(energy.float().cpu())
        else:
            logits.append(model(images).float().cpu())
        labels.append(label.cpu())
        indices.append(index.cpu())
    return Predictions(
        torch.cat(logits).numpy(),
        {number: torch.cat(parts).numpy() for number, parts in energies.items()},
        torch.cat(labels).numpy(),
        torch.cat(indices).numpy(),
    )
