"""Coding schemes: which paths each class may use (no torch, no pandas).

Functions take sizes in the order classes, paths, active, distance, and options by their names.

`codepath.codes.design` and `codepath.codes.greedy` load numba, so they are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codepath.codes.bounds import fewest_pairs, johnson_bound, largest_distance
from codepath.codes.catalog import FAMILIES, catalog_names, find_scheme, load_scheme
from codepath.codes.certificate import Certificate, certify
from codepath.codes.scheme import CodingScheme

if TYPE_CHECKING:
    from codepath.codes.design import design_scheme
    from codepath.codes.greedy import paper_scheme

__all__ = [
    "FAMILIES",
    "Certificate",
    "CodingScheme",
    "catalog_names",
    "certify",
    "design_scheme",
    "fewest_pairs",
    "find_scheme",
    "johnson_bound",
    "largest_distance",
    "load_scheme",
    "paper_scheme",
]


def __getattr__(name: str) -> Any:
    if name == "design_scheme":
        from codepath.codes.design import design_scheme

        return design_scheme
    if name == "paper_scheme":
        from codepath.codes.greedy import paper_scheme

        return paper_scheme
    raise AttributeError(f"module 'codepath.codes' has no attribute '{name}'")
