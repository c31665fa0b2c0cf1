"""`codepath pack`: a trained run as a small folder that works without its images.

The folder is a run directory with what the commands on a RUN read and timm loads, and no more:

    model.safetensors      the weights
    README.md              the model card
    pretrained.json        what timm must know of the weights
    config.json, env.json, data.json   the run's configuration, machine and data set
    exits.json             early exits of a coded network
    classifiers.json       thresholds and worth of its binary classifiers
    predictions/test.npz   its outputs for the test images
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from codepath.core.errors import UserError
from codepath.core.files import atomic_directory, copy_files, make_directory, write_text
from codepath.evaluate import Predictions, measure_accuracy
from codepath.experiments.scales import in_full
from codepath.models import CodedResNeXt
from codepath.models.early_exit import save_exit_settings
from codepath.models.shipped import FACTS, Facts
from codepath.parts.exit_settings import ExitOptions, about_exits, fit_exits
from codepath.parts.judgement import write_judgements
from codepath.pipeline.measure import DataFacts
from codepath.run.config import RunConfig
from codepath.run.directory import WEIGHTS
from codepath.train import choose_device, load_trained
from codepath.train.card import FOLDER as MODEL
from codepath.train.card import LOADED_BY

_COPIED = (WEIGHTS, "config.json", "env.json", "data.json")


def pack_run(run_dir: Path, out: Path, name: str) -> Path:
    """Write the packed run to OUT/NAME and return this folder.

    Args:
        run_dir: an evaluated run.
        out: made where it is missing; a folder OUT/NAME gives way to the new one.
        name: "network.tag", by which timm will know the weights.

    Raises UserError for a run that was not evaluated, and for a name of another network.
    """
    config, model = load_trained(run_dir, choose_device())
    network, _, tag = name.partition(".")
    if network != config.model.name or not tag:
        raise UserError(f"the name is '{name}', must be {config.model.name}.TAG")
    facts = DataFacts.load(run_dir)
    predictions = Predictions.load(run_dir / "predictions" / "test.npz")
    card = run_dir / MODEL / "README.md"
    if not card.exists():
        raise UserError(f"{card} does not exist: codepath evaluate {run_dir} writes it")
    folder = make_directory(out) / name
    with atomic_directory(folder, replaces=True) as copy:
        copy_files((run_dir / file for file in _COPIED), run_dir, copy)
        write_text(copy / "README.md", card.read_text().replace(LOADED_BY, f'"{name}"'))
        if isinstance(model, CodedResNeXt) and model.coded_blocks:
            make_directory(copy / "predictions")
            predictions.save(copy / "predictions" / "test.npz")
            options = ExitOptions()
            fitted = fit_exits(run_dir, options)
            about = about_exits(fitted, options, run_dir)
            save_exit_settings(fitted.exits, copy / "exits.json", about)
            write_judgements(run_dir, model.num_classes, copy)
        (top1,) = measure_accuracy(predictions, "test")
        description = _description(config, facts, top1.value, top1.n)
        shown = Facts(description, facts.class_names, top1.value, top1.n)
        write_text(copy / FACTS, json.dumps(asdict(shown), indent=1) + "\n")
    return folder


def _description(config: RunConfig, facts: DataFacts, top1: float, n: int) -> str:
    """One sentence on the weights."""
    how = f"objective {config.train.objective}" if config.model_role == "coded" else "plain"
    return (
        f"{facts.source}, {in_full(config.scale)}, {config.train.epochs} epochs, {how}, seed "
        f"{config.seed}, run {config.run_id}: top-1 {100 * top1:.2f} % of {n:,} test images"
    )
