"""Rows of every planned run, made up with known formulas (nothing here was measured)."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from codepath import store
from codepath.core.provenance import REPO_ROOT
from codepath.experiments import all_experiments
from codepath.run.config import RunConfig
from codepath.store import ALL, DRAWN, Measurement, Provenance

BASE = Provenance(
    experiment="table2-cifar10",
    run_id="x",
    scale="paper",
    dataset="cifar10",
    source="made up",
    model="coded",
    seed=0,
    precision="float32",
    device="none",
    commit="abc",
    dirty=False,
    created="2026-01-01T00:00:00.000000+00:00",
)
_CLASSES = {"cifar10": 10, "digits": 10, "cifar100": 100, "imagenet": 50}
_TOP1 = {"cifar10": 0.94, "digits": 0.98, "cifar100": 0.78, "imagenet": 0.78}


def _first_and_last(run: RunConfig) -> tuple[int, int]:
    if "20_" in run.model.name:
        return 3, 6
    return (8, 16) if "50_" in run.model.name else (4, 9)


def measurements(run: RunConfig, shift: float = 0.0) -> Iterator[Measurement]:
    """What a run would have measured; the paper's claims hold, and `shift` is added."""
    source = run.data.source.removeprefix("generated-")
    top1 = _TOP1[source] - 0.001 * abs(run.train.mu - 6) + shift
    top1 -= {4: 0.0, 2: 0.012, 1: 0.07}[int(run.train.exponent)]
    asks = run.train.terms.asks
    top1 += 0.002 if asks else 0.0
    if run.model_role == "baseline":
        yield Measurement(kind="accuracy", metric="top1", value=top1 - 0.006, n=10_000)
        return
    yield Measurement(kind="accuracy", metric="top1", value=top1, n=10_000)
    if run.experiment == "table2-cifar10" or asks:
        yield from put_to_use(_CLASSES[source], shift)
    first, last = _first_and_last(run)
    learned = run.train.mu / (run.train.mu + 2)
    for block in range(first, last + 1):
        depth = (block - first + 1) / (last - first + 1)
        value = 0.02 + learned * (top1 - 0.05) * depth + (0.02 if asks else 0.0)
        linear = value + 0.03 * (1 - depth) + 0.01
        for decoder, top in (("eq7", value), ("linear", linear)):
            yield Measurement(
                kind="decoders", metric="top1", value=top, n=10_000, block=block, decoder=decoder
            )
    for removed in range(6):
        for group, slope in (("active", -0.01), ("inactive", 0.002)):
            yield Measurement(
                kind="removal",
                metric="top1",
                value=top1 + slope * removed,
                n=10_000,
                block=run.evaluation.removal_block,
                removed_from=group,
                removed=removed,
            )
    works = asks or (run.model.p_drop > 0 and run.model.aggregate == "sum")
    for k in range(_CLASSES[source]):
        precision = (0.9 if works else 0.2) - 0.02 * (k % 10) + (0.03 if asks else 0.0)
        values = {
            "precision": precision,
            "recall": 0.8 + 0.001 * k,
            "f1": precision - 0.05,
            "prevalence": 0.1,
        }
        own = ALL if _CLASSES[source] <= 10 else DRAWN
        for negatives, factor in ((own, 1.0), ("CIFAR-100, made up", 0.8)):
            for metric, value in values.items():
                yield Measurement(
                    kind="binary",
                    metric=metric,
                    value=value * factor,
                    n=10_000,
                    class_name=f"c{k}",
                    objective="f1",
                    fitted="train",
                    negatives=negatives,
                )
        yield Measurement(
            kind="binary",
            metric="threshold",
            value=2.5,
            n=50_000,
            split="train",
            class_name=f"c{k}",
            objective="f1",
            fitted="train",
            negatives=own,
        )
        for x in range(4 if k < 10 else 0):
            heap = (1, 1, 2, 16 + k)  # the last bin is above the threshold
            for group, count in (("positive", heap[x]), ("negative", heap[3 - x])):
                yield Measurement(
                    kind="histograms",
                    metric="images",
                    value=float(count),
                    n=10_000,
                    class_name=f"c{k}",
                    group=group,
                    left=float(x),
                )


def put_to_use(classes: int, shift: float) -> Iterator[Measurement]:
    """Rows of compression, measured paths and exits."""
    for k in range(classes):
        for share in (1.0, 0.4, 0.3):
            found = {"f1": 0.9 - 0.02 * (share < 0.4) + 0.001 * k, "share": min(share, 0.46)}
            for metric, value in found.items():
                yield Measurement(
                    kind="compression", metric=metric, value=value, n=10_000, asked=share,
                    class_name=f"c{k}",
                )  # fmt: skip
        for block in (4, 5):
            for path in range(3):
                cells = {"energy": 0.8 if path == k % 3 else 0.1, "codeword": path == k % 3}
                for metric, value in cells.items():
                    yield Measurement(
                        kind="paths", metric=metric, value=float(value), n=1000, block=block,
                        path=path, class_name=f"c{k}",
                    )  # fmt: skip
    for block in (4, 5):
        yield Measurement(kind="paths", metric="bit_error", value=0.01, n=10_000, block=block)
    for block, macs in zip((*range(4, 10), 0), (30, 40, 50, 60, 70, 90, 100), strict=True):
        yield Measurement(
            kind="exits", metric="macs_until", value=macs, n=1, split=None, block=block
        )
    for decoder in ("eq7", "combined"):
        for budget in (0.5, 0.6, 0.7, 0.8, 1.0):
            for metric, value in (("top1", 0.8 + 0.14 * budget + shift), ("macs", 100 * budget)):
                yield Measurement(
                    kind="exits", metric=metric, value=value, n=10_000, decoder=decoder,
                    criterion="margin", fitted="crossfit", target="budget", limit=budget,
                )  # fmt: skip


def provenance_of(run: RunConfig) -> Provenance:
    """Where the made-up rows of a run claim to come from."""
    return dataclasses.replace(
        BASE,
        experiment=run.experiment,
        run_id=run.run_id,
        scale=run.scale,
        dataset=run.data.source,
        model=run.model_role,
        seed=run.seed,
    )


def write_results(
    folder: Path, scales: tuple[str, ...] = ("paper",), seeds: int = 3, dataset: str = ""
) -> None:
    """Rows of every experiment's runs at some scales (of one data set), and our benchmarks'."""
    shutil.copytree(REPO_ROOT / "results" / "benchmarks", folder / "benchmarks")
    done = set()
    for experiment in all_experiments():
        for scale in set(scales) & set(experiment.scales):
            for seed in range(seeds):
                for run in experiment.runs(scale, seed):
                    if run.run_id not in done and dataset in run.data.source:
                        done.add(run.run_id)
                        rows = store.rows_of(measurements(run, 0.001 * seed), provenance_of(run))
                        for name, frame in ({store.RUNS: rows.runs} | rows.tables).items():
                            header = not (folder / f"{name}.csv").exists()
                            frame.to_csv(
                                folder / f"{name}.csv", mode="a", header=header, index=False
                            )


def add_rows(results: Path, others: Path) -> None:
    """Append the rows of other results, of other runs, to some."""
    for path in others.glob("*.csv"):
        _, *lines = path.read_text().splitlines(keepends=True)
        with (results / path.name).open("a") as file:
            file.writelines(lines)


def keep_runs(results: Path, wanted: Callable[[str], bool]) -> None:
    """Leave the runs whose line in runs.csv is wanted, and their rows."""
    path = results / f"{store.RUNS}.csv"
    head, *lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if wanted(line)]
    keys = {line.split(",")[0] for line in kept}
    path.write_text("".join([head, *kept]))
    for kind in store.KINDS:
        table = results / f"{kind}.csv"
        if table.exists():
            head, *rows = table.read_text().splitlines(keepends=True)
            table.write_text("".join([head, *(r for r in rows if r.split(",")[0] in keys)]))
