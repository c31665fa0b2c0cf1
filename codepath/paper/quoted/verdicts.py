"""How the paper's claims stand: the verdicts of an item, and how many there are of each."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

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
    found["verdict.table4.macs"] = _verdict("table4", "counted", "multiply-adds")
    found["verdict.table4.measured"] = _verdict("table4", "counted", "as a multiple")
    found["claims.all"] = _count("")
    found["claims.ours"] = _ours
    for name in (*FROM_BEST_TO_WORST, NOT_RUN):
        found[f"claims.{name.replace(' ', '-')}"] = _count(name)
    return found
