"""One pass over a split; every measurement that needs no masking is computed from its outputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from codepath.core.arrays import read_arrays
from codepath.core.errors import UserError
from codepath.core.files import atomic_path
from codepath.data import Loader, Normalize
from codepath.models import CodedResNeXt


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

    @staticmethod
    def merged(parts: Sequence[Predictions], samples: int) -> Predictions:
        """The parts' images in the order of their split.

        Raises RuntimeError where the parts do not hold `samples` images, each once.
        """
        indices = np.concatenate([part.indices for part in parts])
        order = np.argsort(indices, kind="stable")
        if not np.array_equal(indices[order], np.arange(samples)):
            raise RuntimeError(f"{len(indices)} images evaluated, {samples} expected once each")
        return Predictions(
            np.concatenate([part.logits for part in parts])[order],
            {
                number: np.concatenate([part.energies[number] for part in parts])[order]
                for number in parts[0].energies
            },
            np.concatenate([part.labels for part in parts])[order],
            indices[order],
        )

    def save(self, path: Path) -> None:
        """Write a compressed .npz with logits, labels, indices and energies_block<number>."""
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            arrays: dict[str, Any] = {
                f"energies_block{number}": energies for number, energies in self.energies.items()
            }
            np.savez_compressed(
                file, logits=self.logits, labels=self.labels, indices=self.indices, **arrays
            )

    @classmethod
    def load(cls, path: Path) -> Predictions:
        """What `save` wrote; UserError where it is absent or damaged."""
        if not path.exists():
            raise UserError(f"{path} does not exist: codepath evaluate RUN writes it")
        try:
            arrays = read_arrays(path)
            energies = {
                int(name.removeprefix("energies_block")): values
                for name, values in arrays.items()
                if name.startswith("energies_block")
            }
            found = cls(arrays["logits"], energies, arrays["labels"], arrays["indices"])
            found._check()
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{path} is damaged ({error}); evaluate the run again") from None
        return found

    def _check(self) -> None:
        """ValueError where the arrays do not belong together."""
        n = len(self.labels)
        scores = (self.logits, *self.energies.values())
        if not all(one.ndim == 2 and len(one) == n and one.dtype.kind == "f" for one in scores):
            raise ValueError("logits or energies of another form")
        places = (self.labels, self.indices)
        if not all(one.shape == (n,) and one.dtype == np.int64 for one in places):
            raise ValueError("labels or indices of another form")
        if n == 0 or not 0 <= self.labels.min() <= self.labels.max() < self.logits.shape[1]:
            raise ValueError("labels out of range")


def evaluation_batches(
    loader: Loader, normalize: Normalize, device: torch.device, samples: int | None = None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(normalised images (B,C,H,W), labels (B,), indices (B,)) on the device.

    Raises RuntimeError where the loader does not yield `samples` images (by default the whole
    split), each exactly once.
    """
    samples = loader.num_samples if samples is None else samples
    seen: list[Tensor] = []
    for batch in loader:
        seen.append(batch.indices.clone())
        yield normalize(batch.images.to(device)), batch.labels.to(device), batch.indices.to(device)
    indices = torch.cat(seen)
    if len(indices) != samples or len(indices.unique()) != len(indices):
        raise RuntimeError(f"{len(indices)} images evaluated, {samples} expected once")


@torch.inference_mode()
def predict(
    model: nn.Module,
    loader: Loader,
    normalize: Normalize,
    device: torch.device,
    samples: int | None = None,
) -> Predictions:
    """Logits, energies, labels and indices of every image that the loader yields.

    For `samples` see `evaluation_batches`.
    """
    logits, labels, indices = [], [], []
    energies: dict[int, list[Tensor]] = {}
    for images, label, index in evaluation_batches(loader, normalize, device, samples):
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
