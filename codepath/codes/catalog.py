"""The coding schemes that come with the package, and the choice for given parameters."""

from __future__ import annotations

import functools
from pathlib import Path

from codepath.codes.design import design_scheme
from codepath.codes.scheme import CodingScheme
from codepath.runtime import PACKAGE_ROOT, UserError, unknown_name

TABLES = PACKAGE_ROOT / "codes" / "tables"


def catalog_names() -> list[str]:
    """Names of the shipped schemes: K-N-Nact."""
    return sorted(path.stem for path in TABLES.glob("*.csv"))


@functools.cache
def load_scheme(name: str) -> CodingScheme:
    """A shipped scheme by name, or any other by the path of its CSV file.

    10-10-5 and 10-10-3 are the paper's Table 3. The paper does not print its other tables:
    the ones here are built by `design_scheme`.
    """
    if name.endswith(".csv"):
        return CodingScheme.from_csv(Path(name))
    if name not in catalog_names():
        error = unknown_name("coding scheme", name, catalog_names())
        raise UserError(f"{error} (or the path of a .csv file)")
    return CodingScheme.from_csv(TABLES / f"{name}.csv")


@functools.cache
def find_scheme(classes: int, paths: int, active: int) -> CodingScheme:
    """The scheme for K classes, N paths and Nact ones: shipped, else designed."""
    name = f"{classes}-{paths}-{active}"
    if name in catalog_names():
        return load_scheme(name)
    return design_scheme(classes, paths, active)
