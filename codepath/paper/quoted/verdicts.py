"""How the paper's claims stand: the verdicts of an item, and how many there are of each."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from codepath.core.errors import UserError
from codepath.paper.claims.judge import FROM_BEST_TO_WORST, NOT_RUN
from codepath.paper.claims.verdict import Claim, claims
from codepath.paper.quoted.answer import Answer, Query, listed

_ITEMS = {
    "table1": "Table 1",
    "table2": "Table 2",
    "table3": "Table 3",
    "table4": "Table 4",
    "fig2a": "Fig 2a",
    "fig2b": "Fig 2b",
    "fig2c": "Fig 2c",
    "fig3": "Fig 3 and 7",
    "fig4": "Fig 4",
    "fig5": "Fig 5",
    "fig6": "Fig 6",
    "fig8": "Fig 8",
    "exponent": "Text: exponent",
    "concat": "Text: concatenation",
    "parameters": "Text: parameters kept",
    "variants": "Text: ImageNet variants",
    "ours": "ours",
}
"""An item's name here -> its name in claims.md."""
_DATA: dict[str, Callable[[str], bool]] = {
    "cpu": lambda data: data.startswith("cifar10, cpu scale"),
    "short": lambda data: data.startswith("cifar10, short scale"),
    "cifar10": lambda data: data == "cifar10, paper scale",
    "cifar100": lambda data: data == "cifar100, paper scale",
    "imagenet": lambda data: data == "imagenet, paper scale",
    "counted": lambda data: "scale" not in data,
}
"""Data set or scale -> whether a claim's data are these."""


@functools.lru_cache(maxsize=4)
def _claims(results: Path, state: tuple[float, ...]) -> list[Claim]:  # noqa: ARG001
    return claims(results)


def _judged(results: Path) -> list[Claim]:
    """Every claim with its verdict; made anew when a table of rows has changed."""
    files = sorted([*results.glob("*.csv"), *results.glob("benchmarks/*.csv")])
    return _claims(results, tuple(path.stat().st_mtime for path in files))


def _verdict(item: str, data: str, words: str = "") -> Query:
    """The verdicts on an item's claims with some words: one where all agree, else counts."""

    def query(results: Path) -> Answer:
        counts = Counter(
            claim.verdict
            for claim in _judged(results)
            if claim.item == _ITEMS[item] and _DATA[data](claim.data) and words in claim.text
        )
        names = [name for name in (*FROM_BEST_TO_WORST, NOT_RUN) if counts[name]]
        parts = [name if len(names) == 1 else f"{counts[name]} {name}" for name in names]
        return Answer(listed(parts) if parts else NOT_RUN, "paper/claims.md")

    return query


_OFF = {
    "table2.cifar10": "Top-1 of the coded network",
    "table4.counted.plain": "10^9 multiply-adds of ImageNet's plain",
    "table4.counted.coded": "10^9 multiply-adds of ImageNet's coded",
    "table4.counted.speed": "Training speed",
    "table4.counted.memory": "Memory",
    "fig2a.cifar10.active": "Top-1 without 0 to 5 active",
    "fig2a.cifar10.inactive": "Top-1 without 0 to 5 inactive",
    "fig2b.cifar10.precision": "Mean precision of the ten binary classifiers (",
    "fig2b.cifar10.recall": "Mean recall of the ten binary classifiers (",
    "fig3.cpu": "A binary logit",
    "fig3.cifar10": "A binary logit",
    "fig4.cifar10": "Top-1 of the early decoders",
    "fig5.cpu.optimum": "Accuracy has its optimum",
    "fig6.cifar10.top1": "Top-1 with p_drop = 0.1",
    "fig6.cifar10.precision": "Mean precision of the binary classifiers with p_drop = 0.1",
    "fig6.cifar10.recall": "Mean recall of the binary classifiers with p_drop = 0.1",
    "exponent.cpu": "4 is the best exponent",
    "exponent.cifar10": "Top-1 with exponent 4",
    "concat.cpu": "Concatenating",
}
"""ITEM.DATA or ITEM.DATA.WHICH -> how the text of the claim begins."""


def _off(name: str, beginning: str) -> Query:
    """How far a number is off the paper's, or by how much a claim holds, as in claims.md."""
    item, data = name.split(".")[:2]

    def query(results: Path) -> Answer:
        found = [
            claim.outcome.difference
            for claim in _judged(results)
            if claim.outcome
            and claim.item == _ITEMS[item]
            and _DATA[data](claim.data)
            and claim.text.startswith(beginning)
        ]
        if len(found) != 1:
            raise UserError(
                f"{len(found)} judged claims of {_ITEMS[item]} begin with '{beginning}' and are of "
                f"{data}: take another number, or restore the rows"
            )
        short = found[0].replace(" the paper", "").replace("the largest, ", "")
        return Answer(short, "paper/claims.md")

    return query


def _count(verdict: str) -> Query:
    """How many claims got a verdict; all of them where none is named."""

    def query(results: Path) -> Answer:
        judged = _judged(results)
        number = sum(claim.verdict == verdict or not verdict for claim in judged)
        return Answer(str(number), "paper/claims.md")

    return query


def _ours(results: Path) -> Answer:
    """How many of the claims are not the paper's."""
    return Answer(
        str(sum(claim.item == _ITEMS["ours"] for claim in _judged(results))), "paper/claims.md"
    )


def numbers() -> dict[str, Query]:
    """Name -> query."""
    found = {f"verdict.{item}.{data}": _verdict(item, data) for item in _ITEMS for data in _DATA}
    found |= {f"off.{name}": _off(name, beginning) for name, beginning in _OFF.items()}
    found["verdict.table4.macs"] = _verdict("table4", "counted", "multiply-adds")
    found["verdict.table4.measured"] = _verdict("table4", "counted", "as a multiple")
    found["claims.all"] = _count("")
    found["claims.ours"] = _ours
    for name in (*FROM_BEST_TO_WORST, NOT_RUN):
        found[f"claims.{name.replace(' ', '-')}"] = _count(name)
    return found
