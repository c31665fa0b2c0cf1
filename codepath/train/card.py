"""A trained network as a folder that timm loads, with its model card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from codepath.core.files import write_text
from codepath.core.markdown import escaped, table
from codepath.data import DataSet
from codepath.experiments.scales import PAPER, in_full
from codepath.models.hub import save_local
from codepath.run.config import RunConfig
from codepath.run.metrics_file import METRICS, metrics_lines
from codepath.run.objectives import ObjectiveConfig
from codepath.store import ALL, DRAWN, read_rows
from codepath.train.precision import trained_precision

FOLDER = "model"
LOADED_BY = '"local-dir:FOLDER"'
"""What the card's example loads."""
EXIT_BUDGETS = (0.5, 0.7)
_PACKAGES = ("torch", "torchvision", "timm", "numpy", "ffcv")


def save_with_card(model: nn.Module, config: RunConfig, images: DataSet, run_dir: Path) -> Path:
    """Write RUN/model: weights, timm's configuration with the data's statistics, README.md."""
    cfg = dict(getattr(model, "pretrained_cfg", {}))
    cfg |= {"mean": images.mean, "std": images.std, "input_size": images.image_shape}
    model.pretrained_cfg = cfg  # type: ignore[assignment]
    folder = save_local(model, run_dir / FOLDER)
    write_card(run_dir, config, images)
    return folder


def write_card(
    run_dir: Path, config: RunConfig, images: DataSet, top1: tuple[float, int] | None = None
) -> None:
    """Write RUN/model/README.md; `top1` is (share correct, images) once the network is measured.

    Commits, versions and precision are those of RUN/env.json, of the processes that trained.
    """
    starts = json.loads((run_dir / "env.json").read_text())
    lines = [
        "---",
        "library_name: timm",
        "license: mit",
        "tags: [image-classification, coded-resnext]",
        "---",
        f"# {config.model.name}, {escaped(f'{config.experiment} {config.name}')}",
        "",
        f"Trained by codepath at its {in_full(config.scale)}, seed {config.seed}, run "
        f"`{config.run_id}`, {_commits(starts)}."
        + (" A proxy: not the paper's scale." if config.scale != PAPER else ""),
        "",
        "```python",
        "import timm, codepath.models",
        f"model = timm.create_model({LOADED_BY}, pretrained=True).eval()",
        "config = timm.data.resolve_model_data_config(model)",
        "transform = timm.data.create_transform(**config)  # of a PIL image",
        "```",
        "",
        "## Data",
        "",
        f"{escaped(images.source)}: {len(images.train):,} training and {len(images.test):,} test "
        f"images of {images.image_shape[1]} x {images.image_shape[2]} pixels, "
        f"{len(images.class_names)} classes. Augmentation: {config.data.words()}. Mean "
        f"{_numbers(images.mean)}, standard deviation {_numbers(images.std)}.",
        "",
        "## Numbers",
        "",
        *_numbers_of(run_dir, top1),
        "",
        "## Recipe",
        "",
        *_table(_recipe(config) | {"precision": trained_precision(run_dir)}),
        "",
        "Versions: "
        + ", ".join(f"{k} {v}" for k, v in starts[-1]["versions"].items() if k in _PACKAGES)
        + ".",
        "",
        "## Licence",
        "",
        "MIT for the weights; the images' own terms hold for the images. Please cite Avranas and "
        "Kountouris, Towards Disentangling Information Paths with Coded ResNeXt, NeurIPS 2022.",
    ]
    write_text(run_dir / FOLDER / "README.md", "\n".join(lines) + "\n")


def _commits(starts: list[dict[str, Any]]) -> str:
    """The commits of the processes that trained, in their order."""
    names = [f"{s['commit']}{' with changes' if s['dirty'] else ''}" for s in starts]
    names = list(dict.fromkeys(names))
    return f"commit{'s' if len(names) > 1 else ''} {', '.join(names)}"


def _numbers(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"


def _numbers_of(run_dir: Path, top1: tuple[float, int] | None) -> list[str]:
    epochs = [line for line in metrics_lines(run_dir / METRICS) if line["kind"] == "epoch"]
    numbers = {}
    if top1 is not None:
        numbers[f"top-1 on {top1[1]:,} test images"] = f"{100 * top1[0]:.2f} %"
    numbers |= _uses(run_dir / "rows")
    if epochs:
        last = epochs[-1]
        numbers["epochs"] = str(last.get("epoch", "unknown"))
        if {"loss", "train_top1"} <= last.keys():
            numbers["training loss of the last epoch"] = f"{last['loss']:.4f}"
            numbers["training top-1 of the last epoch"] = f"{100 * last['train_top1']:.2f} %"
    return _table(numbers)


def _uses(rows: Path) -> dict[str, str]:
    """What a measured run's rows say of early decoders, binary classifiers and exits."""
    numbers = {}
    found = read_rows(rows, "decoders")
    found = found[(found["decoder"] == "eq7") & (found["metric"] == "top1")]
    if len(found):
        shares = ", ".join(f"{100 * value:.2f}" for value in found.sort_values("block")["value"])
        blocks = ", ".join(str(int(block)) for block in sorted(found["block"]))
        numbers[f"top-1 of early decoders (Eq. 7), blocks {blocks}"] = f"{shares} %"
    found = read_rows(rows, "binary")
    found = found[
        (found["metric"] == "f1")
        & (found["objective"] == "f1")
        & (found["fitted"] == "train")
        & found["negatives"].isin([ALL, DRAWN])
        & found["class"].notna()
    ]
    every = found[found["negatives"] == ALL]
    found = every if len(every) else found
    if len(found):
        against = "all other images" if len(every) else "nine drawn negatives each"
        name = f"mean F1 of {len(found)} binary classifiers against {against}"
        numbers[name] = f"{found['value'].mean():.3f}"
    found = read_rows(rows, "exits")
    found = found[
        (found["metric"] == "top1")
        & (found["target"] == "budget")
        & (found["decoder"] == "eq7")
        & (found["criterion"] == "margin")
    ]
    for budget in EXIT_BUDGETS:
        for value in found[np.isclose(found["limit"].astype(float), budget)]["value"]:
            name = f"top-1 with exits at {100 * budget:.0f} % of the multiply-adds, cross-fitted"
            numbers[name] = f"{100 * value:.2f} %"
    return numbers


def _objective(recipe: ObjectiveConfig) -> dict[str, str]:
    """The objective with the settings that it heeds."""
    terms = recipe.terms
    lines = {"objective": recipe.objective}
    if terms.power:
        lines["coding loss"] = f"mu {recipe.mu:g}, exponent {recipe.exponent:g}"
    if terms.scores or terms.distilled:
        against = "the network's softmax" if terms.distilled else "the class"
        lines["codeword scores"] = (
            f"weight {recipe.score_weight:g}, scale {recipe.score_scale:g}, against {against}"
        )
    if terms.asks:
        lines["questions"] = (
            f"asked {recipe.asked:g} of the images, {recipe.own_share:g} of them about their own "
            f"class, weight {recipe.question_weight:g}"
        )
    return lines


def _recipe(config: RunConfig) -> dict[str, str]:
    recipe = config.train
    decayed = "all parameters" if recipe.decay_norm_and_bias else "weights alone"
    return {
        "epochs, batch": f"{recipe.epochs}, {recipe.batch_size}",
        "learning rate": f"{recipe.lr:g} to {recipe.lr_end:g}, cosine by epoch"
        + (f", {recipe.warmup_epochs} epochs of warm-up" if recipe.warmup_epochs else ""),
        "SGD": f"Nesterov momentum {recipe.momentum:g}, weight decay {recipe.weight_decay:g} on "
        + decayed,
        **_objective(recipe),
        "p_drop": f"{config.model.p_drop:g}",
        "label smoothing": f"{recipe.label_smoothing:g}",
        "batch norm": f"statistics over {recipe.bn_batch or 'all'} images, "
        f"momentum {recipe.bn_momentum:g}",
        "moving average": f"{recipe.ema_decay:g}" if recipe.ema_decay else "none",
    }


def _table(values: Mapping[str, str]) -> list[str]:
    return table(["", ""], list(values.items()))
