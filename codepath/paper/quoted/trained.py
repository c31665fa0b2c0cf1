"""Numbers of one trained network: WHAT.NETWORK or WHAT.NETWORK.WHICH, as in `removal.cpu.active`.

They are means over the seeds that were measured; `top1.cpu.seed0` is of seed 0 alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from codepath.experiments.coverage import rows_of_kind
from codepath.paper.binary_rows import own_negatives
from codepath.paper.exit_rows import CRITERION
from codepath.paper.quoted.answer import Answer, Query, devices, needed, percents, place

BUDGETS = (0.5, 0.6, 0.7, 0.75, 0.8)
"""Multiply-adds of early exits, as shares of the network's."""
_CURVE = (0.5, 0.6, 0.7, 0.8)
_BLOCKS = range(1, 10)
_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class Network(NamedTuple):
    """What tells the rows of a trained network from all others."""

    experiment: str
    scale: str
    model: str = "coded"
    seeds: tuple[int, ...] = ()
    """Only these; empty: every seed that was measured."""
    folder: str = "."
    """The folder of its rows, within results/."""

    def rows(self, results: Path, kind: str) -> pd.DataFrame:
        """Its rows of one kind; of each seed those of the run that was measured last."""
        every = rows_of_kind(results / self.folder, kind)
        known = _chosen.get((self, kind))
        if known is None or known[0] is not every:
            known = _chosen[self, kind] = (every, self._choose(every))
        return known[1]

    def _choose(self, rows: pd.DataFrame) -> pd.DataFrame:
        rows = rows[
            (rows["experiment"] == self.experiment)
            & (rows["scale"] == self.scale)
            & (rows["model"] == self.model)
        ]
        if self.seeds:
            rows = rows[rows["seed"].isin(self.seeds)]
        if rows.empty:
            return rows
        return rows[rows["run_id"] == rows["seed"].map(rows.groupby("seed")["run_id"].last())]

    def named(self) -> str:
        """The network in words, for an error."""
        return f"{self.experiment}, {self.model}, at {self.scale} scale"


_chosen: dict[tuple[Network, str], tuple[pd.DataFrame, pd.DataFrame]] = {}
"""(network, kind) -> all rows that were read, and the network's among them."""

_OWN = "table2-cifar10+train.objective=extraction_and_cross_entropy+model.p_drop=0"
_SETTINGS = {
    "p_drop_0": "model.p_drop=0",
    "p_drop_0.2": "model.p_drop=0.2",
    "mu_0": "train.mu=0",
    "mu_2": "train.mu=2",
    "mu_12": "train.mu=12",
    "exponent_1": "train.exponent=1",
    "exponent_2": "train.exponent=2",
    "concatenated": "model.aggregate=concat",
    "best_codewords": "model.scheme_family=best",
    "third_stage": "model.active=7,5,3",
    "fewer_paths": "model.active=10,(5,3),2",
}
"""An ablation's name -> the setting in which it differs from Table 2's coded network."""


def networks() -> dict[str, Network]:
    """The networks that have numbers, by their names."""
    found = {
        "paper": Network("table2-cifar10", "paper"),
        "paper.plain": Network("table2-cifar10", "paper", "baseline"),
        "paper.extraction": Network(_OWN, "paper"),
        "cpu": Network("table2-cifar10", "cpu"),
        "cpu.plain": Network("table2-cifar10", "cpu", "baseline"),
        "cpu.extraction": Network(_OWN, "cpu"),
        "digits": Network("table2-digits", "demo", folder="demo"),
        "digits.plain": Network("table2-digits", "demo", "baseline", folder="demo"),
    }
    for name, setting in _SETTINGS.items():
        found[f"cpu.{name}"] = Network(f"table2-cifar10+{setting}", "cpu")
    for name, setting in (("mu_0", "train.mu=0"), ("mu_2", "train.mu=2"), ("mu_18", "train.mu=18"),
                          ("p_drop_0", "model.p_drop=0"), ("p_drop_0.2", "model.p_drop=0.2"),
                          ("concatenated", "model.aggregate=concat")):  # fmt: skip
        found[f"digits.{name}"] = Network(f"table2-digits+{setting}", "demo", folder="demo")
    for name, network in list(found.items()):
        found[f"{name}.seed0"] = network._replace(seeds=(0,))
        found[f"{name}.seed1"] = network._replace(seeds=(1,))
    found["cpu.seeds01"] = found["cpu"]._replace(seeds=(0, 1))
    return found


class Measure(NamedTuple):
    """A number of a network: which rows, and the text that they make."""

    kind: str
    choose: Callable[[pd.DataFrame], pd.DataFrame]
    text: Callable[[pd.DataFrame], str]

    def of(self, network: Network) -> Query:
        """The query for one network."""

        def query(results: Path) -> Answer:
            rows = network.rows(results, self.kind)
            chosen = needed(self.choose(rows), f"{self.kind} of {network.named()}")
            folder = "results" if network.folder == "." else f"results/{network.folder}"
            return Answer(self.text(chosen), place(chosen, f"{folder}/{self.kind}.csv"))

        return query


def mean(rows: pd.DataFrame) -> float:
    """The mean of the rows' values, each seed weighing the same."""
    return float(rows.groupby("seed")["value"].mean().astype(float).mean())


def _percent(digits: int) -> Callable[[pd.DataFrame], str]:
    return lambda rows: percents([mean(rows)], digits)


def _spread(rows: pd.DataFrame) -> str:
    """Mean and standard deviation over seeds, in per cent; the mean alone of a single seed."""
    values = 100 * rows.groupby("seed")["value"].mean().astype(float)
    spread = f" ± {values.std():.2f}" if len(values) > 1 else ""
    return f"{values.mean():.2f}{spread} %"


def _along(column: str) -> Callable[[pd.DataFrame], str]:
    """The means along a column, as a list."""
    return lambda rows: percents([mean(part) for _, part in rows.groupby(column)])


def _where(**wanted: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """The rows in which columns have these values."""

    def choose(rows: pd.DataFrame) -> pd.DataFrame:
        for column, value in wanted.items():
            rows = rows[(rows[column] == value).fillna(False).astype(bool)]
        return rows

    return choose


def budget_rows(rows: pd.DataFrame, decoder: str, budgets: tuple[float, ...]) -> pd.DataFrame:
    """Top-1 of early exits with the margin criterion, at these budgets of multiply-adds."""
    rows = _where(metric="top1", target="budget", criterion=CRITERION, decoder=decoder)(rows)
    return rows[rows["limit"].round(4).isin(budgets)]


def _most_removed(side: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Rows without any of a block's active, or inactive, paths."""

    def choose(rows: pd.DataFrame) -> pd.DataFrame:
        rows = rows[rows["removed_from"] == side]
        return rows[rows["removed"] == rows["removed"].max()]

    return choose


def _of_classes(metric: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda rows: _where(metric=metric)(own_negatives(rows))


def _f1_end(largest: bool) -> Callable[[pd.DataFrame], str]:
    """F1 of the class with the least or the largest, after the mean over seeds."""

    def text(rows: pd.DataFrame) -> str:
        means = rows.groupby("class")["value"].mean()
        return f"{means.max() if largest else means.min():.2f}"

    return text


def _whole(metric: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Counts of the whole network, which name no stage."""
    return lambda rows: _where(metric=metric)(rows[rows["stage"].isna()])


def _seeds(rows: pd.DataFrame) -> str:
    seeds = rows["seed"].nunique()
    return f"{_WORDS[seeds] if seeds < len(_WORDS) else seeds} seed{'' if seeds == 1 else 's'}"


def measures() -> Iterator[tuple[str, str, Measure]]:
    """Every number that a network has: what it is, which one of these, and the query."""
    top1 = _where(metric="top1", split="test")
    yield "top1", "", Measure("accuracy", top1, _spread)
    yield "top1", "mean", Measure("accuracy", top1, _percent(2))
    yield "seeds", "", Measure("accuracy", top1, _seeds)
    yield "images", "", Measure("accuracy", top1, lambda rows: f"{int(rows['n'].max()):,}")
    yield "device", "", Measure("accuracy", top1, devices)
    yield "f1", "", Measure("binary", _of_classes("f1"), lambda rows: f"{mean(rows):.3f}")
    yield "f1", "least", Measure("binary", _of_classes("f1"), _f1_end(largest=False))
    yield "f1", "most", Measure("binary", _of_classes("f1"), _f1_end(largest=True))
    for metric in ("precision", "recall"):
        yield metric, "", Measure("binary", _of_classes(metric), _percent(1))
    for side in ("active", "inactive"):
        yield "removal", side, Measure("removal", _most_removed(side), _percent(2))
    for metric in ("parameters", "macs"):
        yield metric, "", Measure("cost", _whole(metric), lambda rows: f"{mean(rows):,.0f}")
    for decoder, what in (("eq7", "decoders"), ("linear", "linear_decoders")):
        yield from _by_block(what, "decoders", _where(metric="top1", decoder=decoder), 2)
    yield from _by_block("bits", "paths", _all_paths, 1)
    yield from _exit_measures()
    yield from _classifier_measures()


def _all_paths(rows: pd.DataFrame) -> pd.DataFrame:
    """Bit errors of whole blocks: the share of wrong bits over all classes and paths."""
    rows = _where(metric="bit_error")(rows)
    return rows[rows["path"].isna() & rows["class"].isna()]


def _by_block(
    what: str, kind: str, choose: Callable[[pd.DataFrame], pd.DataFrame], digits: int
) -> Iterator[tuple[str, str, Measure]]:
    """A number of each block: all as a list, the first and last, and each by its block."""
    yield what, "", Measure(kind, choose, _along("block"))

    def at(end: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
        def chosen(rows: pd.DataFrame) -> pd.DataFrame:
            rows = choose(rows)
            return rows[rows["block"] == rows["block"].agg("min" if end == "first" else "max")]

        return chosen

    for end in ("first", "last"):
        yield what, end, Measure(kind, at(end), _percent(1))
    for block in _BLOCKS:
        chosen = _where(block=block)
        yield what, str(block), Measure(kind, _then(choose, chosen), _percent(digits))


def _then(
    first: Callable[[pd.DataFrame], pd.DataFrame], second: Callable[[pd.DataFrame], pd.DataFrame]
) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda rows: second(first(rows))


def _exit_measures() -> Iterator[tuple[str, str, Measure]]:
    """Top-1 of early exits at budgets of multiply-adds (per cent of the network's), by decoder."""

    def at(decoder: str, *budgets: float) -> Callable[[pd.DataFrame], pd.DataFrame]:
        return lambda rows: budget_rows(rows, decoder, budgets)

    for decoder in ("eq7", "linear", "combined"):
        yield "exits", decoder, Measure("exits", at(decoder, *_CURVE), _along("limit"))
        for budget in BUDGETS:
            measure = Measure("exits", at(decoder, budget), _percent(2))
            yield "exits", f"{decoder}.{100 * budget:.0f}", measure


def _classifier_measures() -> Iterator[tuple[str, str, Measure]]:
    """What a class's cut-out classifier keeps of the network, and F1 when it is compressed."""
    for metric in ("parameters", "macs"):
        chosen = _where(metric=metric)
        yield "classifier", metric, Measure("extraction", chosen, lambda rows: f"{mean(rows):,.0f}")
    for metric in ("parameters_share", "macs_share", "parameters_by_ratio_share"):
        yield "classifier", metric, Measure("extraction", _where(metric=metric), _percent(1))
    for asked in (1.0, 0.4, 0.3, 0.2):
        chosen = _where(metric="f1", asked=asked)
        measure = Measure("compression", chosen, lambda rows: f"{mean(rows):.3f}")
        yield "compressed_f1", f"{100 * asked:.0f}", measure


def numbers() -> dict[str, Query]:
    """Name -> query, of every network and number."""
    return {
        ".".join(filter(None, (what, name, which))): measure.of(network)
        for name, network in networks().items()
        for what, which, measure in measures()
    }
