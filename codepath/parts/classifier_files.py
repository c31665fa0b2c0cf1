"""`codepath extract`: a run's binary classifiers as files, with their measured worth."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from codepath.core.files import make_directory, write_text
from codepath.core.provenance import git_state, now
from codepath.data import ArraySplit, DataSet, FileSplit, Normalize, evaluation_loader
from codepath.evaluate import choose, spread
from codepath.evaluate.binary import (
    Scored,
    draw_negatives,
    negatives_are_drawn,
)
from codepath.evaluate.compression import SHARES, classifier_scores, measure_compression
from codepath.evaluate.extraction import classifier_costs
from codepath.evaluate.latency import interleaved_latency, layout
from codepath.evaluate.thresholds import Objective
from codepath.models import CodedResNeXt
from codepath.models.classifier_file import (
    ClassifierCard,
    save_binary_classifier,
)
from codepath.models.compress import compress
from codepath.models.effects import CALIBRATION_IMAGES, calibration_images, measure_effects
from codepath.models.extract import class_paths, extract_binary_classifier, stored_values
from codepath.parts.judgement import Judgement, judge, kept_judgement, kept_threshold
from codepath.parts.trained_run import (
    LATENCY_BATCHES,
    class_folders,
    class_indices,
    load_coded,
)
from codepath.pipeline.measure import DataFacts, load_run_images, provenance, write_rows
from codepath.run.config import RunConfig
from codepath.store import Measurement
from codepath.train.environment import device_name

THRESHOLD_IMAGES = 10_000
"""Training images, spread over the split, that a compressed classifier's threshold is chosen on."""
_SMALL_DIFFERENCE = 1e-4


@dataclass(frozen=True)
class ExtractOptions:
    """What `codepath extract` is asked for."""

    classes: str = "all"
    objective: Objective = Objective("f1")  # noqa: RUF009 (frozen)
    compress: float | None = None
    """Largest share of the network's parameters that the classifier's file may hold."""
    curve: bool = False
    formats: tuple[str, ...] = ("export", "onnx")
    latency_turns: int = 20


def extract_run(
    run_dir: Path, out: Path, options: ExtractOptions, data: Path | None, console: Console
) -> list[ClassifierCard]:
    """Write the classifiers of a run's classes into OUT/CLASS, and print what they are worth.

    The images are needed where `data` says where they are, for `compress` and `curve`, and where
    the run has no judgement of its classifiers (see `codepath.parts.judgement`).

    With `curve`, F1 against kept share is measured too, and its rows go to
    RUN/rows/compression.csv. A repeated call with the same committed source goes on with this
    measurement behind the last class that was finished.
    """
    config, model, device = load_coded(run_dir)
    compressed = options.compress is not None or options.curve
    images = None
    if (
        compressed
        or data is not None
        or kept_threshold(run_dir, 0, model.num_classes, options.objective) is None
    ):
        images = load_run_images(run_dir, config, data)
    facts = DataFacts.load(run_dir) if images is None else DataFacts.of(images)
    source = _Source(run_dir, config, model, facts, images, device)
    indices = class_indices(options.classes, facts.class_names)
    make_directory(out)
    calibration = _calibration(source) if compressed else None
    cards = []
    for k in track(indices, "classifiers", console=console, disable=len(indices) < 2):
        cards.append(_extract_class(source, k, out, options, calibration))
    console.print(_cards_table(cards))
    if options.curve and calibration is not None and images is not None:
        measured = _curves(source, indices, out, calibration, console)
        write_rows(run_dir, measured, provenance(run_dir, config, images, device), ("compression",))
        console.print(f"wrote {run_dir / 'rows' / 'compression.csv'}", highlight=False)
    return cards


@dataclass(frozen=True)
class _Source:
    """What classifiers are cut out of, and the images to measure them with."""

    run_dir: Path
    config: RunConfig
    model: CodedResNeXt
    facts: DataFacts
    images: DataSet | None
    device: torch.device

    @property
    def normalize(self) -> Normalize:
        return Normalize(self.facts.mean, self.facts.std).to(self.device)

    def batch(self, size: int) -> Tensor:
        """(size, C, H, W): normalised test images or, where these are not at hand, noise."""
        if self.images is None:
            generator = torch.Generator().manual_seed(0)
            return torch.randn(size, *self.facts.image_shape, generator=generator).to(self.device)
        batch = next(iter(evaluation_loader(self.images.test, size)))
        return self.normalize(batch.images.to(self.device))


def _extract_class(
    source: _Source, k: int, out: Path, options: ExtractOptions, calibration: Tensor | None
) -> ClassifierCard:
    model, facts = source.model, source.facts
    name = facts.class_names[k]
    sliced = extract_binary_classifier(model, k)
    fused = sliced.fuse()
    _check_equal(source, fused, k)
    costs = classifier_costs(model, sliced, facts.image_shape)
    if options.compress is not None and calibration is not None:
        statistics = measure_effects(fused, calibration)
        fused = compress(fused, statistics, int(options.compress * costs["network_parameters"]))
        costs["compressed_numbers"] = stored_values(fused)
        costs["compressed_share"] = stored_values(fused) / costs["network_parameters"]
    fused = fused.to(memory_format=torch.channels_last)
    found = _judgement(source, fused, k, options)
    costs["latency"] = _latencies(source, fused, options.latency_turns)
    card = ClassifierCard(
        class_name=name,
        class_index=k,
        network=source.config.model.name,
        run_id=source.config.run_id,
        source=facts.source,
        codewords={
            str(b): "".join(str(int(n in kept)) for n in range(model.paths))
            for b, kept in class_paths(model, k).items()
        },
        image_shape=facts.image_shape,
        mean=facts.mean,
        std=facts.std,
        threshold=found.threshold,
        threshold_origin=found.origin,
        metrics=found.metrics,
        costs=costs,
        commit=git_state()[0],
        created=now(),
    )
    folder = out / class_folders(facts.class_names)[k]
    stored = fused.cpu().to(memory_format=torch.contiguous_format)
    return save_binary_classifier(stored, card, folder, options.formats)


def _check_equal(source: _Source, fused: torch.nn.Module, k: int) -> None:
    """RuntimeError where the cut-out classifier and the masked network differ."""
    x = source.batch(32)
    with torch.inference_mode():
        expected = source.model.forward_coded(x, keep=k).logits[:, k]
        difference = float((fused(x) - expected).abs().max() / expected.abs().max().clamp_min(1))
    if not difference <= _SMALL_DIFFERENCE:
        raise RuntimeError(f"class {k}: the cut-out classifier differs by {difference:g}")


def _calibration(source: _Source) -> Tensor:
    assert source.images is not None
    loader = evaluation_loader(spread(source.images.train, CALIBRATION_IMAGES))
    return calibration_images(source.normalize(batch.images.to(source.device)) for batch in loader)


def _judging_splits(
    images: DataSet, k: int
) -> tuple[ArraySplit | FileSplit, ArraySplit | FileSplit]:
    """Training images for the threshold of class k, THRESHOLD_IMAGES at most, and test images.

    Where the data set's protocol draws negatives, both have those of its first draw.
    """
    train, test = images.train, images.test
    if negatives_are_drawn(len(images.class_names)):
        train, test = (
            choose(split, draw_negatives(split.labels == k, k, 0)) for split in (train, test)
        )
    return spread(train, THRESHOLD_IMAGES), test


def _judgement(
    source: _Source, fused: torch.nn.Module, k: int, options: ExtractOptions
) -> Judgement:
    """The classifier's threshold and worth.

    The evaluation's judgement is used where the classifier is the one that was evaluated, which is
    one without compression.
    """
    if options.compress is None:
        classes = source.model.num_classes
        found = kept_judgement(source.run_dir, k, classes, options.objective)
        if found is not None:
            return found
    assert source.images is not None
    fitted, judged = (
        classifier_scores(fused, evaluation_loader(split), source.normalize, source.device)
        for split in _judging_splits(source.images, k)
    )
    return judge(
        Scored(fitted[0], fitted[1] == k), Scored(judged[0], judged[1] == k), options.objective
    )


def _latencies(source: _Source, fused: torch.nn.Module, turns: int) -> dict[str, Any]:
    """Times of classifier and network at batch 1 and 64, taken in turns; empty for no turns."""
    found: dict[str, Any] = {}
    if not turns:
        return found
    batch, model = source.batch(max(LATENCY_BATCHES)), source.model
    for size in LATENCY_BATCHES:
        if size > len(batch):
            continue
        times = interleaved_latency({"network": model, "classifier": fused}, [batch[:size]], turns)
        found[f"batch {size}"] = {
            "network_ms": 1000 * times["network"].p50,
            "classifier_ms": 1000 * times["classifier"].p50,
            "ratio": times["classifier"].ratio,
        }
    found["device"] = f"{device_name(source.device)}, {layout(model)}"
    return found


def _cards_table(cards: Sequence[ClassifierCard]) -> Table:
    """A table of the sizes, speed and worth of the classifiers that were written."""
    costs = cards[0].costs
    table = Table(
        title=f"of {costs['network_parameters']:,} parameters {costs['parameters']:,} kept "
        f"({100 * costs['parameters_share']:.1f} %; by ratios "
        f"{100 * costs['parameters_by_ratio_share']:.1f} %), multiply-adds "
        f"{100 * costs['macs_share']:.1f} %; n = {cards[0].metrics['n']:,} test images, "
        f"threshold: {cards[0].threshold_origin}"
    )
    for heading in ("class", "F1 [95 %]", "precision", "recall", "AP", "threshold", "stored",
                    "MiB", "time, batch 1", "batch 64"):  # fmt: skip
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for card in cards:
        m, c = card.metrics, card.costs
        times = [c["latency"].get(f"batch {size}", {}).get("ratio") for size in LATENCY_BATCHES]
        table.add_row(
            card.class_name,
            f"{m['f1']:.3f} [{m['f1_95'][0]:.3f}, {m['f1_95'][1]:.3f}]",
            f"{m['precision']:.3f}",
            f"{m['recall']:.3f}",
            f"{m['average_precision']:.3f}",
            f"{card.threshold:.3g}",
            f"{c.get('compressed_numbers', c['stored_numbers']):,}",
            f"{c['file_bytes'] / 2**20:.2f}",
            *("-" if ratio is None else f"{ratio:.2f} x" for ratio in times),
        )
    return table


def _curves(
    source: _Source, indices: Sequence[int], out: Path, calibration: Tensor, console: Console
) -> Iterator[Measurement]:
    """F1 against kept share, of each class in `indices`.

    The curve of a class is kept in OUT/CLASS/curve.json, so that a repeated call with the same
    committed source goes on behind the last class that was finished.
    """
    model, images = source.model, source.images
    assert images is not None
    network = sum(p.numel() for p in model.parameters())
    commit, dirty = git_state()
    about = {
        "run": source.config.run_id,
        "shares": list(SHARES),
        "commit": commit,
        "source": images.source,
    }
    for k in track(indices, "compression", console=console):
        path = out / class_folders(images.class_names)[k] / "curve.json"
        measured = None if dirty else _kept_curve(path, about)
        if measured is None:
            fused = extract_binary_classifier(model, k).fuse()
            train, test = _judging_splits(images, k)
            loaders = evaluation_loader(train), evaluation_loader(test)
            measured = list(
                measure_compression(
                    fused, measure_effects(fused, calibration), k, images.class_names[k], network,
                    loaders, source.normalize, calibration.device, SHARES,
                )
            )  # fmt: skip
            rows = [asdict(measurement) for measurement in measured]
            write_text(path, json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
        yield from measured


def _kept_curve(path: Path, about: dict[str, Any]) -> list[Measurement] | None:
    """The curve that an earlier call kept; None where it is absent, damaged or not `about` this."""
    try:
        kept = json.loads(path.read_text())
        if kept["about"] != about:
            return None
        return [Measurement(**row) for row in kept["rows"]]
    except (OSError, ValueError, KeyError, TypeError):
        return None
