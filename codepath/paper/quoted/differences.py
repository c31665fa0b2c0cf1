"""Numbers that compare two networks, or two of a network's answers, paired by seed.

Of two networks: difference.WHAT.FIRST-SECOND, by how much the first is above the second, with the
standard error; `.mean` at the end leaves the error out. Of one network: what linear decoders gain
over Eq. 7 (`gain.linear`), what early exits lose (`loss`), and what removing all active or all
inactive paths changes (`removal_loss`, `removal_gain`). Differences are in points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from codepath.paper.claims.judge import Comparison, common_seeds, compare, compare_classes
from codepath.paper.exit_rows import PROBES
from codepath.paper.quoted.answer import Answer, Query, listed, needed, place, points, span
from codepath.paper.quoted.networks import PLAIN, Network, networks
from codepath.paper.quoted.trained import (
    BUDGETS,
    Choose,
    at_block,
    budget_rows,
    by_seed,
    mean,
    most_removed,
    of_classes,
    where,
)
from codepath.paper.tables.layout import markdown

_PAIRS = (
    ("cpu.plain", "cpu"),
    ("cpu.plain", "cpu.mu_0"),
    ("cpu.plain", "cpu.p_drop_0"),
    ("cpu.plain", "cpu.extraction"),
    ("cpu.p_drop_0", "cpu.extraction"),
    ("cpu", "cpu.extraction"),
    ("cpu", "cpu.second_extraction"),
    ("cpu.plain", "cpu.second_extraction"),
    ("cpu.extraction", "cpu.second_extraction"),
    ("cpu", "cpu.p_drop_0"),
    ("cpu", "cpu.p_drop_0_2"),
    ("cpu", "cpu.mu_0"),
    ("cpu.mu_0", "cpu.mu_2"),
    ("cpu", "cpu.exponent_2"),
    ("cpu", "cpu.concatenated"),
    ("cpu", "cpu.best_codewords"),
    ("cpu.seed0", "cpu.best_codewords.seed0"),
    ("cpu.seed1", "cpu.best_codewords.seed1"),
    ("cpu", "cpu.third_stage"),
    ("paper", "paper.plain"),
    ("digits.plain", "digits"),
)
"""Networks that are compared, either one with the other."""

Compared = Callable[[pd.DataFrame, pd.DataFrame], str]
"""Rows of two sides -> what is quoted of their difference."""


def _compare(first: pd.DataFrame, second: pd.DataFrame) -> Comparison:
    """Paired by seed; numbers of classes by seed and class, with the error over classes."""
    return (compare_classes if "class" in first else compare)(first, second)


def _mean(first: pd.DataFrame, second: pd.DataFrame) -> str:
    return points(_compare(first, second).mean)


def _with_error(first: pd.DataFrame, second: pd.DataFrame) -> str:
    found = _compare(first, second)
    return f"{points(found.mean)} (SE {100 * found.error:.2f})"


def _blocks(first: pd.DataFrame, second: pd.DataFrame) -> str:
    """The differences at the blocks that both have."""
    blocks = sorted(set(first["block"]) & set(second["block"]))
    found = [
        compare(*(rows[rows["block"] == block] for rows in (first, second))) for block in blocks
    ]
    return f"{listed([f'{100 * one.mean:.2f}' for one in found])} points"


def _over_seeds(first: pd.DataFrame, second: pd.DataFrame) -> str:
    """The least and the largest difference of a seed."""
    return f"{span(100 * (by_seed(first) - by_seed(second)).dropna(), '{:.2f}')} points"


def _share_left(first: pd.DataFrame, second: pd.DataFrame) -> str:
    """The second as a share of the first."""
    first, second = common_seeds(first, second)
    return f"{100 * mean(second) / mean(first):.0f} %"


class Side(NamedTuple):
    """One side of a comparison: some rows of a network."""

    network: Network
    kind: str
    choose: Choose

    def rows(self, results: Path) -> pd.DataFrame:
        """Its rows; UserError where there are none."""
        rows = self.choose(self.network.rows(results, self.kind))
        return needed(rows, f"{self.kind} of {self.network.named()}")


def _difference(first: Side, second: Side, text: Compared) -> Query:
    """What is said of the difference between two sides."""
    tables = dict.fromkeys(side.network.table(side.kind) for side in (first, second))

    def query(results: Path) -> Answer:
        rows = [side.rows(results) for side in (first, second)]
        if common_seeds(*rows)[0].empty:
            needed(rows[0].iloc[:0], f"a seed of both {first.network.named()} and "
                                     f"{second.network.named()}")  # fmt: skip
        return Answer(text(*rows), place(pd.concat(rows), ", ".join(tables)))

    return query


_TOP1 = ("accuracy", where(metric="top1", split="test"))
_ERRORS: tuple[tuple[str, Compared], ...] = (("", _with_error), (".mean", _mean))


def _at_budget(network: Network, budget: float, decoder: str = "eq7") -> Side:
    """A network's exits at a budget; the plain one's are by its probes."""
    by = PROBES if network.model == PLAIN else decoder
    return Side(network, "exits", partial(budget_rows, decoder=by, budgets=(budget,)))


def _two_networks(first: Network, second: Network) -> Iterator[tuple[str, str, Query]]:
    """WHAT, how the name ends, and the query."""

    def sides(kind: str, choose: Choose) -> tuple[Side, Side]:
        return Side(first, kind, choose), Side(second, kind, choose)

    for end, text in _ERRORS:
        yield "top1", end, _difference(*sides(*_TOP1), text)
        for budget in BUDGETS:
            at = f".{100 * budget:.0f}{end}"
            exits = _at_budget(first, budget), _at_budget(second, budget)
            yield "exits", at, _difference(*exits, text)
    if PLAIN in (first.model, second.model):
        return
    f1 = sides("binary", of_classes("f1"))
    for end, text in _ERRORS:
        yield "f1", end, _difference(*f1, text)
        for block in ("first", "last", *range(3, 10)):
            found = _difference(*sides("decoders", at_block("eq7", block)), text)
            yield "decoders", f".{block}{end}", found
    yield "f1", ".left", _difference(*f1, _share_left)
    every = sides("decoders", where(metric="top1", decoder="eq7"))
    yield "decoders", "", _difference(*every, _blocks)


def _linear_pairs(network: Network) -> dict[str, tuple[Side, Side]]:
    """Linear decoders and Eq. 7, at blocks and for exits at budgets (per cent)."""
    found = {}
    for block in ("first", "last", *range(3, 10)):
        linear, eq7 = (
            Side(network, "decoders", at_block(decoder, block)) for decoder in ("linear", "eq7")
        )
        found[str(block)] = linear, eq7
    for budget in BUDGETS:
        linear, eq7 = (_at_budget(network, budget, decoder) for decoder in ("linear", "eq7"))
        found[f"exits.{100 * budget:.0f}"] = linear, eq7
    return found


def _linear_table(network: Network, columns: dict[str, str]) -> Query:
    """Eq. 7 and linear decoders side by side; a column's title -> its name in `_linear_pairs`."""
    pairs = _linear_pairs(network)

    def query(results: Path) -> Answer:
        body, used = [["Eq. 7"], ["linear"], ["difference (SE)"]], []
        for column in columns.values():
            second, first = (side.rows(results) for side in pairs[column])
            found = compare(second, first)
            body[0].append(f"{100 * first['value'].mean():.2f} %")
            body[1].append(f"{100 * second['value'].mean():.2f} %")
            body[2].append(f"{100 * found.mean:+.2f} ({100 * found.error:.2f})")
            used.append(second)
        text = markdown(["", *columns], body).rstrip("\n")
        return Answer(text, place(pd.concat(used), "results/decoders.csv, exits.csv"))

    return query


def _linear_and_exits(name: str, network: Network) -> dict[str, Query]:
    """What linear decoders gain over Eq. 7, and what early exits lose."""
    found: dict[str, Query] = {}
    for where_, pair in _linear_pairs(network).items():
        for end, text in _ERRORS:
            found[f"gain.linear.{name}.{where_}{end}"] = _difference(*pair, text)
    whole = Side(network, *_TOP1)
    for decoder in ("eq7", "linear", "combined"):
        for budget in BUDGETS:
            key = f"loss.{name}.{decoder}.{100 * budget:.0f}"
            at = _at_budget(network, budget, decoder)
            found[key] = _difference(whole, at, _mean)
            found[f"{key}.range"] = _difference(whole, at, _over_seeds)
    return found


def _removal(name: str, network: Network) -> dict[str, Query]:
    """What removing all active, or all inactive, paths of a block changes."""
    found: dict[str, Query] = {}
    none_removed = Side(network, "removal", where(removed_from="active", removed=0))
    active, inactive = (
        Side(network, "removal", most_removed(side)) for side in ("active", "inactive")
    )
    for end, text in (("", _mean), (".range", _over_seeds)):
        found[f"removal_loss.{name}{end}"] = _difference(none_removed, active, text)
        found[f"removal_gain.{name}{end}"] = _difference(inactive, none_removed, text)
    return found


def numbers() -> dict[str, Query]:
    """Name -> query."""
    of = networks()
    blocks = {f"block {block}": str(block) for block in range(3, 7)}
    exits = {f"exits at {budget}%": f"exits.{budget}" for budget in (50, 60, 70)}
    found = {"table.linear": _linear_table(of["cpu"], blocks | exits)}
    for first, second in (*_PAIRS, *(pair[::-1] for pair in _PAIRS)):
        for what, end, query in _two_networks(of[first], of[second]):
            found[f"difference.{what}.{first}-{second}{end}"] = query
    for name, network in of.items():
        if network.model != PLAIN:
            found |= _removal(name, network)
    for name in ("paper", "paper.extraction", "cpu", "cpu.extraction", "digits"):
        found |= _linear_and_exits(name, of[name])
    return found
