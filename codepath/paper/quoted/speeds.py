"""Speeds of results/benchmarks/: training, drawing, and what a run costs."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pandas as pd

from codepath.core.errors import UserError
from codepath.experiments import find_experiment
from codepath.experiments.run_time import cost_lines, training_seconds
from codepath.paper.quoted.alike import Text, alike
from codepath.paper.quoted.answer import Answer, Query, two_digits
from codepath.paper.quoted.benchmarks import (
    MAKERS,
    NETWORKS,
    benchmark,
    largest,
    latest,
    newest,
    newest_percent,
)
from codepath.paper.tables.layout import markdown

_NETWORK = benchmark("network")
_PRECISIONS = ("float32", "bfloat16")
_RIVALS = {"speed": ("plain", "{:.2f}"), "literal": ("literal", "{:.0f}")}
"""How a name begins -> the rival of the coded network, and how the ratio of speeds is written."""


def _end(form: str, largest: bool) -> Text:
    """The least or largest ratio over networks and precisions."""

    def text(rows: pd.DataFrame) -> str:
        cases = rows.sort_values("created", kind="stable").groupby(["network", "precision"])
        ratios = cases["coded_ratio"].last()
        return form.format(ratios.max() if largest else ratios.min())

    return text


def _ratios() -> dict[str, Query]:
    """The coded network's speed and peak memory as multiples of the rival's."""
    found: dict[str, Query] = {}
    for name, (rival, form) in _RIVALS.items():
        train = {"what": "train", "variant": rival}
        every = train | {"network": tuple(NETWORKS), "device": MAKERS["amd"]}
        found |= {
            **alike(f"{name}.least", _NETWORK, _end(form, largest=False), every),
            **alike(f"{name}.most", _NETWORK, _end(form, largest=True), every),
            **alike(f"{name}.{{network}}.{{precision}}.{{device}}", _NETWORK,
                    newest(form, "coded_ratio"), train,
                    network=NETWORKS.keys(), precision=_PRECISIONS, device=MAKERS),
            **alike(f"{name}.small.{{precision}}", _NETWORK, newest("{:.2f}", "coded_ratio"),
                    train | {"network": "cpu scale", "device": MAKERS["amd"]},
                    precision=_PRECISIONS),
            **alike(f"{name}_memory.{{network}}.{{precision}}.{{device}}", _NETWORK,
                    newest("{:.2f}", "coded_ratio"), {"what": "peak memory", "variant": rival},
                    network=NETWORKS.keys(), precision=_PRECISIONS, device=MAKERS),
        }  # fmt: skip
    return found


def _coding_cost(rows: pd.DataFrame) -> str:
    """The table of what coding costs: speed and memory against plain and literal networks."""
    body = []
    for precision in _PRECISIONS:
        for network, pixels in NETWORKS.items():
            cells = [network if pixels == 32 else f"{network}, {pixels} px", precision]
            for rival, form in _RIVALS.values():
                for what, digits in (("train", form), ("peak memory", "{:.2f}")):
                    one = rows[
                        (rows["network"] == network)
                        & (rows["precision"] == precision)
                        & (rows["variant"] == rival)
                        & (rows["what"] == what)
                    ]
                    cells.append(newest(digits, "coded_ratio")(one))
            body.append(cells)
    header = ["network", "precision", "coded / plain speed", "coded / plain peak memory",
              "coded / literal speed", "coded / literal peak memory"]  # fmt: skip
    return markdown(header, body).rstrip("\n")


def _cost(precision: str) -> Query:
    """Minutes that both runs of Table 2 train for one seed at cpu scale, by measured steps."""

    def query(results: Path) -> Answer:
        device, seconds = f"{MAKERS['amd']}, 2 cores", 0.0
        for run in find_experiment("table2-cifar10").runs("cpu", 0):
            train = dataclasses.replace(run.train, precision=precision)
            time = training_seconds(dataclasses.replace(run, train=train), results, device)
            if time is None:
                raise UserError(f"no training speed of {device}: codepath bench network makes it")
            seconds += time
        rows = _NETWORK.where(results, device=MAKERS["amd"])
        origin = f"{_NETWORK.origin(results, rows)}; evaluation not counted"
        return Answer(f"{seconds / 60:.0f} minutes", origin)

    return query


def _gpu_hours(experiment: str) -> Query:
    """GPU hours of an experiment at paper scale; by arithmetic, as `codepath show` says."""

    def query(results: Path) -> Answer:
        for line in cost_lines(find_experiment(experiment), results, ("paper",)):
            hours = re.search(r"about ([\d.,]+) GPU hours", line)
            if hours:
                return Answer(
                    f"{hours[1]} GPU hours", f"by arithmetic, see codepath show {experiment}"
                )
        raise UserError(
            f"codepath show {experiment} computes no GPU hours any more, since a GPU's speed was "
            "measured; quote that"
        )

    return query


def _training() -> dict[str, Query]:
    """Training from end to end with each loader, as multiples of the DataLoader's speed."""
    source, speed = benchmark("train"), {"what": "images per second"}
    return {
        **alike("train.{variant}", source, newest("{:.2f}", "ratio"), speed,
                variant=("torch", "ffcv")),
        **alike("train.steps", source, largest("{:.0f}", "count"), speed),
        **alike("train.rest", source, newest_percent("share"), {"what": "all but training"}),
    }  # fmt: skip


def _drawing() -> dict[str, Query]:
    """Seconds that drawing figures, tables, claims and the report take."""
    source = benchmark("redraw")
    what = {"nothing": "from nothing", "unchanged": "nothing changed", "added": "one run added"}
    return {
        **alike("redraw.{what}", source, lambda rows: f"{two_digits(latest(rows)['value'])} s",
                what=what),
        **alike("redraw.turns", source, largest("{:.0f}", "turns")),
    }  # fmt: skip


def numbers() -> dict[str, Query]:
    """Name -> query."""
    amd = {"device": MAKERS["amd"]}
    return {
        **_ratios(),
        **alike("table.coding-cost", _NETWORK, _coding_cost, amd),
        **{f"cost.cpu.{precision}": _cost(precision) for precision in _PRECISIONS},
        "cost.paper.gpu": _gpu_hours("table2-cifar10"),
        "cost.cifar100.gpu": _gpu_hours("table2-cifar100"),
        "cost.imagenet.gpu": _gpu_hours("table2-imagenet"),
        **_training(),
        **_drawing(),
    }
