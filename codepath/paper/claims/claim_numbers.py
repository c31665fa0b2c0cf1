"""The paper's numbers: trained ones against paper-scale rows alone, counted ones always."""

from __future__ import annotations

from collections.abc import Iterator

from codepath.paper.claims.counted_numbers import (
    parameter_numbers,
    table1_numbers,
    table3_numbers,
    table4_numbers,
)
from codepath.paper.claims.published import Number
from codepath.paper.claims.trained_numbers import (
    exponent_numbers,
    fig2a_numbers,
    fig2b_numbers,
    fig4_numbers,
    fig5_numbers,
    fig6_numbers,
    table2_numbers,
)


def paper_numbers() -> Iterator[Number]:
    """Every published number, in the paper's order."""
    yield from table1_numbers()
    yield from table2_numbers()
    yield from table3_numbers()
    yield from table4_numbers()
    yield from fig2a_numbers()
    yield from fig2b_numbers()
    yield from parameter_numbers()
    yield from fig4_numbers()
    yield from fig5_numbers()
    yield from fig6_numbers()
    yield from exponent_numbers()
