"""Numbers of one trained network: WHAT.NETWORK or WHAT.NETWORK.WHICH, as in `removal.cpu.active`.

They are means over the seeds that were measured; `top1.cpu.seed0` is of seed 0 alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from codepath.paper.binary_rows import own_negatives
from codepath.paper.exit_rows import CRITERION, PROBES
from codepath.paper.quoted.alike import Text, chosen
from codepath.paper.quoted.answer import (
    Answer,
    Query,
    devices,
    harmonic_mean,
    needed,
    percents,
    place,
    points,
)
from codepath.paper.quoted.networks import PLAIN, Network, networks

BUDGETS = (0.5, 0.6, 0.7, 0.75, 0.8)
"""Multiply-adds of early exits, as shares of the network's."""
CURVE = (0.5, 0.6, 0.7, 0.8)
_BLOCKS = range(1, 10)
_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
Choose = Callable[[pd.DataFrame], pd.DataFrame]


class Measure(NamedTuple):
    """A number of a network: which rows, and the text that they make."""

    kind: str
    choose: Choose
    text: Text

    def of(self, network: Network) -> Query:
        """The query for one network."""

        def query(results: Path) -> Answer:
            rows = network.rows(results, self.kind)
            mine = needed(self.choose(rows), f"{self.kind} of {network.named()}")
            return Answer(self.text(mine), place(mine, network.table(self.kind)))

        return query


def where(**wanted: object) -> Choose:
    """Chooses the rows in which columns have these values."""
    return lambda rows: chosen(rows, wanted)


def by_seed(rows: pd.DataFrame) -> pd.Series:
    """The mean of each seed's values."""
    return rows.groupby("seed")["value"].mean().astype(float)


def mean(rows: pd.DataFrame) -> float:
    """The mean of the rows' values, each seed weighing the same."""
    return float(by_seed(rows).mean())


def percent(rows: pd.DataFrame, digits: int = 2) -> str:
    """The mean, in per cent."""
    return percents([mean(rows)], digits)


def _whole_number(rows: pd.DataFrame) -> str:
    return f"{mean(rows):,.0f}"


def f1_text(rows: pd.DataFrame) -> str:
    """The mean F1, as a share of one."""
    return f"{mean(rows):.3f}"


def _spread(rows: pd.DataFrame) -> str:
    """Mean and standard deviation over seeds, in per cent; the mean alone of a single seed."""
    values = 100 * by_seed(rows)
    spread = f" ± {values.std():.2f}" if len(values) > 1 else ""
    return f"{values.mean():.2f}{spread} %"


def _range_over_seeds(rows: pd.DataFrame) -> str:
    """By how much the best seed is above the worst."""
    values = by_seed(rows)
    return points(values.max() - values.min())


def along(column: str) -> Text:
    """The means along a column, as a list."""
    return lambda rows: percents([mean(part) for _, part in rows.groupby(column)])


def budget_rows(rows: pd.DataFrame, decoder: str, budgets: Sequence[float] = CURVE) -> pd.DataFrame:
    """Top-1 of early exits with the margin criterion, at these budgets of multiply-adds."""
    wanted = {"metric": "top1", "target": "budget", "criterion": CRITERION, "decoder": decoder}
    rows = chosen(rows, wanted)
    return rows if rows.empty else rows[rows["limit"].round(4).isin(budgets)]


def most_removed(side: str) -> Choose:
    """Chooses the rows without any of a block's active, or inactive, paths."""

    def choose(rows: pd.DataFrame) -> pd.DataFrame:
        rows = rows[rows["removed_from"] == side]
        return rows[rows["removed"] == rows["removed"].max()]

    return choose


def of_classes(*metrics: str) -> Choose:
    """Chooses a measure that every class's binary classifier has."""
    return lambda rows: chosen(own_negatives(rows), {"metric": metrics})


def at_block(decoder: str, block: int | str) -> Choose:
    """Chooses a decoder's top-1 at a block, or at the first or the last one."""
    return lambda rows: _at(chosen(rows, {"metric": "top1", "decoder": decoder}), block)


def _at(rows: pd.DataFrame, block: int | str) -> pd.DataFrame:
    ends = {"first": rows["block"].min(), "last": rows["block"].max()}
    return chosen(rows, {"block": ends.get(str(block), block)})


def _class_end(largest: bool) -> Text:
    """The value of the class with the least or the largest, after the mean over seeds."""

    def text(rows: pd.DataFrame) -> str:
        means = rows.groupby("class")["value"].mean()
        return f"{means.max() if largest else means.min():.2f}"

    return text


def _f1_of_means(rows: pd.DataFrame) -> str:
    """F1 of the mean precision and the mean recall."""
    return percents([harmonic_mean(*(mean(part) for _, part in rows.groupby("metric")))])


def _seeds(rows: pd.DataFrame) -> str:
    seeds = rows["seed"].nunique()
    return f"{_WORDS[seeds] if seeds < len(_WORDS) else seeds} seed{'' if seeds == 1 else 's'}"


def _whole(metric: str) -> Choose:
    """Chooses the counts of the whole network, which name no stage."""
    return lambda rows: chosen(rows[rows["stage"].isna()], {"metric": metric})


def _all_paths(rows: pd.DataFrame) -> pd.DataFrame:
    """Bit errors of whole blocks: the share of wrong bits over all classes and paths."""
    rows = chosen(rows, {"metric": "bit_error"})
    return rows[rows["path"].isna() & rows["class"].isna()]


def measures() -> Iterator[tuple[str, str, Measure]]:
    """What every network has: the number's name, which one of these, and the query."""
    top1 = where(metric="top1", split="test")
    for which, text in (
        ("", _spread),
        ("mean", percent),
        ("sd", lambda rows: points(by_seed(rows).std())),
    ):
        yield "top1", which, Measure("accuracy", top1, text)
    yield "seeds", "", Measure("accuracy", top1, _seeds)
    yield "images", "", Measure("accuracy", top1, lambda rows: f"{int(rows['n'].max()):,}")
    yield "device", "", Measure("accuracy", top1, devices)
    for metric in ("parameters", "macs"):
        yield metric, "", Measure("cost", _whole(metric), _whole_number)


def coded_measures() -> Iterator[tuple[str, str, Measure]]:
    """What a coded network has besides."""
    for metric, digits in (("f1", None), ("precision", 1), ("recall", 1)):
        text: Text = f1_text if digits is None else partial(percent, digits=digits)
        yield metric, "", Measure("binary", of_classes(metric), text)
        for end in ("least", "most"):
            text = _class_end(largest=end == "most")
            yield metric, end, Measure("binary", of_classes(metric), text)
    yield "f1_of_means", "", Measure("binary", of_classes("precision", "recall"), _f1_of_means)
    for side in ("active", "inactive"):
        yield "removal", side, Measure("removal", most_removed(side), percent)
    for decoder, what in (("eq7", "decoders"), ("linear", "linear_decoders")):
        yield from _by_block(what, "decoders", where(metric="top1", decoder=decoder), 2)
    yield from _by_block("bits", "paths", _all_paths, 1)
    for decoder in ("eq7", "linear", "combined"):
        yield from exit_measures(decoder)
    yield from _classifier_measures()


def _by_block(
    what: str, kind: str, choose: Choose, digits: int
) -> Iterator[tuple[str, str, Measure]]:
    """A number of each block: all as a list, the first and last, and each by its block."""
    yield what, "", Measure(kind, choose, along("block"))
    for block in ("first", "last", *_BLOCKS):

        def at(rows: pd.DataFrame, block: int | str = block) -> pd.DataFrame:
            return _at(choose(rows), block)

        text = partial(percent, digits=1 if isinstance(block, str) else digits)
        yield what, str(block), Measure(kind, at, text)
        if what == "decoders":
            yield what, f"{block}.range", Measure(kind, at, _range_over_seeds)


def exit_measures(decoder: str) -> Iterator[tuple[str, str, Measure]]:
    """Top-1 of early exits at budgets of multiply-adds (per cent of the network's)."""
    yield "exits", decoder, Measure("exits", partial(budget_rows, decoder=decoder), along("limit"))
    for budget in BUDGETS:
        choose = partial(budget_rows, decoder=decoder, budgets=(budget,))
        yield "exits", f"{decoder}.{100 * budget:.0f}", Measure("exits", choose, percent)


def _classifier_measures() -> Iterator[tuple[str, str, Measure]]:
    """What a class's cut-out classifier keeps of the network, and F1 when it is compressed."""
    for metric in ("parameters", "macs"):
        yield "classifier", metric, Measure("extraction", where(metric=metric), _whole_number)
    for metric in ("parameters_share", "macs_share", "parameters_by_ratio_share"):
        text = partial(percent, digits=1)
        yield "classifier", metric, Measure("extraction", where(metric=metric), text)
    for asked in (1.0, 0.4, 0.3, 0.2):
        choose = where(metric="f1", asked=asked)
        yield "compressed_f1", f"{100 * asked:.0f}", Measure("compression", choose, f1_text)


def numbers() -> dict[str, Query]:
    """Name -> query, of every network and number."""
    found = {}
    for name, network in networks().items():
        own = exit_measures(PROBES) if network.model == PLAIN else coded_measures()
        for what, which, measure in (*measures(), *own):
            found[".".join(filter(None, (what, name, which)))] = measure.of(network)
    return found
