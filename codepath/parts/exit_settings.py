"""`codepath exits`: a run's early exits set, exported and timed."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from torch import Tensor

from codepath.core.errors import UserError, unknown_name
from codepath.core.files import make_directory
from codepath.data import Normalize, evaluation_loader
from codepath.evaluate import Predictions, exit_costs, fit_readouts
from codepath.evaluate.exit_thresholds import Outcome, choose_for_accuracy, choose_for_budget, sweep
from codepath.evaluate.exits import (
    DECODERS,
    ExitCosts,
    Folds,
    cross_fitted,
    decoder_scores,
    exit_table,
    fit_weights,
)
from codepath.evaluate.latency import interleaved_latency, layout
from codepath.models import EarlyExit
from codepath.models.classifier_file import (
    export_onnx,
    export_program,
)
from codepath.models.early_exit import (
    CRITERIA,
    NETWORK_END,
    save_exit_settings,
)
from codepath.parts.trained_run import LATENCY_BATCHES, load_coded
from codepath.pipeline.measure import DataFacts, load_run_images
from codepath.train.environment import device_name


@dataclass(frozen=True)
class ExitOptions:
    """What `codepath exits` is asked for."""

    decoder: str = "eq7"
    criterion: str = "margin"
    loss: float = 0.005
    """Top-1 that may be lost, in [0, 1]."""
    budget: float | None = None
    """In place of `loss`: mean multiply-adds an image, as a share of the network's."""

    def __post_init__(self) -> None:
        if self.decoder not in DECODERS:
            raise unknown_name("decoder", self.decoder, DECODERS)
        if self.criterion not in CRITERIA:
            raise unknown_name("criterion", self.criterion, CRITERIA)
        if not 0 <= self.loss < 1:
            raise UserError(f"a loss of {self.loss} is asked for: it is a share, from 0 to 1")
        if self.budget is not None and not 0 < self.budget <= 1:
            raise UserError(f"a budget of {self.budget} is asked for: it is a share, up to 1")

    @property
    def asked(self) -> str:
        """Loss or budget, in words."""
        return f"loss {self.loss:g}" if self.budget is None else f"budget {self.budget:g}"


@dataclass(frozen=True)
class FittedExits:
    """Exits of a run, as set, and what they come to."""

    exits: EarlyExit
    outcome: Outcome
    """Cross-fitted."""
    top1: float
    """Of the network's end."""
    decoders: dict[str, dict[int, float]]
    """A decoder's name -> block -> cross-fitted top-1."""
    costs: ExitCosts


def fit_exits(run_dir: Path, options: ExitOptions) -> FittedExits:
    """Set a run's exits from its saved predictions.

    The thresholds that are returned come from all test images; the outcome beside them is
    cross-fitted, so that no image is judged by a threshold that saw it.
    """
    _, model, _ = load_coded(run_dir)
    facts = DataFacts.load(run_dir)
    predictions = Predictions.load(run_dir / "predictions" / "test.npz")
    schemes = {number: block.scheme for number, block in model.coded_blocks.items()}
    costs = exit_costs(model, facts.image_shape)
    outputs = run_dir / "predictions" / "train.npz"
    readouts = None
    if options.decoder == "linear" and not outputs.exists():
        raise UserError(
            f"{run_dir} has no outputs for training images, which linear decoders are fitted to: "
            f"codepath evaluate {run_dir} writes them, but a packed run goes without"
        )
    if outputs.exists():
        readouts = fit_readouts(Predictions.load(outputs))
    scores = decoder_scores(predictions.energies, schemes, readouts)
    final, labels = predictions.logits.argmax(1), predictions.labels
    folds = cross_fitted(scores, final, labels, costs)
    chosen: Folds = folds[options.decoder, options.criterion]
    own = scores[options.decoder]
    weights = fit_weights(own, labels) if options.decoder == "combined" else None
    table = exit_table(own, final, labels, options.criterion, weights, costs)
    if options.budget is None:
        (outcome,) = chosen.accuracy([options.loss])
        thresholds = choose_for_accuracy(sweep(table), options.loss)
    else:
        (outcome,) = chosen.budgets([options.budget])
        thresholds = choose_for_budget(sweep(table), options.budget)
    return FittedExits(
        EarlyExit(
            model,
            table.blocks,
            options.criterion,
            dict(zip(table.blocks, thresholds.tolist(), strict=True)),
            weights,
            readouts if options.decoder == "linear" else None,
        ),
        outcome,
        float((final == labels).mean()),
        {
            decoder: dict(zip(schemes, folds[decoder, "margin"].decoders().tolist(), strict=True))
            for decoder in scores
        },
        costs,
    )


def exits_run(
    run_dir: Path, options: ExitOptions, export: Path | None, times: int, data: Path | None,
    console: Console,
) -> FittedExits:  # fmt: skip
    """Set a run's exits, print what they come to, and write RUN/exits.json.

    Args:
        run_dir: an evaluated run.
        options: see `ExitOptions`.
        export: folder for one static graph per exit, or None.
        times: test images to time at batch 1; 0 for none.
        data: where the images are, for `times`.
        console: for the tables.
    """
    fitted = fit_exits(run_dir, options)
    n = len(Predictions.load(run_dir / "predictions" / "test.npz").labels)
    asked = options.asked
    whole = fitted.costs.macs[NETWORK_END]
    table = Table(
        title=f"{options.decoder} decoder, {options.criterion}, {asked}; n = {n:,} test images, "
        "two-fold cross-fitted"
    )
    names = list(fitted.decoders)
    columns = ["top-1 of all: Eq. 7", *names[1:]]
    for heading in ("exit", "multiply-adds", "stored", *columns, "images leaving"):
        table.add_column(heading, justify="right")
    ends = (*fitted.exits.blocks, NETWORK_END)
    stored = fitted.costs.stored_values | {
        b: fitted.exits.at(b).stored_values for b in fitted.exits.blocks
    }
    for block, share in zip(ends, fitted.outcome.shares, strict=True):
        accuracies = (
            [f"{100 * fitted.top1:.2f} %", *([""] * (len(names) - 1))]
            if block == NETWORK_END
            else [f"{100 * fitted.decoders[name][block]:.2f} %" for name in names]
        )
        table.add_row(
            "end" if block == NETWORK_END else f"block {block}",
            f"{100 * fitted.costs.macs[block] / whole:.1f} %",
            f"{stored[block]:,}",
            *accuracies,
            f"{100 * share:.1f} %",
        )
    console.print(table)
    console.print(
        f"with exits: top-1 {100 * fitted.outcome.top1:.2f} % "
        f"({100 * (fitted.outcome.top1 - fitted.top1):+.2f} points) at "
        f"{100 * fitted.outcome.cost:.1f} % of the multiply-adds",
        highlight=False,
    )
    save_exit_settings(fitted.exits, run_dir / "exits.json", about_exits(fitted, options, run_dir))
    console.print(f"wrote {run_dir / 'exits.json'}", highlight=False)
    if export is not None:
        _export_exits(fitted.exits, DataFacts.load(run_dir), export, console)
    if times:
        _time_exits(run_dir, fitted.exits, times, data, console)
    return fitted


def about_exits(fitted: FittedExits, options: ExitOptions, run_dir: Path) -> dict[str, object]:
    """How exits were chosen and what they come to, for the file of their settings."""
    n = len(Predictions.load(run_dir / "predictions" / "test.npz").labels)
    return {
        "decoder": options.decoder,
        "asked": options.asked,
        "fitted on": f"{n} test images of {DataFacts.load(run_dir).source}",
        "cross-fitted top1": fitted.outcome.top1,
        "cross-fitted share of multiply-adds": fitted.outcome.cost,
        "top1 of the whole network": fitted.top1,
    }


def _export_exits(exits: EarlyExit, facts: DataFacts, folder: Path, console: Console) -> None:
    make_directory(folder)
    for block in exits.blocks:
        graph = copy.deepcopy(exits.at(block)).cpu()  # it shares the network's modules
        export_program(graph, facts.image_shape, folder / f"exit{block}.pt2")
        metadata = {
            "block": str(block),
            "threshold": repr(exits.thresholds[block]),
            "criterion": exits.criterion,
            "mean": json.dumps(facts.mean),
            "std": json.dumps(facts.std),
        }
        export_onnx(graph, facts.image_shape, folder / f"exit{block}.onnx", metadata)
        console.print(f"wrote {folder / f'exit{block}.onnx'} and .pt2", highlight=False)


def _time_exits(
    run_dir: Path, exits: EarlyExit, times: int, data: Path | None, console: Console
) -> None:
    """Wall-clock at batch 1 (real termination) and 64 (compaction) against the whole network."""
    config, _, device = load_coded(run_dir)
    images = load_run_images(run_dir, config, data)
    normalize = Normalize(images.mean, images.std).to(device)
    for size in LATENCY_BATCHES:
        batches: list[Tensor] = []
        for batch in evaluation_loader(images.test, size):
            if len(batches) * size >= times:
                break
            batches.append(normalize(batch.images.to(device)))
        modules = {"network": exits.model, "with exits": exits}
        found = interleaved_latency(modules, batches, max(times // size, 1))
        words = ", ".join(
            f"{name} p50 {1000 * t.p50:.2f} ms, p95 {1000 * t.p95:.2f} ms"
            for name, t in found.items()
        )
        console.print(
            f"batch {size}: {words}; {found['with exits'].ratio:.2f} x "
            f"({found['network'].turns} turns, {device_name(device)}, {layout(exits.model)})",
            highlight=False,
        )
