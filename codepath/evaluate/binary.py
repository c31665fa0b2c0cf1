"""Binary classifiers by masking: keep one class's paths and read its logit (Fig 2b, 3).

Negatives are chosen as in the paper. With up to ALL_NEGATIVES_UP_TO classes, a classifier is judged
against all images of other classes. With more, NEGATIVES_PER_POSITIVE negatives for each positive
are drawn, DRAWS times. A draw is a hash of class, draw and image, so that it is the same wherever
it is needed. The threshold of draw i comes from draw i of the training images. Measurements are
means over the draws.

Only images that a protocol looks at are scored. Where negatives are drawn, these are each class's
positives and drawn negatives of the training images and, above ALL_TEST_IMAGES_UP_TO classes, of
the test images too. ImageNet takes 58 million passes through the coded blocks for the training
images instead of 1,281 million, and 2.2 million for the test images instead of 50 million. It takes
1.1 GB of memory while scoring, 0.5 GB afterwards, and as much on the disk. The draws themselves
take some minutes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from codepath.core.arrays import read_arrays
from codepath.core.errors import UserError
from codepath.core.files import atomic_path
from codepath.data import ArraySplit, FileSplit, Loader, Normalize, evaluation_loader
from codepath.data.randomness import counter_hash
from codepath.evaluate.predict import evaluation_batches
from codepath.evaluate.thresholds import Objective, choose_threshold, count
from codepath.models import CodedResNeXt
from codepath.store import ALL, DRAWN, Measurement

HISTOGRAM_BINS = 40
HISTOGRAM_CLASSES = 10
"""Fig 3 and 7 show the first ten classes."""
NEGATIVES_PER_POSITIVE = 9
DRAWS = 5
ALL_NEGATIVES_UP_TO = 10
"""Classes. With ten of equal size, nine negatives for each positive are all there are."""
ALL_TEST_IMAGES_UP_TO = 100
"""Classes up to which every test image is scored by every classifier."""
_DRAWN_NEGATIVES = 1 << 33  # beyond the draws of codepath.data.randomness.Draw
_PAIRS = 256  # pairs of a class and an image in one pass through the coded blocks


class Scored(NamedTuple):
    """Some images' scores by one classifier."""

    score: NDArray[np.float32]
    """(m,)"""
    positive: NDArray[np.bool_]
    """(m,) whether the image is of the class."""


class ClassScores(NamedTuple):
    """All scored images of one classifier, and the draws among them."""

    score: NDArray[np.float32]
    """(m,)"""
    positive: NDArray[np.bool_]
    """(m,)"""
    draws: tuple[NDArray[np.int64], ...]
    """Each draw's places in `score`: all positives and their negatives."""

    @property
    def all(self) -> Scored:
        """Every scored image."""
        return Scored(self.score, self.positive)

    def draw(self, number: int) -> Scored:
        """The images of one draw."""
        places = self.draws[number]
        return Scored(self.score[places], self.positive[places])


class BinaryScores(NamedTuple):
    """Outputs of all K binary classifiers for every image of a split."""

    scores: NDArray[np.float32]
    """(n, K): entry k is the logit of class k when only its paths act."""
    labels: NDArray[np.int64]
    """(n,)"""

    def of_class(self, k: int) -> ClassScores:
        """The scores of classifier k."""
        positive = self.labels == k
        draws = tuple(draw_negatives(positive, k, draw) for draw in range(DRAWS))
        return ClassScores(self.scores[:, k], positive, draws)

    def save(self, path: Path) -> None:
        """Write a compressed .npz, for `load_binary_scores`."""
        _save(path, self)


class DrawnScores(NamedTuple):
    """Outputs of K binary classifiers, each for its positives and drawn negatives of a split.

    They are kept for P pairs of a class and an image, ordered by class and then by image.
    """

    labels: NDArray[np.int64]
    """(n,)"""
    starts: NDArray[np.int64]
    """(K + 1,): the pairs of class k are those from starts[k] to starts[k + 1]."""
    places: NDArray[np.int32]
    """(P,) each pair's image, as its place in the split."""
    draws: NDArray[np.uint8]
    """(P,) bit i is set where the image is in draw i."""
    scores: NDArray[np.float32]
    """(P,)"""

    def of_class(self, k: int) -> ClassScores:
        """The scores of classifier k."""
        mine = slice(int(self.starts[k]), int(self.starts[k + 1]))
        draws = self.draws[mine]
        return ClassScores(
            self.scores[mine],
            self.labels[self.places[mine]] == k,
            tuple(np.flatnonzero(draws & (1 << draw)) for draw in range(DRAWS)),
        )

    def save(self, path: Path) -> None:
        """Write a compressed .npz, for `load_binary_scores`."""
        _save(path, self)


AnyScores = BinaryScores | DrawnScores


def _save(path: Path, scores: AnyScores) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **scores._asdict())


def load_binary_scores(path: Path) -> AnyScores:
    """What `save` wrote; UserError where the file is damaged."""
    try:
        arrays = read_arrays(path)
        kind = DrawnScores if "draws" in arrays else BinaryScores
        scores = kind(**{name: arrays[name] for name in kind._fields})
        if not _belong_together(scores):
            raise ValueError("its arrays do not belong together")
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} is damaged ({error}); evaluate the run again") from None
    return scores


def _belong_together(saved: AnyScores) -> bool:
    """Whether all arrays have the shapes and types of their kind, and point into one another."""
    n = len(saved.labels)
    if (
        saved.labels.shape != (n,)
        or saved.labels.dtype != np.int64
        or saved.scores.dtype.kind != "f"
    ):
        return False
    if isinstance(saved, BinaryScores):
        return saved.scores.ndim == 2 and len(saved.scores) == n
    pairs = len(saved.scores)
    shapes = {saved.scores.shape, saved.places.shape, saved.draws.shape}
    kinds = (saved.starts.dtype.kind, saved.places.dtype.kind, saved.draws.dtype)
    if shapes != {(pairs,)} or kinds != ("i", "i", np.uint8) or saved.starts.ndim != 1:
        return False
    ends = [0, *saved.starts.tolist(), pairs]
    inside = pairs == 0 or 0 <= saved.places.min() <= saved.places.max() < n
    return len(ends) > 3 and ends == sorted(ends) and ends[1] == 0 and ends[-2] == pairs and inside


def negatives_are_drawn(classes: int) -> bool:
    """Whether a data set of so many classes is judged on drawn negatives."""
    return classes > ALL_NEGATIVES_UP_TO


def draw_places(places: NDArray[np.int64], wanted: int, k: int, draw: int) -> NDArray[np.int64]:
    """`wanted` of the places (or all if fewer), chosen by a hash of class, draw and place."""
    if wanted >= len(places):
        return places
    keys = counter_hash(draw, k, places, _DRAWN_NEGATIVES)
    return np.sort(places[np.argpartition(keys, wanted)[:wanted]])


def draw_negatives(positive: NDArray[np.bool_], k: int, draw: int) -> NDArray[np.int64]:
    """Places of all positives and of NEGATIVES_PER_POSITIVE negatives each, or all there are.

    Args:
        positive: (n,) whether an image is of class k.
        k, draw: class and draw, on which the drawn negatives depend.
    """
    yes, no = np.flatnonzero(positive), np.flatnonzero(~positive)
    drawn = draw_places(no, NEGATIVES_PER_POSITIVE * len(yes), k, draw)
    return np.sort(np.concatenate([yes, drawn]))


@torch.inference_mode()
def binary_scores(
    model: CodedResNeXt, loader: Loader, normalize: Normalize, device: torch.device
) -> BinaryScores:
    """Score every image with all K classifiers; the uncoded start is computed once."""
    first = min(model.coded_blocks)
    scores, labels = [], []
    for images, label, _ in evaluation_batches(loader, normalize, device):
        features = model.forward_until(images, first)
        columns = [
            model.forward_coded(features, keep=k, first_block=first).logits[:, k]
            for k in range(model.num_classes)
        ]
        scores.append(torch.stack(columns, 1).float().cpu())
        labels.append(label.cpu())
    return BinaryScores(torch.cat(scores).numpy(), torch.cat(labels).numpy())


@torch.inference_mode()
def drawn_scores(
    model: CodedResNeXt,
    loader: Loader,
    labels: NDArray[np.int64],
    normalize: Normalize,
    device: torch.device,
) -> DrawnScores:
    """Score each class's positives and drawn negatives, in one pass over the images.

    Args:
        model: the network.
        loader: yields the split's images.
        labels: (n,) labels of the split.
        normalize, device: of the network.
    """
    starts, places, draws = _drawn_pairs(labels, model.num_classes)
    classes = np.repeat(np.arange(model.num_classes, dtype=np.int16), np.diff(starts))
    order = np.argsort(places, kind="stable")
    bounds = np.r_[0, np.cumsum(np.bincount(places, minlength=len(labels)))]
    scores = np.empty(len(places), np.float32)
    first = min(model.coded_blocks)
    for images, _, indices in evaluation_batches(loader, normalize, device):
        features = model.forward_until(images, first)
        own = [order[bounds[i] : bounds[i + 1]] for i in indices.tolist()]
        rows = torch.from_numpy(np.repeat(np.arange(len(own)), [len(pairs) for pairs in own]))
        pairs = np.concatenate(own)
        for start in range(0, len(pairs), _PAIRS):
            chosen = pairs[start : start + _PAIRS]
            keep = torch.from_numpy(classes[chosen].astype(np.int64)).to(device)
            x = features[rows[start : start + _PAIRS].to(device)]
            logits = model.forward_coded(x, keep=keep, first_block=first).logits
            scores[chosen] = logits.gather(1, keep[:, None])[:, 0].float().cpu().numpy()
    return DrawnScores(labels, starts, places, draws, scores)


def _drawn_pairs(
    labels: NDArray[np.int64], classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.uint8]]:
    """`starts`, `places` and `draws` of `DrawnScores`."""
    places, draws = [], []
    for k in range(classes):
        bits = np.zeros(len(labels), np.uint8)
        positive = labels == k
        for draw in range(DRAWS):
            bits[draw_negatives(positive, k, draw)] |= 1 << draw
        some = np.flatnonzero(bits)
        places.append(some.astype(np.int32))
        draws.append(bits[some])
    starts = np.r_[0, np.cumsum([len(some) for some in places])]
    return starts, np.concatenate(places), np.concatenate(draws)


def score_split(
    model: CodedResNeXt,
    split: ArraySplit | FileSplit,
    most_classes: int,
    normalize: Normalize,
    device: torch.device,
) -> AnyScores:
    """Scores of a split: of all images up to `most_classes` classes, else only of drawn ones."""
    loader = evaluation_loader(split)
    if model.num_classes > most_classes:
        return drawn_scores(model, loader, split.labels, normalize, device)
    return binary_scores(model, loader, normalize, device)


def protocol_pairs(
    train: ClassScores, test: ClassScores, drawn: bool
) -> list[tuple[Scored, Scored]]:
    """(images that choose the threshold, images that are judged): one pair, or one a draw."""
    if not drawn:
        return [(train.all, test.all)]
    return [(train.draw(i), test.draw(i)) for i in range(DRAWS)]


class Protocol(NamedTuple):
    """One classifier's results on the pairs of `protocol_pairs`."""

    metrics: dict[str, list[float]]
    """precision, recall, f1, average_precision and prevalence, a value for each pair."""
    thresholds: list[float]


def judge_pairs(pairs: Sequence[tuple[Scored, Scored]], objective: Objective) -> Protocol:
    """Choose a threshold on the first images of each pair, and judge it on the second."""
    metrics: dict[str, list[float]] = {}
    thresholds = []
    for fitted, (score, positive) in pairs:
        thresholds.append(choose_threshold(*fitted, objective))
        values = count(score >= thresholds[-1], positive).metrics() | {
            "average_precision": float(average_precision_score(positive, score)),
            "prevalence": float(positive.mean()),
        }
        for metric, value in values.items():
            metrics.setdefault(metric, []).append(value)
    return Protocol(metrics, thresholds)


def measure_binary(
    train: AnyScores, test: AnyScores, class_names: Sequence[str]
) -> Iterator[Measurement]:
    """Measure every class's classifier at the threshold of highest F1 on training images.

    The measurements of a class are the threshold, and precision, recall, F1, average precision
    and prevalence on test images. The first classes also get a histogram of the logit over all
    scored test images (counts per bin). Values are against all negatives, or means over the draws
    (see the module). Classes without images are left out.
    """
    drawn = negatives_are_drawn(len(class_names))
    for k, name in enumerate(class_names):
        fitted, judged = train.of_class(k), test.of_class(k)
        if not (fitted.positive.any() and judged.positive.any()):
            continue
        pairs = protocol_pairs(fitted, judged, drawn)
        found = judge_pairs(pairs, Objective("f1"))
        (fitting, judging), *_ = pairs
        judged_values = [("test", len(judging.score), *item) for item in found.metrics.items()]
        chosen = ("train", len(fitting.score), "threshold", found.thresholds)
        for split, n, metric, values in (*judged_values, chosen):
            yield Measurement(
                kind="binary",
                metric=metric,
                value=float(np.mean(values)),
                n=n,
                split=split,
                class_name=name,
                objective="f1",
                fitted="train",
                negatives=DRAWN if drawn else ALL,
            )
        if k >= HISTOGRAM_CLASSES:
            continue
        score, positive = judged.all
        edges = np.histogram_bin_edges(score, HISTOGRAM_BINS)
        for group, scores in (("positive", score[positive]), ("negative", score[~positive])):
            counts, _ = np.histogram(scores, edges)
            for left, images in zip(edges, counts, strict=False):
                yield Measurement(
                    kind="histograms",
                    metric="images",
                    value=float(images),
                    n=len(score),
                    class_name=name,
                    group=group,
                    left=float(left),
                )
