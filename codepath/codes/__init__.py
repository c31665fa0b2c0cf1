"""Coding schemes: which paths each class may use (numpy and scipy only)."""

from codepath.codes.bounds import johnson_bound, largest_distance
from codepath.codes.catalog import catalog_names, find_scheme, load_scheme
from codepath.codes.design import design_scheme
from codepath.codes.scheme import CodingScheme

__all__ = [
    "CodingScheme",
    "catalog_names",
    "design_scheme",
    "find_scheme",
    "johnson_bound",
    "largest_distance",
    "load_scheme",
]
