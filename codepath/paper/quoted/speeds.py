"""Speeds of results/benchmarks/: training, drawing, and what a run costs."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pandas as pd

from codepath.core.errors import UserError
from codepath.experiments import find_experiment
from codepath.experiments.run_time import cost_lines, training_seconds
from codepath.paper.quoted.answer import Answer, Query, place, two_digits
from codepath.paper.quoted.benchmarks import NETWORKS, benchmark, latest, rows_where
from codepath.paper.tables.layout import markdown

MAKERS = {"amd": "AMD EPYC", "intel": "Intel(R) Xeon(R) Processor"}
"""Processors that were measured; of two cores where the rows say so."""
_PRECISIONS = ("float32", "bfloat16")


def of_maker(rows: pd.DataFrame, maker: str) -> pd.DataFrame:
    rows = rows[rows["device"].str.startswith(MAKERS[maker])]
    if rows.empty:
        raise UserError(f"no such rows of {MAKERS[maker]}: measure there with codepath bench")
    return rows


def _ratio(
    results: Path, network: str, precision: str, what: str, rival: str, maker: str = "amd"
) -> float:
    """The coded network's speed or peak memory as a multiple of the rival's."""
    wanted = {"network": network, "precision": precision, "what": what, "variant": rival}
    rows = rows_where(results, "network", **wanted)
    return float(latest(of_maker(rows, maker))["coded_ratio"])


def _place(results: Path, maker: str = "amd") -> str:
    rows = of_maker(rows_where(results, "network"), maker)
    return place(rows, "results/benchmarks/network-cpu.csv")


def _one(network: str, precision: str, what: str, rival: str, maker: str) -> Query:
    def query(results: Path) -> Answer:
        ratio = _ratio(results, network, precision, what, rival, maker)
        form = "{:.0f}" if rival == "literal" and what != "peak memory" else "{:.2f}"
        return Answer(form.format(ratio), _place(results, maker))

    return query


def _end(rival: str, largest: bool) -> Query:
    """The least or largest ratio of training speeds over the paper's networks and precisions."""

    def query(results: Path) -> Answer:
        every = [
            _ratio(results, network, precision, "train", rival)
            for network in NETWORKS
            for precision in _PRECISIONS
        ]
        ratio = max(every) if largest else min(every)
        return Answer(f"{ratio:.0f}" if rival == "literal" else f"{ratio:.2f}", _place(results))

    return query


def _coding_cost(results: Path) -> Answer:
    """The table of what coding costs: speed and memory against plain and literal networks."""
    body = []
    for precision in _PRECISIONS:
        for network, pixels in NETWORKS.items():
            name = network if pixels == 32 else f"{network}, {pixels} px"
            cells = [name, precision]
            for rival in ("plain", "literal"):
                speed, memory = (
                    _ratio(results, network, precision, what, rival)
                    for what in ("train", "peak memory")
                )
                cells += [f"{speed:.0f}" if rival == "literal" else f"{speed:.2f}", f"{memory:.2f}"]
            body.append(cells)
    header = ["network", "precision", "coded / plain speed", "coded / plain peak memory",
              "coded / literal speed", "coded / literal peak memory"]  # fmt: skip
    return Answer(markdown(header, body).rstrip("\n"), _place(results))


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
        return Answer(f"{seconds / 60:.0f} minutes", f"{_place(results)}; evaluation not counted")

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
    found = {
        f"train.{loader}": benchmark(
            "train",
            lambda rows: f"{float(latest(rows)['ratio']):.2f}",
            what="images per second",
            variant=loader,
        )
        for loader in ("torch", "ffcv")
    }
    found["train.rest"] = benchmark(
        "train", lambda rows: f"{100 * latest(rows)['share']:.1f} %", what="all but training"
    )
    return found


def _drawing() -> dict[str, Query]:
    """Seconds that drawing figures, tables, claims and the report take."""
    return {
        f"redraw.{name}": benchmark(
            "redraw",
            lambda rows: f"{two_digits(latest(rows)['value'])} s",
            what=what,
        )
        for name, what in (
            ("nothing", "from nothing"),
            ("unchanged", "nothing changed"),
            ("added", "one run added"),
        )
    }


def numbers() -> dict[str, Query]:
    """Name -> query."""
    found: dict[str, Query] = {
        "table.coding-cost": _coding_cost,
        "cost.cpu.bfloat16": _cost("bfloat16"),
        "cost.cpu.float32": _cost("float32"),
        "cost.paper.gpu": _gpu_hours("table2-cifar10"),
        "cost.cifar100.gpu": _gpu_hours("table2-cifar100"),
        "cost.imagenet.gpu": _gpu_hours("table2-imagenet"),
        **_training(),
        **_drawing(),
    }
    for name, rival in (("speed", "plain"), ("literal", "literal")):
        found[f"{name}.least"] = _end(rival, largest=False)
        found[f"{name}.most"] = _end(rival, largest=True)
        for precision in _PRECISIONS:
            small = _one("cpu scale", precision, "train", rival, "amd")
            found[f"{name}.small.{precision}"] = small
        for network in NETWORKS:
            for precision in _PRECISIONS:
                for maker in MAKERS:
                    end = f"{network}.{precision}.{maker}"
                    found[f"{name}.{end}"] = _one(network, precision, "train", rival, maker)
                    found[f"{name}_memory.{end}"] = _one(network, precision, "peak memory", rival,
                                                         maker)  # fmt: skip
    return found
