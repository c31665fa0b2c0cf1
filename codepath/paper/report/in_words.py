"""The paper's five claims in words, each with what the rows say at every scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from codepath.paper.claims.judge import NOT_RUN
from codepath.paper.claims.verdict import Claim

FIVE = (
    ("A coded network is as accurate as the plain one, or more.", "Table 2", "Coded is more"),
    ("A class depends on its own paths: without the others nothing is lost.", "Fig 2a", "Removing"),
    (
        "Keeping a class's paths alone makes its binary classifier, without retraining.",
        "Fig 2b",
        "Binary classifiers work",
    ),
    (
        "Such a classifier keeps a small share of the parameters.",
        "Text: parameters kept",
        "Share of the parameters",
    ),
    (
        "Blocks in the middle can already decide, and later ones decide better.",
        "Fig 4",
        "Early decoders improve",
    ),
)
"""Statement, item of the paper, and how the texts of its claims begin."""


class Judged(NamedTuple):
    """What the rows say of a statement on one data set at one scale."""

    text: str
    data: str
    verdict: str
    numbers: str
    """Ours, and the paper's where it gives one."""


class InWords(NamedTuple):
    """One of the five."""

    statement: str
    item: str
    found: tuple[Judged, ...]
    missing: tuple[str, ...]
    """Data sets and scales where it was not run."""


def in_words(claims: Sequence[Claim]) -> list[InWords]:
    """The five statements, in the paper's order."""
    made = []
    for statement, item, beginning in FIVE:
        mine = [c for c in claims if c.item == item and c.text.startswith(beginning)]
        found = tuple(
            Judged(claim.text, claim.data, claim.verdict, _numbers(claim))
            for claim in mine
            if claim.verdict != NOT_RUN
        )
        missing = [claim.data for claim in mine if claim.verdict == NOT_RUN]
        made.append(InWords(statement, item, found, tuple(dict.fromkeys(missing))))
    return made


def _numbers(claim: Claim) -> str:
    paper = "" if claim.paper in ("none", "-", "") else f" (the paper: {claim.paper})"
    return f"{claim.ours}{paper}"
