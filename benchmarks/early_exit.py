"""Early exits that really stop: accuracy against multiply-adds and against time.

Four methods on the same test images: coded decoders (Eq. 7), combined decoders (all energies so
far), linear decoders of a block's energies, and linear probes on the plain ResNeXt behind the same
blocks (as in BranchyNet); the last two are trained on training images. All thresholds are two-fold
cross-fitted; times are of the halves' own thresholds at batch 1. Rows go to
results/benchmarks/early_exit-DEVICE.csv, one for each method and budget; the figure of exits draws
the probes from there.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from benchmarks._rows import FOLDER, write_rows
from codepath.core.errors import UserError
from codepath.data import ArraySplit, DataSet, Normalize, evaluation_loader
from codepath.evaluate import Predictions, exit_costs, fit_readouts
from codepath.evaluate.cost import macs
from codepath.evaluate.exit_thresholds import choose_for_budget, sweep
from codepath.evaluate.exits import ExitCosts, Folds, cross_fitted, decoder_scores, fit_weights
from codepath.evaluate.latency import interleaved_latency, layout
from codepath.evaluate.thresholds import halves
from codepath.models import CodedResNeXt, EarlyExit, create_model
from codepath.models.early_exit import NETWORK_END
from codepath.parts.trained_run import load_coded
from codepath.pipeline.measure import load_images
from codepath.run.config import RunConfig
from codepath.run.directory import read_config
from codepath.train import choose_device, load_trained
from codepath.train.environment import device_name

BUDGETS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
PROBE_IMAGES = 10_000


class ProbeExits(nn.Module):
    """A plain network with a linear probe behind some blocks; stops as EarlyExit does.

    Args:
        model: plain.
        probes: block number -> (K, C) weights and (K,) biases on pooled outputs of the block.
        thresholds: block number -> least margin of the probe's logits to leave.
    """

    def __init__(
        self,
        model: CodedResNeXt,
        probes: Mapping[int, tuple[Tensor, Tensor]],
        thresholds: Mapping[int, float],
    ) -> None:
        super().__init__()
        self.model, self.probes, self.thresholds = model, dict(probes), dict(thresholds)

    @torch.no_grad()
    def forward(self, x: Tensor, until: int | None = None) -> Tensor:
        """(B, C, H, W) -> (B,) classes; with `until` (B, K) logits of that block's probe."""
        classes = torch.zeros(len(x), dtype=torch.long, device=x.device)
        inside = torch.arange(len(x), device=x.device)
        x = self.model._stem(x)
        for number, block in enumerate(self.model.blocks, start=1):
            x = block(x)
            if number not in self.probes or until not in (None, number):
                continue
            logits = F.linear(x.mean((2, 3)), *self.probes[number])
            if until is not None:
                return logits
            top = logits.topk(2).values
            leaves = top[:, 0] - top[:, 1] >= self.thresholds[number]
            if leaves.any():
                classes[inside[leaves]] = logits.argmax(1)[leaves]
                stays = (~leaves).nonzero().flatten()
                if not len(stays):
                    return classes
                inside, x = inside[stays], x.index_select(0, stays)
        classes[inside] = self.model.forward_head(x).argmax(1)
        return classes


class _Until(nn.Module):
    """A probe exit as a static module, to be counted."""

    def __init__(self, exits: ProbeExits, block: int) -> None:
        super().__init__()
        self.exits, self.block = exits, block

    def forward(self, x: Tensor) -> Tensor:
        return self.exits(x, until=self.block)


@torch.inference_mode()
def pooled_features(
    model: CodedResNeXt, batches: Iterable[Tensor], blocks: Iterable[int]
) -> tuple[dict[int, NDArray[np.float32]], NDArray[np.float32]]:
    """Block number -> (n, C) pooled outputs, and (n, K) logits."""
    wanted = set(blocks)
    found: dict[int, list[Tensor]] = {block: [] for block in wanted}
    logits = []
    for x in batches:
        x = model._stem(x)
        for number, block in enumerate(model.blocks, start=1):
            x = block(x)
            if number in wanted:
                found[number].append(x.mean((2, 3)).float().cpu())
        logits.append(model.forward_head(x).float().cpu())
    return {b: torch.cat(f).numpy() for b, f in found.items()}, torch.cat(logits).numpy()


def fit_probes(
    features: Mapping[int, NDArray[np.float32]], labels: NDArray[np.int64]
) -> dict[int, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Multinomial logistic regression on standardised features, for each block."""
    probes = {}
    for block, x in features.items():
        mean, spread = x.mean(0), x.std(0) + 1e-6
        model = LogisticRegression(C=0.1, max_iter=300).fit((x - mean) / spread, labels)
        weight = model.coef_ / spread
        probes[block] = (weight.astype("f4"), (model.intercept_ - weight @ mean).astype("f4"))
    return probes


@dataclass(frozen=True)
class Method:
    """A way to leave early."""

    folds: Folds
    costs: ExitCosts
    top1: float
    """Of the whole network, in [0, 1]."""
    network: nn.Module
    build: Callable[[dict[int, float], NDArray[np.int64]], nn.Module]
    """(thresholds by block, places of the fitting images) -> the network with its exits."""


def coded_methods(
    model: CodedResNeXt, run_dir: Path, image_shape: tuple[int, int, int]
) -> dict[str, Method]:
    """The decoders of the energies, from a run's saved predictions."""
    predictions = Predictions.load(run_dir / "predictions" / "test.npz")
    schemes = {number: block.scheme for number, block in model.coded_blocks.items()}
    readouts = fit_readouts(Predictions.load(run_dir / "predictions" / "train.npz"))
    scores = decoder_scores(predictions.energies, schemes, readouts)
    final, labels = predictions.logits.argmax(1), predictions.labels
    costs = exit_costs(model, image_shape)

    def build(thresholds: dict[int, float], fitting: NDArray[np.int64], decoder: str) -> EarlyExit:
        weights = None
        if decoder == "combined":
            fitted_on = {block: s[fitting] for block, s in scores[decoder].items()}
            weights = fit_weights(fitted_on, labels[fitting])
        used = readouts if decoder == "linear" else None
        return EarlyExit(model, tuple(schemes), "margin", thresholds, weights, used)

    top1 = float((final == labels).mean())
    return {
        decoder: Method(found, costs, top1, model, partial(build, decoder=decoder))
        for (decoder, criterion), found in cross_fitted(scores, final, labels, costs).items()
        if criterion == "margin"
    }


def probe_method(
    plain: CodedResNeXt, images: DataSet, normalize: Normalize, blocks: tuple[int, ...]
) -> Method:
    """Linear probes on the pooled features of the plain network, fitted to training images."""
    device = normalize.shift.device

    def batches(split: Any) -> Iterable[Tensor]:
        return (normalize(b.images.to(device)) for b in evaluation_loader(split))

    train: Any = images.train
    if isinstance(train, ArraySplit) and len(train) > PROBE_IMAGES:
        chosen = np.random.default_rng(0).permutation(len(train))[:PROBE_IMAGES]
        train = ArraySplit(train.images[chosen], train.labels[chosen])
    fitted = fit_probes(pooled_features(plain, batches(train), blocks)[0], train.labels)
    features, logits = pooled_features(plain, batches(images.test), blocks)
    scores = {b: (features[b] @ fitted[b][0].T + fitted[b][1]).astype("f4") for b in blocks}
    probes = {
        b: (torch.from_numpy(w).to(device), torch.from_numpy(c).to(device))
        for b, (w, c) in fitted.items()
    }
    counted = ProbeExits(plain, probes, dict.fromkeys(blocks, math.inf))
    costs = {b: macs(_Until(counted, b), images.image_shape) for b in blocks}
    every = ExitCosts(costs | {NETWORK_END: macs(plain, images.image_shape)}, {})
    final, labels = logits.argmax(1), images.test.labels
    found = cross_fitted({"probes": scores}, final, labels, every)
    return Method(
        found["probes", "margin"],
        every,
        float((final == labels).mean()),
        plain,
        lambda thresholds, _: ProbeExits(plain, probes, thresholds),
    )


def time_budget(
    method: Method, budget: float, images: DataSet, normalize: Normalize, count: int
) -> dict[str, float]:
    """Seconds an image at batch 1, the mean of both folds.

    Each fold is timed with the thresholds that the other half gives.

    Args:
        method: with its folds.
        budget: mean multiply-adds an image may take, as a share of the network's.
        images: the data set, in memory.
        normalize: its normalisation.
        count: test images that are timed.
    """
    first, second = halves(len(images.test.labels))
    seconds = []
    halves_and_folds = zip((second, first), method.folds.pairs, (first, second), strict=True)
    for half, (fit, _), fitting in halves_and_folds:
        chosen = choose_for_budget(sweep(fit), budget).tolist()
        exits = method.build(dict(zip(fit.blocks, chosen, strict=True)), fitting)
        one = [
            normalize(batch.images.to(normalize.shift.device))
            for batch in evaluation_loader(_chosen(images.test, half[: count // 2]), 1)
        ]
        seconds.append(
            interleaved_latency({"network": method.network, "exits": exits}, one, len(one))
        )
    return {
        "p50": float(np.mean([s["exits"].p50 for s in seconds])),
        "p95": float(np.mean([s["exits"].p95 for s in seconds])),
        "network_p50": float(np.mean([s["network"].p50 for s in seconds])),
    }


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("coded", type=Path, help="an evaluated run of the coded network")
    parser.add_argument("plain", type=Path, help="a trained run of its baseline")
    parser.add_argument("--data", type=Path, help="where the images are")
    parser.add_argument(
        "--probes-only",
        action="store_true",
        help="measure the plain network's probes alone: the coded run need not be trained",
    )
    parser.add_argument("--images", type=int, default=300, help="test images that are timed")
    parser.add_argument(
        "--budgets", nargs="+", type=float, default=BUDGETS, help="mean shares of multiply-adds"
    )
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the CSV file")
    return parser.parse_args()


def _coded(run_dir: Path, untrained: bool) -> tuple[RunConfig, CodedResNeXt, torch.device]:
    """A run's configuration, coded network and device; with `untrained` of fresh weights."""
    if not untrained:
        return load_coded(run_dir)
    config = read_config(run_dir)
    model = create_model(config.model)
    if not isinstance(model, CodedResNeXt) or not model.coded_blocks:
        raise UserError(f"{run_dir} is no run of a coded network")
    return config, model.eval(), choose_device()


def main() -> None:
    """Print a table and write the rows."""
    options = parse_options()
    console = Console(width=130)
    config, model, device = _coded(options.coded, options.probes_only)
    plain_config, plain = load_trained(options.plain, device)
    if not isinstance(plain, CodedResNeXt) or plain.coded_blocks:
        raise UserError(f"{options.plain} is no run of a plain network")
    if plain_config.data.source != config.data.source:
        raise UserError("the two runs are of different data sets")
    images = load_images(config, options.data)
    normalize = Normalize(images.mean, images.std).to(device)
    methods: dict[str, Method] = {}
    if not options.probes_only:
        methods = coded_methods(model, options.coded, images.image_shape)
    with console.status("probes on the plain network"):
        methods["probes"] = probe_method(plain, images, normalize, tuple(model.coded_blocks))
    n = len(images.test.labels)
    table = Table(
        title=f"{images.source}, {config.scale} scale, n = {n:,} test images, "
        f"margin, two-fold cross-fitted; {device_name(device)}, {layout(model)}, batch 1"
    )
    for heading in ("method", "budget", "top-1", "of the whole network", "multiply-adds",
                    "p50", "p95", "time by the network's (p50)"):  # fmt: skip
        table.add_column(heading, justify="left" if heading == "method" else "right")
    rows = []
    for name, method in methods.items():
        outcomes = method.folds.budgets(options.budgets)
        for budget, outcome in zip(options.budgets, outcomes, strict=True):
            with console.status(f"{name}, budget {budget}"):
                times = time_budget(method, budget, images, normalize, options.images)
            rows.append(
                {"run": config.run_id, "dataset": images.dataset, "scale": config.scale,
                 "seed": config.seed, "method": name, "budget": budget, "n": n,
                 "timed": options.images, "layout": layout(model), "source": images.source,
                 "top1": outcome.top1, "top1_whole": method.top1,
                 "macs": outcome.cost * method.costs.macs[NETWORK_END],
                 "macs_share": outcome.cost} | times
            )  # fmt: skip
            table.add_row(
                name, f"{budget:.2f}", f"{100 * outcome.top1:.2f} %",
                f"{100 * (outcome.top1 - method.top1):+.2f}", f"{100 * outcome.cost:.1f} %",
                f"{1000 * times['p50']:.2f} ms", f"{1000 * times['p95']:.2f} ms",
                f"{times['p50'] / times['network_p50']:.2f}",
            )  # fmt: skip
    console.print(table)
    path = write_rows(
        f"early_exit-{device.type}", rows, options.out, device_name(device),
        ("run", "method", "budget"),
    )  # fmt: skip
    console.print(f"wrote {path}")


def _chosen(split: Any, rows: NDArray[np.int64]) -> ArraySplit:
    """Some images of a split in memory."""
    if not isinstance(split, ArraySplit):
        raise UserError("timing takes images in memory: a data set in files is not supported")
    return ArraySplit(split.images[rows], split.labels[rows])


if __name__ == "__main__":
    main()
