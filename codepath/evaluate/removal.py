"""Accuracy when active or inactive paths of one block are removed (Fig 2a)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from codepath.data import Loader, Normalize
from codepath.data.randomness import Draw, counter_hash
from codepath.evaluate.predict import evaluation_batches
from codepath.models import CodedResNeXt
from codepath.store import Measurement


def _removal_rank(eligible: Tensor, indices: Tensor, draw: int) -> Tensor:
    """(B, N): place of each eligible path in the random order of removal, N for the others.

    The order depends on the image's index and the draw alone.
    """
    N = eligible.shape[1]
    counters = indices.cpu().numpy()[:, None] * N + np.arange(N)
    keys = counter_hash(draw, 0, counters, Draw.REMOVED_PATHS) >> np.uint64(1)
    key = torch.from_numpy(keys.astype(np.int64)).to(eligible.device)
    key = torch.where(eligible, key, torch.iinfo(torch.int64).max)
    rank = key.argsort(1).argsort(1)
    return torch.where(eligible, rank, N)


@torch.inference_mode()
def measure_removal(
    model: CodedResNeXt,
    loader: Loader,
    normalize: Normalize,
    device: torch.device,
    block: int,
    draws: int,
    split: str,
) -> Iterator[Measurement]:
    """`top1` against the number of removed paths, for active and for inactive paths.

    A path is active if the image's own class has it. The removed paths are random for each image.
    Accuracies are means over `draws` choices, or over one where there is no choice.
    """
    coded = model.coded_blocks[block]
    counts = {"active": coded.active, "inactive": coded.paths - coded.active}
    correct = {(kind, k): 0.0 for kind, most in counts.items() for k in range(most + 1)}
    for images, labels, indices in evaluation_batches(loader, normalize, device):
        features = model.forward_until(images, block)
        words = coded.codewords[labels].bool()  # (B, N)
        for kind, most in counts.items():
            eligible = words if kind == "active" else ~words
            for k in range(most + 1):
                repeats = draws if 0 < k < most else 1
                for draw in range(repeats):
                    acting = _removal_rank(eligible, indices, draw) >= k
                    logits = model.forward_coded(
                        features, path_masks={block: acting}, first_block=block
                    ).logits
                    hits = int((logits.argmax(1) == labels).sum())
                    correct[kind, k] += hits / repeats
    for (kind, k), hits_mean in correct.items():
        yield Measurement(
            kind="removal",
            metric="top1",
            value=hits_mean / loader.num_samples,
            n=loader.num_samples,
            split=split,
            block=block,
            removed_from=kind,
            removed=k,
        )
