"""What binary classifiers by codewords are worth, against four others of the same or larger size.

    codeword        the class's paths of the coded network
    one-vs-rest     the whole coded network: its logit against the log-sum-exp of the others
    random coded    as many paths of each coded block of the coded network, drawn at random
    random plain    the same of the plain network
    pruned plain    of the plain network's same blocks those of largest first-order effect on the
                    class's logit (on unlabelled training images): as many parameters

Thresholds are chosen for F1 and cross-fitted on the test images for all of them; average precision
needs none. Rows go to results/benchmarks/binary.csv.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.special import logsumexp
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from benchmarks._rows import FOLDER, write_rows
from codepath.core.errors import UserError
from codepath.data import ArraySplit, Loader, Normalize, evaluation_loader
from codepath.evaluate import predict
from codepath.evaluate.binary_protocols import judge
from codepath.evaluate.compression import classifier_scores
from codepath.evaluate.thresholds import Objective
from codepath.models import CodedResNeXt, extract_binary_classifier, extract_paths
from codepath.models.effects import measure_effects
from codepath.models.fused import FusedClassifier
from codepath.parts.trained_run import load_coded
from codepath.pipeline.measure import load_images
from codepath.train import load_trained
from codepath.train.environment import device_name

CALIBRATION = 256


def random_paths(model: CodedResNeXt, rng: np.random.Generator) -> dict[int, list[int]]:
    """As many paths of every coded block as a codeword has, drawn at random."""
    return {
        number: sorted(rng.choice(block.paths, block.active, replace=False).tolist())
        for number, block in model.coded_blocks.items()
    }


def strongest_paths(
    plain: CodedResNeXt, like: CodedResNeXt, k: int, images: Tensor
) -> dict[int, list[int]]:
    """As many paths of a plain network's blocks, those of largest effect on a class's logit."""
    effects = measure_effects(extract_paths(plain, {}, k).fuse(), images).path_effects
    return {
        number: sorted(effects[number - 1].topk(block.active).indices.tolist())
        for number, block in like.coded_blocks.items()
    }


def classifiers(
    coded: CodedResNeXt,
    plain: CodedResNeXt | None,
    k: int,
    draws: int,
    calibration: Tensor,
) -> Iterator[tuple[str, int, FusedClassifier]]:
    """(method, draw, classifier of class k)."""
    yield "codeword", 0, extract_binary_classifier(coded, k).fuse()
    for draw in range(draws):
        kept = random_paths(coded, np.random.default_rng([draw, k]))
        yield "random coded", draw, extract_paths(coded, kept, k).fuse()
        if plain is not None:
            yield "random plain", draw, extract_paths(plain, kept, k).fuse()
    if plain is not None:
        kept = strongest_paths(plain, coded, k, calibration)
        yield "pruned plain", 0, extract_paths(plain, kept, k).fuse()


def worth(score: NDArray[np.float32], positive: NDArray[np.bool_]) -> dict[str, float]:
    """Cross-fitted precision, recall and F1, and average precision."""
    found = judge(score, positive, Objective("f1"), None).counts.metrics()
    return found | {"average_precision": float(average_precision_score(positive, score))}


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("coded", type=Path, help="a trained run of the coded network")
    parser.add_argument("plain", type=Path, nargs="?", help="a trained run of its baseline")
    parser.add_argument("--data", type=Path, help="where the images are")
    parser.add_argument("--images", type=int, default=10_000, help="at most so many test images")
    parser.add_argument("--classes", type=int, default=10, help="the first so many classes")
    parser.add_argument("--draws", type=int, default=3, help="random sets of paths for a class")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the CSV file")
    return parser.parse_args()


def table_of(rows: list[dict[str, Any]], device: torch.device) -> Table:
    """Means over classes of each method's first draw count, F1 and average precision."""
    first, classes = rows[0], len({row["class"] for row in rows})
    table = Table(
        title=f"{first['source']}, {first['scale']} scale, n = {first['n']:,} test images, mean of "
        f"{classes} classes; {device_name(device)}"
    )
    for heading in ("classifier", "parameters", "F1, cross-fitted", "average precision"):
        table.add_column(heading, justify="left" if heading == "classifier" else "right")
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = [row for row in rows if row["method"] == method]
        means = [
            np.mean([row["value"] for row in mine if row["metric"] == metric])
            for metric in ("f1", "average_precision")
        ]
        table.add_row(method, f"{mine[0]['parameters']:,}", *(f"{mean:.3f}" for mean in means))
    return table


def main() -> None:
    """Print a table and write the rows."""
    options = parse_options()
    console = Console(width=120)
    config, coded, device = load_coded(options.coded)
    plain: CodedResNeXt | None = None
    if options.plain is not None:
        loaded: nn.Module = load_trained(options.plain, device)[1]
        if not isinstance(loaded, CodedResNeXt) or loaded.coded_blocks:
            raise UserError(f"{options.plain} is no run of a plain network of this package")
        plain = loaded
    images = load_images(config, options.data)
    if not isinstance(images.test, ArraySplit) or not isinstance(images.train, ArraySplit):
        raise UserError("this benchmark takes images in memory")
    normalize = Normalize(images.mean, images.std).to(device)
    some = np.random.default_rng(0).permutation(len(images.test))[: options.images]
    test: Loader = evaluation_loader(ArraySplit(images.test.images[some], images.test.labels[some]))
    first = np.random.default_rng(0).permutation(len(images.train))[:CALIBRATION]
    calibration = normalize(
        torch.from_numpy(images.train.images[first]).permute(0, 3, 1, 2).to(device)
    )
    logits = predict(coded, test, normalize, device).logits
    rows: list[dict[str, Any]] = []
    for k in track(range(min(options.classes, coded.num_classes)), "classes", console=console):
        labels = images.test.labels[some]
        rest = np.delete(logits, k, axis=1)
        against = (logits[:, k] - logsumexp(rest, axis=1)).astype("f4")
        found = [("one-vs-rest", 0, sum(p.numel() for p in coded.parameters()), against)]
        for method, draw, module in classifiers(coded, plain, k, options.draws, calibration):
            module = module.to(memory_format=torch.channels_last)
            score, _ = classifier_scores(module, test, normalize, device)
            found.append((method, draw, sum(p.numel() for p in module.parameters()), score))
        for method, draw, parameters, score in found:
            rows += [
                {"run": config.run_id, "source": images.source, "scale": config.scale,
                 "method": method, "class": images.class_names[k], "draw": draw,
                 "parameters": parameters, "n": len(some), "metric": metric, "value": value}
                for metric, value in worth(score, labels == k).items()
            ]  # fmt: skip
    console.print(table_of(rows, device))
    path = write_rows(
        "binary",
        rows,
        options.out,
        device_name(device),
        ("run", "method", "class", "draw", "metric"),
    )
    console.print(f"wrote {path}")


if __name__ == "__main__":
    main()
